"""The reader of create bodies: it finds in pieces of any size what the whole says, and holds one element at a time."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.sandbox.anthropic.envelope import EnvelopeError, elements

NASTY = st.text(st.sampled_from('\\"{}[],: \n\u2028é🙂\ud83dx'), max_size=12)
VALUES = st.recursive(
    NASTY | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=10,
)
IDS = st.text(st.sampled_from("abcXYZ019_-"), min_size=1, max_size=64)
REQUESTS = st.lists(
    st.fixed_dictionaries({"custom_id": IDS, "params": st.dictionaries(NASTY, VALUES, max_size=3)}),
    min_size=1,
    max_size=6,
    unique_by=lambda request: str(request["custom_id"]),
)


class Drip(io.BytesIO):
    """A file that gives at most `step` bytes at once."""

    step = 1

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.step if size is None or size < 0 else min(size, self.step))


@given(requests=REQUESTS, step=st.integers(1, 40), indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_element_is_found_at_its_place(requests: Any, step: int, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps({"requests": requests}, indent=indent, ensure_ascii=ascii_only)
    if not ascii_only and "\ud83d" in text:
        return
    raw = text.encode()
    body = Drip(raw)
    body.step = step
    found = list(elements(body, 100))
    assert [{"custom_id": each.custom_id, "params": each.params} for each in found] == requests
    assert [json.loads(raw[each.offset : each.offset + each.length]) for each in found] == requests


@given(requests=REQUESTS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_body_that_is_cut_anywhere_is_refused(requests: Any, data: st.DataObject) -> None:
    raw = json.dumps({"requests": requests}).encode()
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(EnvelopeError) as wrong:
        list(elements(io.BytesIO(raw[:cut]), 100))
    assert wrong.value.status == 400


class Endless(io.BytesIO):
    """A body of `count` requests of 20 kB each, made as it is read."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left, self._made, self._ready = count, 0, b'{"requests":['

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        while len(self._ready) < size and self._made < self._left:
            request = {"custom_id": f"r{self._made}", "params": {"text": "\\é" * 3000}}
            self._ready += b"," * (self._made > 0) + json.dumps(request).encode()
            self._made += 1
            self._ready += b"]}" * (self._made == self._left)
        piece, self._ready = self._ready[:size], self._ready[size:]
        return piece


def test_memory_holds_one_element() -> None:
    tracemalloc.start()
    try:
        assert sum(1 for _ in elements(Endless(800), 100_000)) == 800  # 19 MB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_an_element_without_an_end_is_not_read_for_ever() -> None:
    endless = io.BytesIO(b'{"requests":[{"custom_id":"' + b"x" * (70 * 1024 * 1024))
    with pytest.raises(EnvelopeError) as wrong:
        list(elements(endless, 10))
    assert wrong.value.status == 413
