"""Patterns of callers: the same verdict as Python's engine, and no pattern that takes longer than its text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.routing.linear_regex import MAX_PATTERN, LinearRegex, Unsupported

ATOMS = st.sampled_from(
    ["a", "b", "-", ".", r"\d", r"\W", "[ab1]", "[^a]", "[a-c-]", r"[\w-]", "^", "$", r"\b", r"\B", r"\A", r"\Z", r"\."]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda branches: f"(?:{'|'.join(branches)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,3}", "{,2}"])).map(
            lambda p: f"({p[0]}){p[1]}"
        ),
        inner.map(lambda text: f"(?i:{text})"),
    ),
    max_leaves=8,
)
TEXTS = st.text(alphabet="abcAB1-_. é", max_size=8)


@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=10))
def test_the_verdict_is_that_of_pythons_engine(pattern: str, texts: list[str]) -> None:
    ours, theirs = LinearRegex(pattern), re.compile(pattern)
    assert [ours.search(text) for text in texts] == [theirs.search(text) is not None for text in texts]


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^gpt-4o(-mini)?$", "gpt-4o-mini", True),
        ("^gpt-4o(-mini)?$", "gpt-4o-mini\n", False),
        ("(?i)CLAUDE", "a claude", True),
        ("(?s)a.b", "a\nb", True),
        ("(?m)^b$", "a\nb\nc", True),
        ("", "", True),
    ],
)
def test_flags_and_anchors(pattern: str, text: str, found: bool) -> None:
    assert LinearRegex(pattern).search(text) is found


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(.*a){12}", "(a*)*b", "(?:a?){20}a{20}b"])
def test_no_pattern_explodes(pattern: str) -> None:
    """Python's engine needs 2 to the power of the text's length for most of these: it would meet the time-out."""
    assert LinearRegex(pattern).search("a" * 3_000 + "!") in (True, False)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "not a regular expression"),
        ("a{2,1}", "not a regular expression"),
        (r"(a)\1", "back-references"),
        ("a(?=b)", "look-around"),
        ("(?<!a)b", "look-around"),
        ("a*+", "atomic"),
        ("(?a)a", "flags"),
        ("(?a:a)", "flags"),
        ("a{5000}", "too big"),
        ("(?:(?:a{40}){40}){40}", "too big"),
        ("(?:){99999999}", "too big"),
        ("a" * (MAX_PATTERN + 1), "characters"),
        ("(" * 500, "not a regular expression"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_reason(pattern: str, why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        LinearRegex(pattern)
