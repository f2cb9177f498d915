"""Rows that are what most are, read in one go: never otherwise than by the way that takes whatever comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import Row, Usage
from proxy_plugin.providers.lanes.openai.rows import careful_row, result_row

ID = "abcdefghij0000002s"
JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)
WRITINGS = st.sampled_from([{}, {"separators": (",", ":")}, {"separators": (",", ":"), "ensure_ascii": False}])
NUMBERS = st.sampled_from([0, 7, 7, -1, 2**64, 1.5, 1.0, True, None, "7"])
COUNTED = ("cached_tokens", "reasoning_tokens", "cache_write_tokens")
DETAILS = st.dictionaries(st.sampled_from(COUNTED), NUMBERS, max_size=2) | NUMBERS
CHANGES: dict[tuple[str, ...], st.SearchStrategy[Any]] = {
    ("id",): st.text(max_size=3) | st.none(),
    ("custom_id",): st.text(max_size=3) | st.none(),
    ("error",): st.just({"code": "x"}) | JSON_VALUES,
    ("more",): JSON_VALUES,
    ("response",): JSON_VALUES,
    ("response", "status_code"): st.sampled_from([201, 299, 300, 400, 0, "200", None, 200.0]),
    ("response", "request_id"): JSON_VALUES,
    ("response", "body"): JSON_VALUES,
    ("response", "body", "model"): st.text(max_size=3) | NUMBERS,
    ("response", "body", "error"): JSON_VALUES,
    ("response", "body", "choices"): st.sampled_from(["\u2028", "\ud83d", "é", [[]]]) | JSON_VALUES,
    ("response", "body", "usage"): JSON_VALUES,
    **{
        ("response", "body", "usage", f"{kind}_tokens"): NUMBERS for kind in ("prompt", "completion", "input", "output")
    },
    **{
        ("response", "body", "usage", f"{kind}_tokens_details"): DETAILS
        for kind in ("prompt", "completion", "input", "output")
    },
}
CHANGED = st.lists(
    st.sampled_from(sorted(CHANGES)).flatmap(lambda path: st.tuples(st.just(path), CHANGES[path])), max_size=3
)


def _result(changed: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Return an ordinary row with some of its values changed."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
    answer = {"status_code": 200, "request_id": "r", "body": {"model": "gpt", "choices": [{"a": 1}], "usage": usage}}
    row: dict[str, Any] = {"id": "batch_req_1", "custom_id": ID, "response": answer, "error": None}
    for (*path, last), value in changed:
        at: Any = row
        for name in path:
            at = at.get(name) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at[last] = value
    return row


SPOILT = st.sampled_from(
    [
        *[(b"", b"")] * 10,
        *((b"", b""), (b"}", b"}}"), (b"}", b""), (b"}}", b"}"), (b'"error"', b'"custom_id"')),
        *((b'"id"', b'"custom_id"'), (b'"body"', b'"response"'), (b'"model"', b'"usage"'), (b"gpt", b"\xff")),
        *((b'"response"', b'"a":{},"response"'), (b'"response"', b'"response":1,"error"'), (b"1", b"1 ")),
        *((b'},"error"', b'},"x":{"a":1},"error"'), (b'"status_code"', b'"status_code":500,"status_code"')),
        *((b"7", b"1e2"), (b"7", b"07"), (b"gpt", b"\\ud83d")),
    ]
)


@given(CHANGED, WRITINGS, SPOILT)
def test_ordinary_rows_are_read_as_all_others_are(changed: Any, writing: Any, spoilt: tuple[bytes, bytes]) -> None:
    line = json.dumps(_result(changed), **writing).encode("utf-8", "surrogatepass").replace(*spoilt, 1)
    assert _read(result_row, line) == _read(careful_row, line)


def test_an_ordinary_row_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_plugin.providers.lanes.openai.rows.careful_row", None)
    counts = {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    }
    answer = {"status_code": 200, "request_id": "r", "body": {"model": "gpt", "usage": counts, "choices": []}}
    line = json.dumps({"id": "batch_req_1", "custom_id": ID, "response": answer, "error": None}).encode()
    row = result_row(line)
    assert row == Row(ID, ok=True, response=json.dumps(answer).encode(), model="gpt", usage=Usage(9, 3, 4))


def _read(reader: Callable[[bytes], Row | None], line: bytes) -> Row | str | None:
    try:
        return reader(line)
    except ValueError:
        return "corrupt"
