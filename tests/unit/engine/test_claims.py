"""Whose a row is, by two replicas on one database: one commits, and who was too slow commits nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.replicas.claims import FORGOTTEN, LIFE, OVER, ClaimLost, Elsewhere, NoClaims, RowClaims
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.sqlite import SqliteRegistry
from proxy_plugin.storage.tables import due
from proxy_plugin.storage.tables.replicas import claims, lives
from proxy_plugin.storage.tables.replicas.claims import MINUTE
from tests.support.rows import add_workspace, workspaces

KEY, OTHER = ("part", "batch-1", 0), ("batch", "batch-1", 0)


class Time(SystemClock):
    """A clock of the tests: both times go on together."""

    moment = 1000.0

    def now(self) -> float:
        return self.moment

    def monotonic(self) -> float:
        return self.moment


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[Registry]:
    registry = SqliteRegistry(tmp_path)
    registry.open()
    yield registry
    registry.close()


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def one(shared: Registry, clock: Time) -> RowClaims:
    return RowClaims(shared, clock, "one")


@pytest.fixture
def two(shared: Registry, clock: Time) -> RowClaims:
    return RowClaims(shared, clock, "two")


def desk(registry: Registry, claims: RowClaims | NoClaims, folder: Path) -> Desk:
    return Desk(cast("Any", SimpleNamespace(registry=registry)), BatchFolders(folder), claims)


async def test_a_row_is_one_replicas_until_it_gives_it_back(shared: Registry, one: RowClaims, two: RowClaims) -> None:
    assert await one.take([KEY, OTHER]) == [KEY, OTHER]
    assert await two.take([KEY]) == []
    with one.under(KEY):
        pass
    assert await two.take([KEY]) == [], "given back with the next write, not by one of its own"
    await one.take([])
    assert await two.take([KEY]) == [KEY]
    assert await one.take([OTHER]) == [OTHER], "what a replica has is its own, and its slots say that it does not run"


async def test_who_gives_a_row_back_is_told_to_look_again(one: RowClaims, two: RowClaims) -> None:
    """It was not due when this one looked, and still claimed when the other did: nobody else comes back to it."""
    assert await one.take([KEY, OTHER]) == [KEY, OTHER]
    assert not one.gave_back()
    with one.under(KEY):
        pass
    assert await two.take([KEY]) == []
    assert await one.take([]) == []
    assert (one.gave_back(), one.gave_back()) == (True, False)
    with one.under(OTHER):
        pass
    assert await one.renew(), "whoever calls this wakes the engine"
    assert not await one.renew()


async def test_who_was_stopped_for_longer_than_a_claim_lasts_commits_nothing(
    shared: Registry, one: RowClaims, two: RowClaims, clock: Time, tmp_path: Path
) -> None:
    slow, quick = desk(shared, one, tmp_path), desk(shared, two, tmp_path)
    await one.take([KEY])
    with one.under(KEY):
        await slow.write(add_workspace, "before")
        clock.moment += LIFE + 1
        await two.renew()  # it was there all the time
        clock.moment += 0.1
        assert await two.take([KEY]) == []
        two._waits_until = 0.0
        assert await two.take([KEY]) == [KEY]
        for commit in (slow.write, slow.insist):
            with pytest.raises(ClaimLost):
                await commit(add_workspace, "late")
        with pytest.raises(ClaimLost):
            await one.check()
    with two.under(KEY):
        await quick.write(add_workspace, "after")
    assert await shared.read(workspaces) == ["after", "before"]


async def test_who_is_late_and_was_not_replaced_goes_on(
    shared: Registry, one: RowClaims, clock: Time, tmp_path: Path
) -> None:
    await one.take([KEY])
    with one.under(KEY):
        clock.moment += 100 * LIFE
        await desk(shared, one, tmp_path).write(add_workspace, "late")
    assert await shared.read(workspaces) == ["late"]


async def test_an_earlier_drive_of_the_same_replica_has_lost_what_a_later_one_has(
    shared: Registry, one: RowClaims, two: RowClaims, clock: Time, tmp_path: Path
) -> None:
    await one.take([KEY])
    with one.under(KEY):
        await shared.write(claims.give_back_all, "one")
        await two.take([KEY])
        await two.give_back()
        await one.take([KEY])
        with pytest.raises(ClaimLost):
            await desk(shared, one, tmp_path).write(add_workspace, "earlier")


@pytest.mark.parametrize("renewed_first", [True, False])
async def test_a_claim_that_ends_as_it_is_renewed_has_one_holder(
    shared: Registry, one: RowClaims, two: RowClaims, clock: Time, tmp_path: Path, renewed_first: bool
) -> None:
    await one.take([KEY])
    for _ in range(3):
        clock.moment += LIFE / 3
        await two.renew()
    if renewed_first:
        assert not await one.renew()
    got = await two.take([KEY])
    assert got == ([] if renewed_first else [KEY])
    with one.under(KEY):
        if renewed_first:
            await desk(shared, one, tmp_path).write(add_workspace, "one")
        else:
            await one.renew()
            with pytest.raises(ClaimLost):
                await desk(shared, one, tmp_path).write(add_workspace, "one")


async def test_who_knows_that_a_claim_is_lost_begins_nothing_under_it_though_it_renews_others(
    one: RowClaims, two: RowClaims, clock: Time
) -> None:
    """Of ordinary calls a worker begins as many as its lease lasts for, and no commit is between them."""
    await one.take([KEY, OTHER])
    with one.under(KEY):
        assert one.lasts_until() == clock.moment + LIFE
        clock.moment += LIFE + 1.0
        await two.renew()
        two._waits_until = 0.0
        assert await two.take([KEY]) == [KEY]
        await one.renew()
        assert one.lasts_until() == OVER
    with one.under(OTHER):
        assert one.lasts_until() == clock.moment + LIFE
        await one.give_back()
        assert one.lasts_until() == OVER


async def test_after_a_database_was_away_all_have_time_to_renew(shared: Registry, clock: Time) -> None:
    one, two = RowClaims(shared, clock, "one"), RowClaims(shared, clock, "two")
    await one.take([KEY])
    clock.moment += 60.0  # neither could renew
    assert await two.take([KEY]) == [], "two renews first, and waits"
    assert not await two.renew()
    clock.moment += 1.0
    assert await two.take([KEY]) == []
    await one.renew()
    clock.moment += LIFE - 0.5
    await two.renew()
    assert await two.take([KEY]) == [], "one has renewed it meanwhile"


async def test_what_a_dead_replica_had_is_taken_when_its_time_is_over(
    shared: Registry, one: RowClaims, two: RowClaims, clock: Time
) -> None:
    await one.take([KEY])
    for _ in range(4):
        assert not await two.renew()
        assert await two.take([KEY]) == []
        clock.moment += LIFE / 3 - 0.1
    clock.moment += 0.4
    assert await two.renew(), "there is something to look for"
    assert await two.take([KEY]) == [KEY]


async def test_renewing_drops_what_was_lost_and_keeps_what_came_meanwhile(
    shared: Registry, one: RowClaims, two: RowClaims
) -> None:
    await one.take([KEY, OTHER])
    await shared.write(claims.give_back, {claims.Named(*KEY): 1}, "one")
    await two.take([KEY])
    await one.renew()
    assert set(one._held) == {claims.Named(*OTHER)}


async def test_what_was_taken_without_its_being_told_is_given_back(
    shared: Registry, one: RowClaims, two: RowClaims, clock: Time
) -> None:
    await shared.write(claims.take, [claims.Named(*KEY)], "one", 99, ended=0.0, until=clock.now() + LIFE)
    await one.renew()
    assert await two.take([KEY]) == []
    await one.renew()
    assert await two.take([KEY]) == [KEY]


@pytest.mark.parametrize("beside", ["renew", "duty"])
async def test_a_row_that_is_taken_again_is_not_given_back_by_what_is_written_beside_it(
    shared: Registry, one: RowClaims, two: RowClaims, tmp_path: Path, beside: str
) -> None:
    """A row that wants its next step at once is still to be given back from the one before."""
    await one.take([KEY])
    with one.under(KEY):
        pass
    others = one.renew() if beside == "renew" else one.duty("webhooks")
    got, _ = await asyncio.gather(one.take([KEY]), others)
    assert got == [KEY]
    with one.under(KEY):
        await desk(shared, one, tmp_path).write(add_workspace, "kept")
        assert await two.take([KEY]) == []
    await one.take([])
    assert await two.take([KEY]) == [KEY]


async def test_a_duty_is_one_replicas_as_long_as_it_renews_it(
    shared: Registry, one: RowClaims, two: RowClaims, clock: Time, tmp_path: Path
) -> None:
    assert await one.duty("webhooks")
    assert not await two.duty("webhooks")
    assert await two.duty("reports"), "each by itself"
    await shared.write(claims.give_back, {claims.Named("duty", "webhooks"): 1}, "one")
    assert not await two.duty("webhooks"), "it asks now and then, not behind each step"
    await one.take([("duty", "webhooks", 0)])
    clock.moment += LIFE + 1
    await two.renew()
    two._waits_until = 0.0
    with one.on_duty("webhooks"):
        assert await two.duty("webhooks")
        with pytest.raises(ClaimLost):
            await shared.write(one.guard(add_workspace), "late")
        assert not await one.duty("webhooks"), "it asks, for it has not renewed in time"


async def test_who_leaves_takes_nothing_gives_duties_back_and_each_row_as_its_step_ends(
    shared: Registry, clock: Time, two: RowClaims
) -> None:
    told = list[int]()
    one = RowClaims(shared, clock, "one", tell=lambda _: told.append(1))
    await one.take([KEY])
    assert await one.duty("webhooks")
    with one.under(KEY):
        assert one.leave()
        assert await one.take([OTHER]) == []
        assert not await one.duty("webhooks")
        assert await two.duty("webhooks")
        assert await two.take([KEY]) == [], "its step still runs"
        assert told == [1], "others were told to look"
    await one.take([])
    assert await two.take([KEY]) == [KEY]


@pytest.mark.parametrize(
    ("gone_at", "after", "may_be"),
    [(None, 1e6, True), (1000.0, 59.0, True), (1000.0, 60.0, False)],
)
async def test_a_sender_is_asked_for_until_it_is_gone_for_long_enough(
    shared: Registry, two: RowClaims, clock: Time, gone_at: float | None, after: float, may_be: bool
) -> None:
    number = await shared.write(lives.begin, "one", "1", clock.now())
    await shared.write(lives.note, {number} if gone_at is None else set(), clock.now())
    clock.moment += after
    assert await two.may_be_sent("one", 60.0) is may_be
    assert not await two.may_be_sent(None, 60.0)
    assert not await two.may_be_sent("of long ago", 60.0)


async def test_an_account_is_called_by_one_replica_until_a_minute_behind_its_last_call(
    shared: Registry, clock: Time
) -> None:
    told = list[int]()
    one, two = RowClaims(shared, clock, "one"), RowClaims(shared, clock, "two", tell=lambda _: told.append(1))

    async def beats(seconds: float, *alive: RowClaims) -> None:
        for _ in range(int(seconds)):
            clock.moment += 1.0
            for each in alive:
                await each.renew()

    async with one.calling("lane"):
        await beats(100, one, two)
        await two.take([KEY])
        with two.under(KEY), pytest.raises(Elsewhere):
            await two.calling("lane").__aenter__()
        await two.take([])
        assert told == [1], "the one that calls is told to look at what is given back"
    await beats(MINUTE - 1, one, two)
    with pytest.raises(Elsewhere):
        await two.calling("lane").__aenter__()
    await beats(2, one, two)
    async with two.calling("lane"):
        pass
    await two.give_back()  # it ends, and so does one that is killed: the account's minute goes on
    await beats(MINUTE, one)
    with pytest.raises(Elsewhere):
        await one.calling("lane").__aenter__()
    await beats(LIFE + 1, one)
    async with one.calling("lane"):
        pass


async def test_what_nobody_takes_for_long_is_forgotten(shared: Registry, one: RowClaims, clock: Time) -> None:
    await shared.write(claims.take, [claims.Named(*KEY)], "dead", 1, ended=0.0, until=clock.now())
    for _ in range(int(FORGOTTEN)):
        assert await one.renew(), "it is there to be taken"
        clock.moment += 1.0
    assert not await one.renew()


# ---- alone ----


async def test_alone_a_gateway_pays_no_statement_for_any_of_this(shared: Registry, tmp_path: Path) -> None:
    alone, seen = NoClaims(), list[str]()

    def work(conn: Connection) -> str:
        return str(conn.execute("SELECT 'work'").fetchone()[0])

    assert isinstance(shared, SqliteRegistry)
    assert shared._reader is not None
    shared._reader.set_trace_callback(seen.append)
    await shared.read(due.rows, 5.0, lambda *_: 4)
    usual = seen.copy()
    seen.clear()
    await shared.read(alone.due, 5.0, lambda *_: 4, due.Look(sorted, bool, 4))
    assert seen == usual
    seen.clear()
    await shared.write(lambda conn: cast("Any", conn).set_trace_callback(seen.append))
    assert await alone.take([KEY]) == [KEY]
    with alone.under(KEY), alone.on_duty("webhooks"):
        await alone.check()
        assert await alone.duty("webhooks")
        assert not await alone.may_be_sent(None, 60.0)
        assert alone.lasts_until() is None
        async with alone.calling("lane"):
            pass
        assert await alone.is_alone()
        assert alone.guard(work) is work
        await desk(shared, alone, tmp_path).write(work)
    assert not alone.leave()
    await alone.give_back()
    assert [each for each in seen if "SAVEPOINT" not in each and not each.startswith(("COMMIT", "RELEASE"))] == [
        "BEGIN IMMEDIATE",
        "SELECT 'work'",
    ]
