"""Rows become answers: text where the model wrote some, a reason where a line failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.client.answers import LineAnswer, answers
from proxy_plugin.commands.problems import Unreachable

CHAT = {"choices": [{"message": {"role": "assistant", "content": "Hi"}}, {"message": {"content": "Ho"}}]}


def row(body: Any = CHAT, status: int | None = 200, error: Any = None) -> dict[str, Any]:
    return {
        "custom_id": "a",
        "response": None if status is None else {"status_code": status, "body": body},
        "error": error,
    }


def read(*rows: dict[str, Any]) -> list[LineAnswer]:
    return list(answers([b"".join(json.dumps(each).encode() + b"\n" for each in rows)]))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (CHAT, "Hi"),
        ({"choices": [{"text": "Hi"}]}, "Hi"),
        ({"output": [{"type": "reasoning"}, {"content": [{"type": "output_text", "text": "Hi"}]}]}, "Hi"),
        ({"choices": [{"message": {"content": None, "tool_calls": []}}]}, None),
        ({"data": [{"embedding": [0.5]}]}, None),
        ({}, None),
    ],
)
def test_the_text_is_what_the_model_wrote(body: dict[str, Any], text: str | None) -> None:
    assert read(row(body)) == [LineAnswer("a", text, None, 200, body)]


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        (row({"error": {"message": "too long"}}, 400), "too long"),
        (row({"error": "too long"}, 400), "too long"),
        (row(None, None, {"code": "expired", "message": "not in time"}), "not in time"),
        (row({"message": "no"}, 500), "no"),
        (row(None, 500), "the provider gave no reason"),
    ],
)
def test_a_line_that_failed_says_why(failed: dict[str, Any], reason: str) -> None:
    [answer] = read(failed)
    assert (answer.error, answer.text) == (reason, None)


@given(st.lists(st.text(), max_size=8), st.integers(1, 40))
def test_rows_come_whole_however_the_bytes_come(names: list[str], size: int) -> None:
    content = b"".join(json.dumps(row() | {"custom_id": each}, ensure_ascii=False).encode() + b"\n" for each in names)

    def blocks() -> Iterator[bytes]:
        yield from (content[start : start + size] for start in range(0, len(content), size))

    assert [each.custom_id for each in answers(blocks())] == names


@pytest.mark.parametrize("content", [b"<html>\n", b"[]\n", b"\xff", b"[" * 100_000])
def test_what_is_no_row_is_not_taken_for_one(content: bytes) -> None:
    with pytest.raises(Unreachable, match="no row"):
        list(answers([content]))
