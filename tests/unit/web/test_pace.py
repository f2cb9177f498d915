"""A body's pace: what is slow is told from what waits for us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, repeat

import pytest

from proxy_plugin.web.pace import BodyLate, Pace

WINDOW, MUCH = 10.0, 1_000_000.0


class Time:
    """The loop's time, which moves while somebody waits, and at no other moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 0.0
        self._coming: tuple[float, bytes] | None = None  # when, and what
        monkeypatch.setattr(Pace, "_within", self._within)

    def now(self) -> float:
        return self.at

    async def _within(self, read: Callable[[], Awaitable[bytes]], seconds: float) -> bytes | None:
        """Wait for a piece, but not longer; one that is late stays on its way."""
        before = self.at
        if self._coming is None:
            data = await read()
            self._coming = (self.at, data)
        arrives, data = self._coming
        if arrives - before > seconds:
            self.at = before + seconds
            return None
        self.at, self._coming = max(before, arrives), None
        return data


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def client(time: Time, each: int, seconds: float, pieces: int) -> Callable[[], Awaitable[bytes]]:
    """Return a reader of a body that comes in pieces of `each` bytes, every so many seconds."""
    left = chain(repeat(b"x" * each, pieces), repeat(b""))

    async def read() -> bytes:
        time.at += seconds
        return next(left)

    return read


async def whole(body: Pace, read: Callable[[], Awaitable[bytes]]) -> int:
    count = 0
    while data := await body.read(read):
        count += len(data)
    return count


@pytest.mark.parametrize(
    ("each", "seconds", "pieces"),
    [
        (1024, 1, 100),
        (10_240, 9.9, 20),
        (64 * 1024, 0.01, 5000),
        (2048, 2, 3),
        (1, 0.0001, 20_000),
        (0, 0, 0),
        (5, 9, 0),
    ],
)
async def test_a_body_at_the_least_rate_comes_whole(time: Time, each: int, seconds: float, pieces: int) -> None:
    assert await whole(Pace(1024, MUCH, WINDOW, time.now), client(time, each, seconds, pieces)) == each * pieces


@pytest.mark.parametrize(("each", "seconds"), [(1, 1), (1000, 1), (1, 0.01), (64 * 1024, 99), (10_000, 9.9), (1, 9)])
async def test_a_slower_one_is_ended_in_the_second_window_at_the_latest(time: Time, each: int, seconds: float) -> None:
    with pytest.raises(BodyLate, match="too slowly"):
        await whole(Pace(1024, MUCH, WINDOW, time.now), client(time, each, seconds, 1_000_000))
    assert time.at <= 2 * WINDOW


async def test_a_fast_beginning_buys_no_slow_end(time: Time) -> None:
    body = Pace(1024, MUCH, WINDOW, time.now)
    assert await whole(body, client(time, 64 * 1024, 0.1, 1000)) == 1000 * 64 * 1024
    with pytest.raises(BodyLate):
        await whole(body, client(time, 1, 1, 1_000_000))
    assert time.at <= 100 + 3 * WINDOW


async def test_what_we_do_between_two_reads_makes_nobody_slow(time: Time) -> None:
    body, read = Pace(1024, MUCH, WINDOW, time.now), client(time, 1, 0, 100)
    while await body.read(read):
        time.at += 1000


async def test_all_of_it_has_a_time_too(time: Time) -> None:
    with pytest.raises(BodyLate, match="within 25 seconds"):
        await whole(Pace(1024, 25, WINDOW, time.now), client(time, 10_000, 1, 1_000_000))
    assert time.at <= 26


async def test_a_rate_of_0_bounds_nothing(time: Time) -> None:
    assert await whole(Pace(0, MUCH, WINDOW, time.now), client(time, 1, 9, 50)) == 50


async def test_what_reading_raises_comes_through() -> None:
    async def broken() -> bytes:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await Pace(1024, 60).read(broken)


async def test_a_read_that_never_ends_is_ended() -> None:
    with pytest.raises(BodyLate):
        await Pace(1024, 0.05).read(asyncio.Event().wait)  # type: ignore[arg-type]
