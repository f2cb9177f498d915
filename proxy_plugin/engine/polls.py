"""When a job is looked at again, and how polls are kept from coming all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy_plugin.config.bounds import EngineSettings
from proxy_plugin.engine.desk import Desk
from proxy_plugin.providers.base import BatchProvider, JobStatus
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import due
from proxy_plugin.storage.tables.due import Overdue

POLL_SHARE = 0.1  # of a job's age: a job that has run for 50 minutes is asked every 5
GROWTH = 1 + POLL_SHARE  # from one pause to the next, where only the number of looks is known: the same share
JITTER = 0.1  # of a pause; it is only made longer, as a provider's page may allow no shorter one
CATCH_UP = 20.0  # overdue polls a second: few of them are not held up for the whole interval
_TOGETHER = 500  # rows in a transaction


def jittered(desk: Desk, pause: float) -> float:
    """Return the pause and up to a tenth of it, so that jobs which began together are not asked together for ever."""
    return pause * (1 + JITTER * desk.gateway.chance())


def interval(engine: EngineSettings, age: float) -> float:
    """Return the operator's pause between polls of a job so old: a tenth of its age, within the bounds."""
    return min(max(engine.poll_seconds_first, age * POLL_SHARE), engine.poll_seconds_max)


def poll_pause(desk: Desk, since: float | None, lane: BatchProvider, status: JobStatus) -> float:
    """Return seconds until the next poll: the interval since then, as the lane and the provider allow, and jitter."""
    pause = interval(desk.gateway.config.engine, desk.now() - (since or desk.now()))
    return jittered(desk, max(pause, lane.capabilities.min_poll_seconds, status.poll_after or 0.0))


def first_pause(desk: Desk, lane: BatchProvider) -> float:
    """Return seconds until the first poll of a job that was just accepted."""
    first = desk.gateway.config.engine.poll_seconds_first
    return jittered(desk, max(first, lane.capabilities.min_poll_seconds))


async def spread_overdue(desk: Desk) -> int:
    """Spread the polls that fell due while no gateway ran; return how many. A kill meanwhile spreads the rest again."""
    found = await desk.gateway.registry.scan(due.overdue_polls, desk.now())
    times = list(_spread(desk.gateway.config.engine, found, desk.now()))
    for start in range(0, len(found), _TOGETHER):
        await desk.write(_put_off, found[start : start + _TOGETHER], times[start : start + _TOGETHER])
    return len(found)


def _spread(engine: EngineSettings, found: Sequence[Overdue], now: float) -> Iterator[float]:
    """Yield when each is polled: at even distances over its own interval, or 20 a second where that is sooner."""
    for n, each in enumerate(found):
        span = min(interval(engine, now - (each.accepted_at or now)), len(found) / CATCH_UP)
        yield now + span * n / len(found)


def _put_off(conn: Connection, found: Sequence[Overdue], times: Sequence[float]) -> None:
    for each, due_at in zip(found, times, strict=True):
        due.put_off(conn, each, due_at)
