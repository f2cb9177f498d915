"""The registry: writes in turns, undone alone; what SQLite has of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest
from msgspec import structs

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.data_dir import DataDirLock
from proxy_plugin.storage.errors import ConstraintError, DataDirBusy, SchemaTooNew, StorageError
from proxy_plugin.storage.opening import registry_of
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.sqlite import SqliteRegistry, connect
from proxy_plugin.storage.tables import batches, cuts, parts
from tests.support.postgres import Databases
from tests.support.rows import BATCH_ID, add_workspace, batch_row, make_schema, part_row, workspaces


@pytest.fixture
def registry(servers: Databases | None, tmp_path: Path) -> Iterator[Registry]:
    made = registry_of(tmp_path, None if servers is None else servers.like("schema", make_schema))
    made.open()
    yield made
    made.close()


@pytest.fixture
def of_sqlite(tmp_path: Path) -> Iterator[SqliteRegistry]:
    made = SqliteRegistry(tmp_path)
    made.open()
    yield made
    made.close()


async def test_a_failing_write_in_a_group_is_undone_alone(registry: Registry) -> None:
    def fail(conn: Connection) -> None:
        conn.execute("INSERT INTO workspaces (name, bytes) VALUES ('half', 1)")
        raise KeyError("defect")

    results = await asyncio.gather(
        registry.write(add_workspace, "a"),
        registry.write(fail),
        registry.write(add_workspace, "b"),
        registry.write(add_workspace, "a"),
        return_exceptions=True,
    )
    assert [type(r) for r in results] == [int, KeyError, int, ConstraintError]
    assert await registry.read(workspaces) == ["a", "b"]


async def test_of_many_rows_at_once_one_that_may_not_be_undoes_all(registry: Registry) -> None:
    def add(conn: Connection, names: str) -> int:
        return conn.executemany(
            "INSERT INTO workspaces (name, bytes) VALUES (?, ?)", [(each, 1) for each in names]
        ).rowcount

    results = await asyncio.gather(
        *(registry.write(add, names) for names in ("ab", "cdc", "ef")), return_exceptions=True
    )
    assert [each if isinstance(each, int) else type(each) for each in results] == [2, ConstraintError, 2]
    assert await registry.read(workspaces) == list("abef")


async def test_many_concurrent_increments_lose_none(registry: Registry) -> None:
    await registry.write(add_workspace, "n")

    def bump(conn: Connection) -> None:
        conn.execute("UPDATE workspaces SET bytes = bytes + 1 WHERE name = 'n'")

    await asyncio.gather(*(registry.write(bump) for _ in range(300)))
    assert await registry.read(lambda c: c.execute("SELECT bytes FROM workspaces").fetchone()[0]) == 301


async def test_parts_of_the_schema_before_are_read_as_they_are(tmp_path: Path) -> None:
    """Version 1 knew no parts that were cut, none whose lines go on, no ordinary calls, no suspects."""
    first = resources.files("proxy_plugin.storage") / "sql" / "0001.sql"
    with closing(connect(tmp_path / "registry.sqlite3")) as conn:
        conn.executescript(f"CREATE TABLE schema_version (version INTEGER NOT NULL);{first.read_text()}")
        conn.execute("INSERT INTO schema_version (version) VALUES (1)")
        conn.execute(
            "INSERT INTO files (id, workspace, purpose, filename, bytes, sha256, created_at, state)"
            " VALUES ('file-1', 'one', 'batch', 'a', 1, '', 1, 'processed')"
        )
        for row, table, newer in (
            (batch_row(), "batches", {"suspects", "cached", "identity", "webhook"}),
            (part_row(BATCH_ID, state="running"), "parts", {"cut", "way", "requests", "goes_on", "rescue"}),
        ):
            known = {name: value for name, value in structs.asdict(row).items() if name not in newer}
            names = ", ".join(f":{name}" for name in known)
            conn.execute(f"INSERT INTO {table} ({', '.join(known)}) VALUES ({names})", known)
    registry = SqliteRegistry(tmp_path)
    registry.open()
    try:
        assert await registry.read(parts.of_batch, BATCH_ID) == [part_row(BATCH_ID, state="running")]
        assert await registry.read(batches.get, BATCH_ID) == batch_row()
        assert await registry.read(cuts.of_batch, BATCH_ID) == []
    finally:
        registry.close()


async def test_the_reader_cannot_write(registry: Registry) -> None:
    with pytest.raises(StorageError, match=r"read-?only"):
        await registry.read(add_workspace, "x")


async def test_wal_and_full_synchronous(of_sqlite: SqliteRegistry) -> None:
    pragmas = await of_sqlite.read(
        lambda c: (c.execute("PRAGMA journal_mode").fetchone()[0], c.execute("PRAGMA synchronous").fetchone()[0])
    )
    assert pragmas == ("wal", 2)


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    with pytest.raises(DataDirBusy):
        DataDirLock(tmp_path)
    lock.release()


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    first = SqliteRegistry(tmp_path)
    first.open()
    first.close()
    with sqlite3.connect(tmp_path / "registry.sqlite3") as conn:
        conn.execute("INSERT INTO schema_version VALUES (9999)")
    conn.close()
    with pytest.raises(SchemaTooNew):
        SqliteRegistry(tmp_path).open()


async def test_what_the_database_refuses_is_told_in_the_words_of_storage(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="not a database"):
        SqliteRegistry(tmp_path).open()
