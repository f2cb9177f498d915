"""What Google tells of files and jobs, whatever it tells; and when a list has come past a fence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import JobState, PartFile, TryLater
from proxy_plugin.providers.lanes.google import lane
from proxy_plugin.providers.lanes.google.files import facts_of, id_in, number
from proxy_plugin.providers.listing import LISTING_SLACK, PROVEN, passed

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
NAMES = st.sampled_from(["state", "batchStats", "output", "displayName", "inputConfig", "endTime", "model", "error"])
PART = PartFile("mark567890", Path("none"), 1, 3, "", "/v1/chat/completions", "m")
PAGE = 10


@given(st.dictionaries(NAMES, JSON_VALUES), JSON_VALUES)
def test_whatever_a_job_tells_is_read_or_not_understood(facts: dict[str, Any], response: object) -> None:
    found = {"metadata": facts, "response": response}
    assert facts_of(found) is facts
    assert all(isinstance(value, str) for value in lane._results(found, facts).values())
    assert all(count is None or 0 <= count <= PART.lines for count in lane._counts(facts, PART))
    mark = lane._mark(facts)
    assert mark is None or isinstance(mark, str)
    try:
        state, end = lane._state(facts)
    except TryLater:
        return
    assert (state is JobState.ENDED) is (end is not None)


@given(JSON_VALUES)
def test_a_number_is_one_or_none(value: object) -> None:
    found = number({"n": value}, "n")
    assert found is None or type(found) is int


@pytest.mark.parametrize(
    ("name", "expected"),
    [("files/abc-1", "abc-1"), ("batches/x", "x"), ("abc", "abc"), ("files/", None), ("files/..", None), (7, None)],
)
def test_a_name_holds_an_id(name: object, expected: str | None) -> None:
    assert id_in(name) == expected


@given(st.lists(st.integers(0, 10**6).map(float), unique=True, min_size=PAGE, max_size=60), st.data())
def test_no_job_behind_the_fence_is_missed_in_a_list_that_descends(times: list[float], data: st.DataObject) -> None:
    """Wherever the reading stops, all that is left is older than the fence."""
    newest_first = sorted(times, reverse=True)
    fence = data.draw(st.sampled_from(times))
    for end in range(PAGE, len(times) + 1, PAGE):
        if passed(newest_first[:end], fence):
            assert all(time < fence - LISTING_SLACK for time in newest_first[end:])
            break


@given(st.lists(st.integers(0, 10**6).map(float), min_size=0, max_size=60), st.floats(0, 10**7))
def test_a_list_in_another_order_is_read_to_its_end(times: list[float], fence: float) -> None:
    if times != sorted(times, reverse=True) or len(set(times)) < 2 or len(times) < PROVEN:
        assert not passed(times, fence)
