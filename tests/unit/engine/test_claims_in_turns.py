"""Claims where writes take turns over all replicas: between the look at a claim and the commit nobody takes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from proxy_plugin.engine.replicas.claims import LIFE, ClaimLost, RowClaims
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.storage import commits
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import DatabaseAway
from proxy_plugin.storage.postgres import PostgresRegistry
from proxy_plugin.storage.tables.replicas import claims
from proxy_plugin.storage.tables.replicas.claims import Named
from tests.support.postgres import Databases
from tests.support.rows import add_workspace, make_schema, workspaces
from tests.support.waiting import answered, eventually

KEY, OTHER = ("part", "batch-1", 0), ("part", "batch-1", 1)


class Late(SystemClock):
    """The clock of a replica that was there all the time, when the claims of the other have ended."""

    def now(self) -> float:
        return super().now() + 2 * LIFE


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    url = databases.like("schema", make_schema)
    yield url
    databases.drop(url)


@pytest.fixture
def registries(database: str) -> Iterator[list[PostgresRegistry]]:
    made = [PostgresRegistry(database) for _ in range(2)]
    for each in made:
        each.open()
    yield made
    for each in made:
        each.close()


@pytest.fixture
def one(registries: list[PostgresRegistry]) -> RowClaims:
    return RowClaims(registries[0], SystemClock(), "one")


@pytest.fixture
def two(registries: list[PostgresRegistry]) -> RowClaims:
    return RowClaims(registries[1], Late(), "two")


class Still:
    """A transaction that stands still behind the look at its claim, when it is run for the first time."""

    def __init__(self) -> None:
        self.runs = 0
        self.there, self.goes_on = threading.Event(), threading.Event()

    def __call__(self, conn: Connection, name: str) -> None:
        self.runs += 1
        self.there.set()
        self.goes_on.wait(60)
        add_workspace(conn, name)


async def test_between_the_look_at_a_claim_and_the_commit_nobody_takes_it(
    registries: list[PostgresRegistry], one: RowClaims, two: RowClaims
) -> None:
    still, took = Still(), list[str]()

    def taken(conn: Connection) -> set[Named]:
        took.extend(workspaces(conn))
        return claims.take(conn, [Named(*KEY)], "two", 1, ended=Late().now(), until=Late().now() + LIFE)

    await one.take([KEY])
    with one.under(KEY):
        writing = asyncio.create_task(registries[0].write(one.guard(still), "one"))
        await eventually(still.there.is_set)
        taking = asyncio.create_task(registries[1].write(taken))
        await answered(lambda: _waits_or_is(taking, registries[1]))
        still.goes_on.set()
        await writing
        assert await taking == {Named(*KEY)}
        assert took == ["one"], "it was taken behind the commit"
        with pytest.raises(ClaimLost):
            await registries[0].write(one.guard(add_workspace), "late")


async def _waits_or_is(done: asyncio.Task[Any], registry: PostgresRegistry) -> bool:
    """Tell whether something is done, or waits for its turn."""
    query = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return done.done() or bool(await registry.scan(lambda conn: conn.execute(query).fetchone()))


async def test_who_stands_still_there_for_longer_than_its_turn_looks_again(
    registries: list[PostgresRegistry], one: RowClaims, two: RowClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database has ended its session, and the transaction is run from its beginning."""
    monkeypatch.setitem(commits.SETTINGS, "idle_in_transaction_session_timeout", "300ms")
    registries[0]._commits.close()  # the next session has that
    still = Still()
    await one.take([KEY, OTHER])
    with one.under(KEY):
        writing = asyncio.create_task(registries[0].write(one.guard(still), "one"))
        await eventually(still.there.is_set)
        assert await two.take([KEY]) == [KEY]
        still.goes_on.set()
        with pytest.raises(ClaimLost):
            await writing
    assert still.runs == 1, "behind the second look there is nothing to run"
    assert await registries[1].read(workspaces) == []


async def test_a_lost_claim_in_a_group_is_its_own_alone(
    registries: list[PostgresRegistry], one: RowClaims, two: RowClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "TURN_SECONDS", 60.0)
    numbers = list[str]()

    def noted(conn: Connection, name: str) -> None:
        numbers.append(conn.execute("SELECT pg_current_xact_id()::text").fetchone()[0])
        add_workspace(conn, name)

    await one.take([KEY, OTHER])
    await two.take([KEY])
    first, still = registries[0], Still()
    before = asyncio.create_task(first.write(still, "before"))
    await eventually(still.there.is_set)
    group = [asyncio.create_task(first.write(noted, "a"))]
    for key, name in ((KEY, "lost"), (OTHER, "b")):
        with one.under(key):
            group.append(asyncio.create_task(first.write(one.guard(noted), name)))
            await asyncio.sleep(0)
    still.goes_on.set()
    await before
    found = await asyncio.gather(*group, return_exceptions=True)
    assert [type(each) for each in found] == [type(None), ClaimLost, type(None)]
    assert await first.read(workspaces) == ["a", "b", "before"]
    assert len(numbers) == 2
    assert len(set(numbers)) == 1, "one transaction"


# ---- what ends in the middle of a group ----


def _once(act: Callable[[Connection], Any]) -> Callable[[Connection], None]:
    left = [act]

    def work(conn: Connection) -> None:
        if left:
            left.pop()(conn)
        add_workspace(conn, "it")

    return work


def _ended(conn: Connection) -> None:
    conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def _ended_and_failed(conn: Connection) -> None:
    try:
        _ended(conn)
    except psycopg.Error:
        raise ValueError("what a table says, as if nothing had happened") from None


@pytest.mark.parametrize("act", [_ended, _ended_and_failed])
async def test_a_session_that_the_server_ends_in_a_group_is_no_reason_to_lose_or_repeat_any(
    registries: list[PostgresRegistry], act: Callable[[Connection], Any]
) -> None:
    first = registries[0]
    await asyncio.gather(first.write(add_workspace, "a"), first.write(_once(act)), first.write(add_workspace, "b"))
    assert await first.read(workspaces) == ["a", "b", "it"]


async def test_a_statement_that_is_cancelled_in_a_group_is_its_own_alone(registries: list[PostgresRegistry]) -> None:
    first = registries[0]

    def cancelled(conn: Connection) -> None:
        add_workspace(conn, "never")
        conn.execute("SELECT set_config('statement_timeout', '20ms', true)")
        conn.execute("SELECT pg_sleep(60)")

    found = await asyncio.gather(
        first.write(add_workspace, "a"), first.write(cancelled), first.write(add_workspace, "b"), return_exceptions=True
    )
    assert [type(each) for each in found] == [int, DatabaseAway, int]
    assert await first.read(workspaces) == ["a", "b"]
