"""How much of the memory a line may become: counted by its values, not by the length of its texts."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.errors import LineRejected
from proxy_plugin.providers.formats.bodies import read_object
from proxy_plugin.providers.formats.weight import LIGHT, MOST, weight

SIZE = 2 * 2**20
HEAVY = {  # a value, and how often it stands in a text of about SIZE bytes
    "lists": b"[]",
    "objects": b"{}",
    "pairs": b'{"a":0}',
    "numbers": b"1000",
    "short texts": b'"ab"',
    "nested lists": b"[[],[]]",
    "nulls": b"null",
    "objects of objects": b'{"a":{"b":{}}}',
}
TEXTS = st.text(alphabet='ab\\"[]{},:\n\u00e9', max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(1000, 2**40) | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=30,
)


def body(value: bytes) -> bytes:
    return b'{"x": [' + b",".join([value] * (SIZE // (len(value) + 1))) + b"]}"


@pytest.mark.parametrize("kind", HEAVY)
def test_no_value_takes_more_memory_than_is_counted(kind: str) -> None:
    text = body(HEAVY[kind])
    tracemalloc.start()
    try:
        held = orjson.loads(text)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held
    assert taken <= weight(text)


@pytest.mark.parametrize("kind", HEAVY)
def test_a_line_of_too_many_values_is_refused(kind: str) -> None:
    with pytest.raises(LineRejected, match="too many values") as refused:
        read_object(body(HEAVY[kind]))
    assert (refused.value.code, refused.value.param) == ("line_too_complex", "body")


@pytest.mark.parametrize("text", ["a,b;" * 500_000, "[{:," * 500_000, '\\",' * 500_000, '"' * 500_000])
def test_a_text_is_never_too_many_values(text: str) -> None:
    given = {"messages": [{"role": "user", "content": text}]}
    assert read_object(json.dumps(given).encode()) == given


def test_a_text_that_never_ends_is_looked_at_once() -> None:
    """Each of its quotation marks may begin a text; that they are looked at one by one would take hours."""
    with pytest.raises(LineRejected):
        read_object(b'{"a": [' + b"[]," * LIGHT + b'"' + b'\\"' * 2_000_000)


def test_a_line_of_tokens_is_not_too_heavy() -> None:
    """OpenAI takes at most 300,000 tokens a request."""
    assert weight(json.dumps({"input": [list(range(100_000)) for _ in range(3)]}).encode()) < MOST


def counted(value: Any) -> int:
    """Return what a value weighs, from the value itself."""
    if isinstance(value, dict):
        return 240 + 100 * len(value) + 64 * max(len(value) - 1, 0) + sum(map(counted, value.values()))
    if isinstance(value, list):
        return 88 + 64 * max(len(value) - 1, 0) + sum(map(counted, value))
    return 0


@given(JSON)
def test_texts_do_not_count_whatever_they_hold(value: Any) -> None:
    long = [value, "," * (MOST // 64)]
    assert weight(json.dumps(long).encode()) == weight(orjson.dumps(long)) == counted(long)
