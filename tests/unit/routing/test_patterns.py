"""Patterns of callers: what they match, what is refused and with which words, and the bounds on all of a config."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.routing.patterns import MAX_PROGRAM, TEXT_BYTES, PatternRefused, compiled, refusals

ATOMS = st.sampled_from(
    ["a", "b", "-", ".", r"\d", r"\W", "[ab1]", "[^a]", "[a-c-]", r"[\w-]", "^", "$", r"\b", r"\B", r"\A", r"\."]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda branches: f"(?:{'|'.join(branches)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,3}", "{0,2}"])).map(
            lambda p: f"({p[0]}){p[1]}"
        ),
        inner.map(lambda text: f"(?i:{text})"),
    ),
    max_leaves=8,
)
TEXTS = st.text(alphabet="abcAB1-_. é", max_size=8)


@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=10))
def test_the_verdict_is_that_of_pythons_engine_on_ascii(pattern: str, texts: list[str]) -> None:
    ours, theirs = compiled(pattern), re.compile(pattern, re.ASCII)
    assert [ours.search(text) for text in texts] == [theirs.search(text) is not None for text in texts]


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^gpt-4o(-mini)?$", "gpt-4o-mini", True),
        ("^gpt-4o(-mini)?$", "gpt-4o-mini\n", False),
        ("gpt", "my-gpt-4o", True),
        ("(?i)CLAUDE", "a claude", True),
        ("(?s)a.b", "a\nb", True),
        ("a.b", "a\nb", False),
        ("(?m)^b$", "a\nb\nc", True),
        ("(?<name>a)(?P<other>b)", "ab", True),
        ("^.$", "\ud83d", True),  # half a surrogate pair is a character of its own, as for JavaScript
        ("^é.$", "é😀", True),
        (r"^\x{e9}$", "é", True),
        (r"\w", "é", False),
        (r"\/v1\/", "/v1/", True),
        ("\0", "a\0b", True),
        ("", "", True),
    ],
)
def test_flags_anchors_and_characters(pattern: str, text: str, found: bool) -> None:
    assert compiled(pattern).search(text) is found


EXPLODING = [
    "(a+)+$",
    "(a|a)*$",
    "(a|aa)+$",
    "(.*a){12}",
    "(a*)*b",
    "(?:a?){20}a{20}b",
    "(.*)*=.*",
    "([a-zA-Z]+)*$",
    "(?:(?:){1000})+",
    "((((a*)*)*)*)*b",
    "(?:.*a){900}$",
    "(?:a?){600}a{600}",
]


@pytest.mark.parametrize("pattern", EXPLODING)
def test_no_pattern_explodes(pattern: str) -> None:
    """Engines that try one alternative after the other would meet the time-out."""
    for text in ("a" * 100_000 + "!", "ab" * 50_000, "é" * 50_000):
        try:
            assert compiled(pattern).search(text) in (True, False)
        except PatternRefused:
            return


REFUSED = [
    ("(", "a ) is missing"),
    (")", "a ) has no ("),
    ("[", "a ] is missing"),
    ("[b-a]", "a range"),
    ("[[:foo:]]", "a range"),
    (r"\p{Nobody}", "a range"),
    ("a{2,1}", "repeated more than 1000 times"),
    ("a{5000}", "repeated more than 1000 times"),
    ("(?:(?:a{40}){40}){40}", "repeated more than 1000 times"),
    ("(?:(?:){2000}){2000}", "repeated more than 1000 times"),
    ("*a", "nothing before it"),
    ("a**", "itself repeated"),
    ("a*+", "itself repeated"),
    ("\\", "lone backslash"),
    (r"(a)\1", "back-references"),
    (r"a\Z", r"the end of the text \z"),
    ("\\" + "u0041", r"\x{2014}"),
    ("a(?=b)", "look-ahead"),
    ("(?<!a)b", "look-behind"),
    ("(?>a)", "atomic"),
    ("(?a)a", "no flags but"),
    ("(?P<>a)", "the name of a group"),
    ("\ud83d", "Unicode"),
    (r"\pL{1000}", "too big"),
    (r"\PL" * 200, "too big"),
]


@pytest.mark.parametrize(("pattern", "why"), REFUSED, ids=lambda text: ascii(text[:20]))
def test_a_refusal_says_why(pattern: str, why: str) -> None:
    with pytest.raises(PatternRefused) as refused:
        compiled(pattern)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    "pattern",
    [
        "(secret",
        "secret)",
        "[secret",
        "[z-secret]",
        "secret**",
        r"secret\q",
        "(?secret)",
        "(?P<secret!>a)",
        r"\p{secret}",
    ],
)
def test_a_refusal_quotes_nothing(pattern: str) -> None:
    with pytest.raises(PatternRefused) as refused:
        compiled(pattern)
    assert "secret" not in str(refused.value)


def test_of_a_text_four_kibibytes_are_looked_at() -> None:
    last = compiled("x$")
    assert last.search("a" * (TEXT_BYTES - 1) + "x" + "a" * 10)
    assert not last.search("a" * TEXT_BYTES + "x")
    for characters in ("é", "€", "😀", "\ud83d"):
        for shift in range(4):  # the cut is never within a character
            assert compiled("^.*$").search("a" * shift + characters * TEXT_BYTES)


def test_a_config_has_one_budget_for_all_of_its_programs() -> None:
    size = compiled("a" * 100).size
    fit = MAX_PROGRAM // size
    assert refusals(["a" * 100] * fit) == ()
    [(place, why)] = refusals(["a" * 100] * (fit + 3))
    assert (place, f"{MAX_PROGRAM} instructions together" in why) == (fit, True)
    assert [place for place, _ in refusals(["(", "a", "["])] == [0, 2]


def test_a_pattern_is_compiled_once() -> None:
    assert compiled("^once$") is compiled("^once$")
    limit = compiled.cache_info().maxsize
    assert limit is not None
    assert limit <= 64
