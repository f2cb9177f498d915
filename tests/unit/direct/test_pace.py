"""The pace of one key: minutes that nobody breaks and few waste, whatever calls take."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.direct.limits import CallLimits
from proxy_plugin.direct.pace import ARRIVED, MINUTE, Counted, KeyPace


class Provider:
    """Calls of a simulated hour: each arrives at some time between its beginning and its end."""

    def __init__(self, pace: KeyPace) -> None:
        self.pace, self.now = pace, 0.0
        self.running: list[tuple[float, int, Counted]] = []
        self.arrived: list[float] = []

    def call(self, seconds: float, late: float, tokens: int = 0) -> None:
        """Make a call as soon as one may begin. `late` of it, at most `ARRIVED` seconds, are the way there."""
        while (pause := self.pace.wait(self.now, tokens)) > 0:
            ends = self.running[0][0] if self.running else inf
            self.now = min(self.now + pause, ends)
            self.end()
        insort(self.arrived, self.now + min(late * seconds, ARRIVED))
        heapq.heappush(self.running, (self.now + seconds, len(self.arrived), self.pace.begin(self.now, tokens)))

    def end(self) -> None:
        """Let calls end that are over."""
        while self.running and self.running[0][0] <= self.now:
            self.pace.end(heapq.heappop(self.running)[2], self.now)

    def most(self, window: float = MINUTE) -> int:
        """Return how many calls have arrived in any such window."""
        return max(bisect_left(self.arrived, at + window) - n for n, at in enumerate(self.arrived))


@settings(deadline=None)
@given(
    most=st.integers(1, 90),
    concurrency=st.integers(1, 40),
    calls=st.lists(st.tuples(st.floats(0.01, 90), st.floats(0, 1)), min_size=1, max_size=300),
)
def test_no_minute_at_the_provider_has_more_requests_than_are_allowed(
    most: int, concurrency: int, calls: list[tuple[float, float]]
) -> None:
    provider = Provider(KeyPace(CallLimits(concurrency=concurrency, requests_per_minute=most)))
    for seconds, late in calls:
        provider.call(seconds, late)
        assert len(provider.running) <= concurrency
    assert provider.most() <= most


@pytest.mark.parametrize("seconds", [0.05, 2.0, 20.0])
@pytest.mark.parametrize("most", [7, 60, 600])
def test_in_a_long_run_nine_tenths_of_what_is_allowed_is_used(most: int, seconds: float) -> None:
    provider = Provider(KeyPace(CallLimits(concurrency=1000, requests_per_minute=most)))
    for _ in range(most * 20):
        provider.call(seconds, 0.5)
    assert most * 20 / (provider.now / MINUTE) >= 0.9 * most


def test_a_sixth_of_a_minute_begins_within_ten_seconds() -> None:
    provider = Provider(KeyPace(CallLimits(concurrency=1000, requests_per_minute=60)))
    for _ in range(60):
        provider.call(0.1, 0)
    assert provider.most(9.9) == 10


@given(limit=st.integers(100, 5000), tokens=st.lists(st.integers(1, 900), min_size=1, max_size=150))
def test_no_minute_has_more_tokens_than_are_allowed(limit: int, tokens: list[int]) -> None:
    provider = Provider(KeyPace(CallLimits(concurrency=50, tokens_per_minute=limit)))
    begun = []
    for each in tokens:
        provider.call(1.0, 0, each)
        begun.append((provider.now, each))
    for at, first in begun:
        window = sum(each for then, each in begun if at <= then < at + MINUTE)
        assert window <= limit or window == first  # one that no minute has room for goes alone


def test_what_an_answer_tells_replaces_what_was_guessed() -> None:
    pace = KeyPace(CallLimits(tokens_per_minute=1000))
    call = pace.begin(0, 900)
    assert pace.wait(0, 200) > MINUTE
    call.used = 300
    pace.end(call, 1)
    assert pace.wait(1, 700) == 0


def test_a_429_halves_the_calls_at_once_and_answers_bring_them_back() -> None:
    pace = KeyPace(CallLimits(concurrency=16))
    calls = [pace.begin(0) for _ in range(16)]
    for call in calls:
        pace.end(call, 1)
        pace.refused(call, 1)
    assert pace.at_once == 8  # once for all that ran together
    pace.refused(pace.begin(3), 4)
    assert pace.at_once == 4
    for _ in range(100):
        pace.answered()
    assert 4 < pace.at_once < 16
    for _ in range(200):
        pace.answered()
    assert pace.at_once == 16


def test_never_fewer_than_one_call() -> None:
    pace = KeyPace(CallLimits(concurrency=3))
    for n in range(10):
        call = pace.begin(n * 10)
        pace.end(call, n * 10 + 1)
        pace.refused(call, n * 10 + 1)
    assert pace.at_once == 1
    assert pace.wait(100) == 0


def test_a_pause_is_for_the_whole_key_and_never_shortened() -> None:
    pace = KeyPace(CallLimits())
    pace.hold(0, 30)
    pace.hold(1, 5)
    assert pace.wait(1) == 29
    assert pace.wait(30) == 0


def test_another_process_goes_on_in_the_same_minute() -> None:
    notes: list[tuple[str, float, float]] = []
    limits = CallLimits(concurrency=8, requests_per_minute=6)
    first = KeyPace(limits, lambda *note: notes.append(note))
    provider = Provider(first)
    for _ in range(6):
        provider.call(0.1, 0)
    first.refused(first.begin(provider.now), provider.now)
    first.hold(provider.now, 20)
    second = KeyPace(limits)
    second.restore(notes[-9:], provider.now + 1)
    assert second.at_once == 4
    assert second.wait(provider.now + 1) >= 19
    assert second.wait(provider.now + 19.9) > 0
