"""What replicas see of each other in PostgreSQL: who is there, and what is due now."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest

from proxy_plugin.storage import sessions
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.replicas import attendance
from proxy_plugin.storage.replicas.attendance import Attendance, held
from proxy_plugin.storage.tables import batches, files, parts
from proxy_plugin.storage.tables.replicas import claims, holds
from proxy_plugin.storage.tables.replicas.claims import Named
from tests.support.rows import batch_row, file_row, part_row
from tests.support.waiting import eventually

PART = Named("part", "batch-1")


@pytest.fixture
def database(migrated: str) -> Iterator[Connection]:
    """Each statement is a transaction of its own."""
    with closing(sessions.connect(migrated)) as made:
        yield made.tables


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
async def first(migrated: str, heard: list[str]) -> AsyncIterator[Attendance]:
    made = Attendance(migrated, 1, heard.append)
    await made.begin()
    yield made
    await made.end()


async def until_said(database: Connection, heard: list[str], word: str) -> list[str]:
    """Return what is heard until a word that is said now."""
    attendance.tell(database, word)
    await eventually(lambda: word in heard)
    found = heard[: heard.index(word)]
    heard.clear()
    return found


async def test_a_replica_is_there_as_long_as_its_session_is(
    migrated: str, database: Connection, first: Attendance, heard: list[str]
) -> None:
    second = Attendance(migrated, 2, lambda _: None)
    await second.begin()
    assert held(database) == {1, 2}
    await second.end()
    await eventually(lambda: held(database) == {1})
    assert heard == [""], "what was missed before"
    heard.clear()
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1")
    await eventually(lambda: heard == [""] and held(database) == {1}, "another session of its own")


async def test_what_is_due_now_is_told_unless_somebody_goes_on_with_it(
    database: Connection, first: Attendance, heard: list[str]
) -> None:
    later = time.time() + 1000
    files.insert(database, file_row())
    batches.insert(database, batch_row("batch-1"), is_retry=False)
    parts.insert(database, part_row("batch-1", state="planned", due_at=later))
    assert await until_said(database, heard, "nothing is due") == [""]
    part = parts.get(database, "batch-1", 0)
    assert part is not None
    parts.wake(database, part)
    assert await until_said(database, heard, "woken") == ["rows"]
    claims.take(database, [PART], "a", 1, ended=0.0, until=later)
    parts.move(database, part, "staging")
    assert await until_said(database, heard, "claimed") == []
    claims.give_back(database, {PART: 1}, "a")
    parts.wake(database, part)
    assert await until_said(database, heard, "given back") == ["rows"]
    holds.hold(database, "account", 1.0, 2.5)
    assert await until_said(database, heard, "held") == ["hold account 2.5"]


async def test_it_is_told_when_the_transaction_is_durable(
    database: Connection, first: Attendance, heard: list[str]
) -> None:
    heard.clear()
    database.execute("BEGIN")
    attendance.tell(database, "undone")
    database.execute("ROLLBACK")
    assert await until_said(database, heard, "told") == []
