"""Checks that every lane must pass, made from the client's input and the stand-in's own records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from proxy_plugin.providers.sandbox.openai.bodies import DIMENSIONS, vector
from tests.support.accounting import code_of
from tests.whole.contract.cases import HALF, Case, Odd
from tests.whole.contract.client import Client
from tests.whole.contract.wire import Wire

Lines = Sequence[Mapping[str, Any]]
Rows = list[dict[str, Any]]
CANCELLED, MISSING = "batch_cancelled", "result_missing"


def line_of(case: Case, custom_id: str, text: str, odd: Odd | None = None, **members: Any) -> dict[str, Any]:
    """Return one input line. `members` are added to its body."""
    body = case.body(text, odd) | members
    return {"custom_id": custom_id, "method": "POST", "url": case.stand_in.endpoint, "body": body}


def lines_of(case: Case, count: int, *, odd: Mapping[int, Odd] | None = None) -> list[dict[str, Any]]:
    """Return lines with ids and texts of their own; `odd` says which are to be answered how."""
    return [line_of(case, f"line {n}", f"Say {n}", (odd or {}).get(n)) for n in range(count)]


def rows_of(gateway: Client, batch: Mapping[str, Any]) -> tuple[Rows, Rows]:
    """Return the rows of the output and of the error file."""
    return gateway.rows(batch.get("output_file_id")), gateway.rows(batch.get("error_file_id"))


def check_lines(
    case: Case, gateway: Client, batch: Mapping[str, Any], lines: Lines, failed: Mapping[str, str] | None = None
) -> None:
    """Every line is answered once, in input order, in the right file, with its own answer; the counts say the same.

    `failed` maps the ids of lines that must be in the error file to the codes they must have there.
    """
    failed = failed or {}
    output, error = rows_of(gateway, batch)
    ids = [line["custom_id"] for line in lines]
    assert [row["custom_id"] for row in output] == [each for each in ids if each not in failed]
    assert {row["custom_id"]: code_of(row) for row in error} == failed
    assert [row["custom_id"] for row in error] == [each for each in ids if each in failed]
    assert batch["request_counts"] == {"total": len(ids), "completed": len(output), "failed": len(error)}
    row_ids = Counter(row["id"] for row in (*output, *error))
    assert set(row_ids.values()) <= {1}, "two rows have one id"
    bodies = {line["custom_id"]: line["body"] for line in lines}
    for row in output:
        check_own_answer(case, row, bodies[row["custom_id"]])


def check_own_answer(case: Case, row: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """The row holds the answer to this very body, in OpenAI's shape."""
    assert row["error"] is None
    assert row["response"]["status_code"] == 200
    answer = row["response"]["body"]
    if case.stand_in.endpoint == "/v1/responses":
        assert answer["object"] == "response"
        assert answer["output"][-1]["content"][0]["text"] == case.expected(body)
        return
    if case.stand_in.endpoint == "/v1/embeddings":
        (entry,) = answer["data"]
        assert entry["embedding"] == vector(HALF.sub("\ufffd", body["input"]), DIMENSIONS)
        return
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == case.expected(body)


def check_paid_once(wire: Wire, lines: int) -> None:
    """The provider accepted every part exactly once and ran so many lines in all."""
    marks = Counter(wire.accepted())
    assert set(marks.values()) <= {1}, f"a part was accepted twice: {marks}"
    ran = wire.ran()
    assert ran.keys() <= marks.keys()
    assert sum(ran.values()) == lines
