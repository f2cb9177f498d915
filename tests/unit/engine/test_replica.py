"""One gateway of several: what it says of itself, what it notes of others, and what it does with what it hears."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.engine.replicas.replica import Replica
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.providers.http import Http
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.replicas.clocks import ClocksApart, Skew
from proxy_plugin.storage.sqlite import SqliteRegistry
from proxy_plugin.storage.tables.replicas import claims, holds, lives
from proxy_plugin.storage.tables.replicas.claims import Named
from tests.support.waiting import answered, eventually


class Sessions:
    """Which numbers the database has a session of."""

    def __init__(self) -> None:
        self.there = set[int]()

    def of(self, number: int, _told: Callable[[str], None]) -> Session:
        return Session(self, number)


class Session:
    def __init__(self, sessions: Sessions, number: int) -> None:
        self._sessions, self._number = sessions, number

    async def begin(self) -> None:
        self._sessions.there.add(self._number)

    async def end(self) -> None:
        self._sessions.there.discard(self._number)


class World:
    def __init__(self, registry: Registry) -> None:
        self.registry, self.sessions, self.told = registry, Sessions(), list[str]()
        self.ahead = 0.0  # seconds by which replicas are ahead of the database

    def replica(self, name: str) -> tuple[Replica, Any]:
        """Return a replica and its gateway, which counts how often its engine was woken."""
        parts = {"registry": self.registry, "clock": SystemClock(), "secret": b"s" * 32, "hooks": asyncio.Event()}
        gateway = SimpleNamespace(**parts, http=Http(), woken=0)

        def wake() -> None:
            gateway.woken += 1

        gateway.engine = SimpleNamespace(wake=wake)
        more: dict[str, Any] = {"presence": self.sessions.of, "held": lambda _: set(self.sessions.there)}
        more["clocks"] = lambda *_: Skew(self.ahead)
        made = Replica(cast("Any", gateway), "1", name=name, tell=lambda _, word: self.told.append(word), **more)
        return made, gateway


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    registry = SqliteRegistry(tmp_path)
    registry.open()
    yield World(registry)
    registry.close()


async def test_who_is_there_is_noted_and_who_ends_gives_all_back(world: World) -> None:
    (one, _), (two, _) = world.replica("pod"), world.replica("pod")
    await one.begin()
    await two.begin()
    assert one.name != two.name, "a pod that restarts has its name again"
    assert not await one.claims.is_alone()
    await two.beat()
    assert [row.gone_at for row in await world.registry.read(lives.every)] == [None, None]
    await one.claims.take([("part", "batch-1", 0)])
    await one.end()
    assert world.told == ["rows"], "others are to look for what it had"
    await two.beat()
    gone, there = await world.registry.read(lives.every)
    assert gone.gone_at is not None
    assert there.gone_at is None
    assert await world.registry.read(claims.of_all) == []
    assert await two.claims.is_alone()
    await two.end()


async def test_a_clock_that_is_wrong_stops_the_start_and_one_that_goes_wrong_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxy_plugin.replicas")
    replica, _ = world.replica("one")
    world.ahead = -3.0
    with pytest.raises(ClocksApart, match=r"3\.0 s behind the database's.*NTP"):
        await replica.begin()
    assert await world.registry.read(lives.every) == [], "nobody has seen it"
    for world.ahead in (1.5, 1.5, 0.9, 0.2, 0.9, 4.0):
        await (replica.beat() if world.sessions.there else replica.begin())
    told = [record for record in caplog.records if record.message.startswith("clocks")]
    assert [record.message for record in told] == ["clocks_apart", "clocks_agree", "clocks_apart"]
    assert [record.levelno for record in told] == [logging.WARNING, logging.INFO, logging.ERROR]
    await replica.end()


async def test_who_dies_is_noted_and_what_it_had_is_looked_for(world: World) -> None:
    (one, _), (two, gateway) = world.replica("one"), world.replica("two")
    await one.begin()
    await two.begin()
    number = (await world.registry.read(lives.every))[0].seq
    world.sessions.there.discard(number)  # and it says nothing more
    await two.beat()
    assert await two.claims.may_be_sent(one.name, 60.0)
    assert not await two.claims.may_be_sent(one.name, 0.0)
    await world.registry.write(claims.take, [Named("part", "x")], one.name, 1, ended=0.0, until=gateway.clock.now() - 1)
    woken = gateway.woken
    await two.beat()
    assert gateway.woken == woken + 1
    await two.end()
    await one.end()


async def test_what_is_heard_wakes_who_does_it(world: World) -> None:
    replica, gateway = world.replica("one")
    reports = list[int]()
    replica.on_reports = lambda: reports.append(1)
    replica.hear("rows")
    assert (gateway.woken, gateway.hooks.is_set(), reports) == (1, False, [])
    replica.hear("webhooks")
    assert gateway.hooks.is_set()
    replica.hear("reports")
    assert (gateway.woken, reports) == (1, [1])
    gateway.hooks.clear()
    replica.hear("")
    assert (gateway.woken, gateway.hooks.is_set(), reports) == (2, True, [1, 1]), "anything may have been missed"


async def test_an_account_that_wants_a_pause_has_it_from_all(world: World) -> None:
    (one, first), (two, second) = world.replica("one"), world.replica("two")
    await one.begin()
    await two.begin()
    first.http.hold("a key that is secret", 1000.0)
    found = await answered(lambda: world.registry.read(holds.current, 0.0))
    ((account, until),) = found.items()
    assert "secret" not in account
    two.hear(f"hold {account} {until}")
    assert second.http.held("a key that is secret") > 900.0
    assert second.http.held("another") == 0.0
    three, third = world.replica("three")
    await three.begin()
    assert third.http.held("a key that is secret") > 900.0, "and who begins later reads it"
    for each in (one, two, three):
        await each.end()
    await eventually(lambda: not world.sessions.there)
