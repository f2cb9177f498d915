"""How far two clocks are apart, by what was answered and how long that took, and what is said of it."""

from __future__ import annotations

import time

import pytest

from proxy_plugin.storage.replicas.clocks import REFUSED, WARNED, ClocksApart, Skew, judged, measured, require
from proxy_plugin.storage.sessions import DatabaseSession


@pytest.mark.parametrize(
    ("before", "theirs", "after", "ahead", "least"),
    [
        (100.0, 100.0, 100.0, 0.0, 0.0),
        (100.0, 101.0, 102.0, 0.0, 0.0),  # half the way there and back is taken off
        (100.0, 95.0, 100.0, 5.0, 5.0),
        (100.0, 105.0, 100.0, -5.0, 5.0),
        (100.0, 99.0, 104.0, 3.0, 1.0),  # it may have been read as soon as it was asked for
        (100.0, 104.0, 104.0, -2.0, 0.0),
        (100.0, 90.0, 99.0, 9.5, 9.0),  # our clock was put back meanwhile
    ],
)
def test_the_way_there_and_back_is_not_taken_for_skew(
    before: float, theirs: float, after: float, ahead: float, least: float
) -> None:
    found = judged(before, theirs, after)
    assert (found.ahead, found.least) == (ahead, least)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_said_names_the_side_and_the_remedy(sign: int) -> None:
    assert Skew(sign * WARNED).problem == ""
    close = Skew(sign * (WARNED + 0.5))
    assert ("1.5 s ahead of" if sign > 0 else "1.5 s behind") in close.problem
    assert "NTP" in close.problem
    require(close)
    require(Skew(sign * REFUSED))
    require(Skew(sign * 60.0, unsure=58.0))
    with pytest.raises(ClocksApart, match="does not start"):
        require(Skew(sign * (REFUSED + 0.1)))


def test_the_database_is_asked(session: DatabaseSession) -> None:
    assert measured(session.tables, time.time).least < WARNED
    found = measured(session.tables, lambda: time.time() + 30.0)
    assert abs(found.ahead - 30.0) < WARNED
    assert found.too_far


def test_the_surest_answer_counts(session: DatabaseSession) -> None:
    ticks = iter((0.0, 40.0, 50.0, 50.5, 60.0, 90.0))
    assert measured(session.tables, lambda: next(ticks)).unsure == 0.25
