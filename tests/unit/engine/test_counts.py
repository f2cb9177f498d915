"""What is believed of a provider's counts, and what they promise of results that are not held."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.engine.steps_part import counted
from proxy_plugin.providers.base import JobState, JobStatus
from proxy_plugin.providers.counts import believed
from proxy_plugin.storage.tables.parts import unheld
from tests.support.rows import part_row

ANY_NUMBER: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
LINES = 10


@given(ANY_NUMBER, ANY_NUMBER, st.integers(1, 10**6))
def test_counts_never_say_more_than_the_lines(completed: Any, failed: Any, lines: int) -> None:
    found = counted(JobStatus(JobState.RUNNING, completed=completed, failed=failed), lines)
    if found is None:
        assert believed(completed, lines) is believed(failed, lines) is None
    else:
        assert min(found) >= 0
        assert sum(found) <= lines


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ((3, 4), (3, 4)),
        ((0, 0), (0, 0)),
        ((10, 0), (10, 0)),
        ((10, 10), (10, 0)),
        ((7, 7), (7, 3)),
        ((11, 2), (0, 2)),
        ((2, 11), (2, 0)),
        ((-1, 2), (0, 2)),
        ((None, 2), (0, 2)),
        ((2, None), (2, 0)),
        ((None, None), None),
        ((10**30, -(10**30)), None),
        ((True, False), None),
        ((2.0, "3"), None),
    ],
)
def test_what_cannot_be_is_not_told(told: Any, found: tuple[int, int] | None) -> None:
    assert counted(JobStatus(JobState.ENDED, completed=told[0], failed=told[1]), LINES) == found


@pytest.mark.parametrize(
    ("told", "held", "lost"),
    [
        ((3, 0), (3, 3), 0),
        ((3, 0), (0, 0), 3),
        ((2, 1), (1, 1), 2),
        ((2, 1), (2, 2), 1),
        ((5, 0), (5, 0), 5),  # rows of cancelled lines stand for no answer
        ((5, 0), (10, 5), 0),
        ((5, 5), (10, 5), 0),  # and where the provider counts them as failed, they are those
        ((5, 5), (9, 5), 1),
        ((5, 5), (9, 4), 1),
        ((0, 0), (0, 0), 0),
        (None, (0, 0), 0),
        ((3, 0), None, 0),
    ],
)
def test_what_is_announced_and_not_held(told: tuple[int, int] | None, held: tuple[int, int] | None, lost: int) -> None:
    assert unheld(told, held) == lost


@pytest.mark.parametrize(
    ("requests", "told", "lines"),
    [
        (None, (3, 1), (3, 1)),
        (None, None, (0, 0)),
        (30, (29, 1), (9, 0)),
        (30, (30, 0), (10, 0)),
        (30, (15, 15), (5, 5)),
    ],
)
def test_requests_that_are_told_of_are_shown_as_lines(
    requests: int | None, told: tuple[int, int] | None, lines: tuple[int, int]
) -> None:
    assert part_row("batch_1", state="running", lines=10, requests=requests).in_lines(told) == lines
