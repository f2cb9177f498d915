"""Pauses that providers ask for, between replicas: how often one is a row, and what is not heard of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.engine.replicas.holds import Holds
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.providers.http import Http
from proxy_plugin.storage.errors import DatabaseAway
from proxy_plugin.storage.sqlite import SqliteRegistry
from proxy_plugin.storage.tables.replicas import holds
from tests.support.waiting import eventually

ACCOUNT = "a key that is secret"


class Registry(SqliteRegistry):
    """Counts what is written, and is away for a while."""

    away_now = False
    writes = 0

    async def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        self.writes += 1
        if self.away_now:
            raise DatabaseAway("gone")
        return await super().write(work, *args, **kwargs)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    made = Registry(tmp_path)
    made.open()
    yield made
    made.close()


async def begun(registry: Registry) -> tuple[Holds, Http]:
    http = Http()
    parts = {"registry": registry, "clock": SystemClock(), "secret": b"s" * 32, "http": http}
    made = Holds(cast("Any", SimpleNamespace(**parts)))
    await made.begin()
    return made, http


async def written(registry: Registry) -> Mapping[str, float]:
    return await registry.read(holds.current, 0.0)


async def test_calls_that_ran_together_write_their_pause_once(registry: Registry) -> None:
    first, http = await begun(registry)
    for more in range(100):
        http.hold(ACCOUNT, 1000 + more / 1000)
        await first.told()
    http.hold(ACCOUNT, 0.5)
    http.hold("another", 0.5)
    await first.told()
    assert registry.writes == 1
    http.hold(ACCOUNT, 2000)
    await first.told()
    ((account, until),) = (await written(registry)).items()
    assert (registry.writes, "secret" in account) == (2, False)
    assert until - SystemClock().now() > 1900


async def test_what_could_not_be_told_is_told_later(registry: Registry) -> None:
    first, http = await begun(registry)
    registry.away_now = True
    http.hold(ACCOUNT, 1000)
    await first.told()
    registry.away_now = False
    assert await written(registry) == {}
    first.tell()
    await first.told()
    first.tell()
    await first.told()
    assert (len(await written(registry)), registry.writes) == (1, 2)


async def test_what_was_not_heard_is_read(registry: Registry) -> None:
    first, http = await begun(registry)
    second, other = await begun(registry)
    http.hold(ACCOUNT, 1000)
    await first.told()
    assert other.held(ACCOUNT) == 0.0
    second.missed()
    await eventually(lambda: other.held(ACCOUNT) > 900)
    other.hold(ACCOUNT, 900)
    await second.told()
    assert registry.writes == 1, "the others know it"
