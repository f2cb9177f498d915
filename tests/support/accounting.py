"""Checks that every lane must pass, made from the client's input and the provider's own log alone."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any

from proxy_plugin.providers.sandbox.answers import POISON, Style, expected_text, user_text
from proxy_plugin.providers.sandbox.openai.bodies import DIMENSIONS, vector
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.stack import Gateway

Lines = Sequence[Mapping[str, Any]]


def check_answers(
    gateway: Gateway, batch: Mapping[str, Any], lines: Lines, *, cancelled: bool = False, style: Style = "digest"
) -> None:
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
        check_own_answer(row, lines[order[row["custom_id"]]], style)
    if not cancelled:
        check_marked(lines, {row["custom_id"]: row for row in error})


def check_own_answer(row: Mapping[str, Any], line: Mapping[str, Any], style: Style = "digest") -> None:
    """The answer in a row is the answer to this very line."""
    assert row["error"] is None
    assert row["response"]["status_code"] == 200
    if line["url"] == "/v1/embeddings":
        (entry,) = row["response"]["body"]["data"]
        assert entry["embedding"] == vector(line["body"]["input"], DIMENSIONS)
        return
    message = row["response"]["body"]["choices"][0]["message"]
    text = message.get("content") or message.get("refusal") or message["tool_calls"][0]["function"]["arguments"]
    assert text == expected_text(line["url"], line["body"], style)


def code_of(row: Mapping[str, Any]) -> str:
    """Return what an error row says went wrong: a code, or the status of a provider's answer."""
    if row["error"]:
        return str(row["error"]["code"])
    ours = row["id"].startswith("batch_req_rejected")  # of a line that no provider saw
    answer = row["response"]
    return str(answer["body"]["error"]["code"] if ours else answer["status_code"])


def check_marked(lines: Lines, errors: Mapping[str, Mapping[str, Any]]) -> None:
    """Lines with a sandbox marker, and no others, are errors that say what happened."""
    expected = {}
    for number, line in enumerate(lines, 1):
        text = user_text(line["url"], line["body"])
        if "sandbox:error=400" in text:
            expected[line["custom_id"]] = "400"
        elif "sandbox:missing" in text:
            expected[line["custom_id"]] = "result_missing"
        elif "sandbox:poison" in text:
            expected[line["custom_id"]] = "invalid_request"
            check_refused_alone(errors[line["custom_id"]], number)
    found = {key: _ending(row) for key, row in errors.items()}
    assert found == expected


def _ending(row: Mapping[str, Any]) -> str:
    """Return `code_of` a row; a line refused with its job has a status where that was refused at its create."""
    poisoned = not row["error"] and POISON in row["response"]["body"]["error"]["message"]
    code = "invalid_request" if poisoned else code_of(row)
    return {"request_failed": "400", "batch_failed": "invalid_request"}.get(code, code)  # of those that tell no status


def check_refused_alone(row: Mapping[str, Any], number: int) -> None:
    """A line for which its job was refused says so, with its number in the file."""
    message = (row["error"] or row["response"]["body"]["error"])["message"]
    assert message.startswith(f"line {number} of the file: ")
    assert POISON in message


def our_mark(job: Mapping[str, Any]) -> str | None:
    """Return whose part a job is by the sandbox's records, None for a stranger's.

    By its label, by the name of its input where it has none, or by its custom ids.
    """
    if "mark" in job:
        return None if job.get("stranger") else str(job["mark"])
    mark: str | None = (job.get("metadata") or {}).get("proxy_plugin")
    named = re.fullmatch(r"pp-([a-z0-9]+)\.jsonl", job.get("input_filename") or "")
    return mark or (named[1] if named else None)


def check_paid_once(
    sandbox: Sandbox, lines: Lines, *, cancelled: bool = False, unpaid: int = 0, doubled: int = 0
) -> None:
    """Promise 2: the provider's own log has each part once, and ran each line at most once.

    `unpaid` lines cost nothing there; `doubled` jobs may, and must, repeat another's lines.
    """
    ran: dict[str, list[int]] = {}
    for job in sandbox.control.jobs():
        if job["lines_run"] and (mark := our_mark(job)):
            ran.setdefault(mark, []).append(job["lines_run"])
    assert sum(len(jobs) - 1 for jobs in ran.values()) == doubled, f"jobs of each part: {ran}"
    paid, due = sum(max(jobs) for jobs in ran.values()), len(lines) - unpaid
    assert paid <= due if cancelled else paid == due, f"{paid} lines ran for {due}, jobs of each part: {ran}"
    assert sandbox.control.violations() == []


def check_strangers_left_alone(sandbox: Sandbox, *, at_least: int = 1) -> None:
    """Strangers were there, and nobody cancelled a job of theirs."""
    strangers = {job["id"] for job in sandbox.control.jobs() if job["stranger"]}
    assert len(strangers) >= at_least, "no stranger came, so nothing was tested"
    cancelled = {entry["id"] for entry in sandbox.control.requests() if entry["op"] == "batches.cancel"}
    assert not cancelled & strangers


def history(gateway: Gateway) -> list[str]:
    """Return what happened to the parts of a gateway, from its own registry."""
    return [row[0] for row in ask(gateway, "SELECT what FROM events WHERE part IS NOT NULL ORDER BY seq")]


def check_one_at_a_time(gateway: Gateway, settle: float) -> None:
    """Of no two creates the outcome was open at once, but for those in doubt for longer than `settle` seconds.

    One that adopted a job is open no more, though it may be again where that turns out to be a stranger's.
    """
    own = "e.batch_id = s.batch_id AND e.part = s.part AND e.what = 'adopted provisionally'"
    adopted = f"SELECT MIN(at) FROM events e WHERE {own}"
    query = (
        f"SELECT sent_at, ended_at, COALESCE(({adopted}), ended_at)"
        " FROM submissions s WHERE sent_at IS NOT NULL AND ended_at IS NOT NULL ORDER BY 1"
    )
    spans = [(begun, min(ended, found)) for begun, ended, found in ask(gateway, query)]
    assert len(spans) > 1, "one create alone tests nothing"
    for (begun, ended), (after, _) in pairwise(spans):
        assert after >= min(ended, begun + settle), f"{spans}"


def ask(gateway: Gateway, query: str) -> list[tuple[Any, ...]]:
    """Read the gateway's own registry, whatever it does."""
    if gateway.shared:
        return gateway.shared.ask(gateway.data, query)
    with closing(sqlite3.connect(gateway.data / "registry.sqlite3")) as conn:
        return conn.execute(query).fetchall()
