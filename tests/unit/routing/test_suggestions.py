"""What a misspelt name was meant to be: found as `difflib` finds it, for a bounded number of names."""

from __future__ import annotations

import string
from difflib import get_close_matches

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.routing import suggestions
from proxy_plugin.routing.suggestions import Suggestions

KNOWN = ("strategy", "targets", "weight", "override_params", "drop_params", "$regex", "name")
NEARLY = st.sampled_from(KNOWN).flatmap(
    lambda name: st.tuples(st.integers(0, len(name)), st.text(string.ascii_lowercase, max_size=2)).map(
        lambda cut: name[: cut[0]] + cut[1] + name[cut[0] + 1 :]
    )
)


@given(st.one_of(NEARLY, st.text(string.ascii_lowercase + "_$", max_size=20)), st.sampled_from([0.6, 0.8]))
def test_it_is_what_difflib_finds(name: str, ratio: float) -> None:
    assert Suggestions().near(name, KNOWN, ratio) == next(iter(get_close_matches(name, KNOWN, 1, ratio)), None)


def test_five_are_given_and_no_more() -> None:
    names = Suggestions()
    assert [names.near(f"weigh{each}", KNOWN) for each in "abcdefg"] == ["weight"] * 5 + [None] * 2


def test_names_that_are_near_nothing_cost_a_bounded_number_of_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(name: str, *others: object) -> list[str]:
        asked.append(name)
        return []

    monkeypatch.setattr(suggestions, "get_close_matches", counted)
    names = Suggestions()
    for each in range(3_000):
        assert names.near(f"{'_srap' if each % 2 else 'aprs_'}{'rdop_sam'[each % 7 :]}{each % 10}", KNOWN) is None
        assert names.near(f"k{each}", KNOWN) is None
    assert len(asked) < 100
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("name", [5, None, ["strategy"], {"strategy": 1}, "strategy" * 1_000, True])
def test_what_is_no_name_has_no_suggestion(name: object) -> None:
    assert Suggestions().did_you_mean(name, KNOWN) == ""
    assert Suggestions().did_you_mean("stategy", KNOWN) == "; did you mean strategy?"
