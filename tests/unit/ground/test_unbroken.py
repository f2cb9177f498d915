"""For any rows, `splitlines` gives as many lines as there are rows, and each says what it said before."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.ground import unbroken as module
from proxy_plugin.ground.unbroken import unbroken, unbroken_pieces

BREAKS = "\u2028\u2029\x85"
TEXT = st.text(st.one_of(st.sampled_from(BREAKS + '\\"\n\r\x0b\x0c\x1c\x1e é–日🙂\u2027\u202a\x84'), st.characters()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=12,
)


def written(value: object, *, raw: bool) -> bytes:
    return json.dumps(value, ensure_ascii=not raw).encode("utf-8", "surrogatepass")


@given(st.lists(VALUES, min_size=1), st.booleans())
def test_as_many_lines_as_rows_and_all_of_them_the_same(rows: list[object], raw: bool) -> None:
    texts = [unbroken(written(row, raw=raw)) for row in rows]
    whole = b"".join(text + b"\n" for text in texts)
    read = whole.decode("utf-8", "surrogatepass").splitlines()
    assert [json.loads(line) for line in read] == rows
    assert [json.loads(line.decode("utf-8", "surrogatepass")) for line in whole.splitlines()] == rows


@given(VALUES, st.integers(1, 9))
def test_a_large_text_is_the_same_in_pieces(value: object, at_once: int) -> None:
    text = written(value, raw=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", at_once + 4)
        pieces = list(unbroken_pieces(text))
    assert b"".join(pieces) == unbroken(text)
    assert len(text) <= at_once + 4 or len(pieces) == 1 or max(map(len, pieces)) <= 3 * (at_once + 4)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('"a\u2028b"', rb'"a\u2028b"'),
        ('"a\u2029b"', rb'"a\u2029b"'),
        ('"a\x85b"', rb'"a\u0085b"'),
        ('{"\u2028":"\x85\x85"}', rb'{"\u2028":"\u0085\u0085"}'),
        (r'"\\' + '\u2028"', rb'"\\\u2028"'),
        ('"\u2027\u202a\x84\x86"', '"\u2027\u202a\x84\x86"'.encode()),
        ('"\u1f28\u20a8Å"', '"\u1f28\u20a8Å"'.encode()),
        (r'"\u2028\n"', rb'"\u2028\n"'),
        ('"🙂\u2028"', '"🙂\\u2028"'.encode()),
    ],
)
def test_only_the_three_breaks_change(text: str, wanted: bytes) -> None:
    assert unbroken(text.encode()) == wanted


def test_what_holds_no_break_is_not_copied() -> None:
    for text in (b'"plain"', '"日本語 – é"'.encode(), "é".encode() * 2**20):
        assert unbroken(text) is text
        assert [piece is text for piece in unbroken_pieces(text)] == [True]
