"""Checks that every lane must pass, made from the client's input and the provider's own log alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from providers.sandbox.answers import expected_text
from providers.sandbox.process import Sandbox
from tests.stack import Gateway

Lines = Sequence[Mapping[str, Any]]


def check_answers(gateway: Gateway, batch: Mapping[str, Any], lines: Lines, *, cancelled: bool = False) -> None:
    """Promise 1: every line exactly once over both files, in input order, with its own answer; counts as the files."""
    output, error = gateway.rows(batch.get("output_file_id")), gateway.rows(batch.get("error_file_id"))
    order = {line["custom_id"]: n for n, line in enumerate(lines)}
    for rows in (output, error):
        places = [order[row["custom_id"]] for row in rows]
        assert places == sorted(places), "rows are not in input order"
    assert Counter(row["custom_id"] for row in (*output, *error)) == Counter(order.keys())
    counts = {"total": len(lines), "completed": len(output), "failed": len(error)}
    assert batch["request_counts"] == counts
    for row in output:
        check_own_answer(row, lines[order[row["custom_id"]]])
    if not cancelled:
        check_marked(lines, {row["custom_id"]: row for row in error})


def check_own_answer(row: Mapping[str, Any], line: Mapping[str, Any]) -> None:
    """The answer in a row is the answer to this very line."""
    assert row["error"] is None
    assert row["response"]["status_code"] == 200
    message = row["response"]["body"]["choices"][0]["message"]
    text = message.get("content") or message.get("refusal") or message["tool_calls"][0]["function"]["arguments"]
    assert text == expected_text(line["url"], line["body"])


def check_marked(lines: Lines, errors: Mapping[str, Mapping[str, Any]]) -> None:
    """Lines with a sandbox marker, and no others, are errors that say what happened."""
    expected = {}
    for line in lines:
        text = line["body"]["messages"][-1]["content"]
        if "sandbox:error=400" in text:
            expected[line["custom_id"]] = "400"
        elif "sandbox:missing" in text:
            expected[line["custom_id"]] = "result_missing"
    found = {
        key: row["error"]["code"] if row["error"] else str(row["response"]["status_code"])
        for key, row in errors.items()
    }
    assert found == expected


def check_paid_once(sandbox: Sandbox, lines: Lines, *, cancelled: bool = False) -> None:
    """Promise 2: the provider's own log has each part once, and ran each line at most once."""
    jobs = [job for job in sandbox.control.jobs() if "proxy_plugin" in (job.get("metadata") or {})]
    ran = [job for job in jobs if job["lines_run"]]
    marks = Counter(job["metadata"]["proxy_plugin"] for job in ran)
    assert max(marks.values(), default=0) <= 1, f"a part ran twice: {marks}"
    paid = sum(job["lines_run"] for job in ran)
    assert paid <= len(lines) if cancelled else paid == len(lines)
    assert sandbox.control.violations() == []
