"""The database: durable, one writer, undone alone, and still able to store an id on a full disk."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.data_dir import DataDirLock
from proxy_plugin.storage.errors import ConstraintError, DataDirBusy, RegistryFull, SchemaTooNew, StorageError
from proxy_plugin.storage.registry import Registry
from tests.support.full_disk import fill


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path)
    registry.open()
    yield registry
    registry.close()


def add(name: str) -> object:
    return lambda conn: conn.execute("INSERT INTO workspaces (name, bytes) VALUES (?, 1)", (name,)).rowcount


def names(conn: Connection) -> list[str]:
    return [row[0] for row in conn.execute("SELECT name FROM workspaces ORDER BY name")]


async def test_a_write_is_seen_by_readers_and_by_the_next_process(registry: Registry, tmp_path: Path) -> None:
    await registry.write(add("a"))  # type: ignore[arg-type]
    assert registry.read_now(names) == ["a"]
    assert await registry.scan(names) == ["a"]
    code = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT name FROM workspaces').fetchall())"
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "registry.sqlite3"], capture_output=True, text=True)
    assert out.stdout.strip() == "[('a',)]"


async def test_a_failing_write_in_a_group_is_undone_alone(registry: Registry) -> None:
    def fail(conn: Connection) -> None:
        conn.execute("INSERT INTO workspaces (name, bytes) VALUES ('half', 1)")
        raise KeyError("defect")

    works = [add("a"), fail, add("b"), add("a")]
    results = await asyncio.gather(*(registry.write(w) for w in works), return_exceptions=True)  # type: ignore[arg-type]
    assert [type(r) for r in results] == [int, KeyError, int, ConstraintError]
    assert registry.read_now(names) == ["a", "b"]


async def test_many_concurrent_increments_lose_none(registry: Registry) -> None:
    await registry.write(add("n"))  # type: ignore[arg-type]

    def bump(conn: Connection) -> None:
        conn.execute("UPDATE workspaces SET bytes = bytes + 1 WHERE name = 'n'")

    await asyncio.gather(*(registry.write(bump) for _ in range(300)))
    assert registry.read_now(lambda c: c.execute("SELECT bytes FROM workspaces").fetchone()[0]) == 301


async def test_the_reader_cannot_write(registry: Registry) -> None:
    with pytest.raises(StorageError, match="readonly"):
        await registry.read(add("x"))  # type: ignore[arg-type]


def test_wal_and_full_synchronous(registry: Registry) -> None:
    pragmas = registry.read_now(
        lambda c: (c.execute("PRAGMA journal_mode").fetchone()[0], c.execute("PRAGMA synchronous").fetchone()[0])
    )
    assert pragmas == ("wal", 2)


def test_a_second_gateway_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    lock_it = "from proxy_plugin.storage.data_dir import DataDirLock; DataDirLock(pathlib.Path(sys.argv[1]))"
    code = f"import sys, pathlib; {lock_it}"
    second = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert second.returncode != 0
    assert "DataDirBusy" in second.stderr
    lock.release()
    DataDirLock(tmp_path).release()


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    with pytest.raises(DataDirBusy):
        DataDirLock(tmp_path)
    lock.release()


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    first.open()
    first.close()
    with sqlite3.connect(tmp_path / "registry.sqlite3") as conn:
        conn.execute("INSERT INTO schema_version VALUES (9999)")
    conn.close()
    with pytest.raises(SchemaTooNew):
        Registry(tmp_path).open()


async def test_what_the_database_refuses_is_told_in_the_words_of_storage(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="not a database"):
        Registry(tmp_path).open()


async def test_on_a_full_disk_the_ballast_lets_an_id_be_stored(small_disk: Path) -> None:
    registry = Registry(small_disk)
    registry.open()
    try:
        await registry.write(add("before"))  # type: ignore[arg-type]
        filler = small_disk / "filler"
        fill(filler)
        for n in range(40):
            await registry.write(add(f"id-{n}" + "x" * 4000))  # type: ignore[arg-type]
        assert bool(registry.full), "the disk was meant to be full"
        assert len(registry.read_now(names)) == 41
        filler.unlink()
        registry.recover_space(free=1 << 40, reserve=0)
        assert not bool(registry.full)
        assert (small_disk / "ballast").stat().st_size >= 8 * 2**20
    finally:
        registry.close()


async def test_beyond_the_ballast_a_write_fails_whole_and_later_ones_work(small_disk: Path) -> None:
    registry = Registry(small_disk)
    registry.open()
    try:
        filler = small_disk / "filler"
        fill(filler)
        stored = 0
        with pytest.raises(RegistryFull):  # noqa: PT012 - how many fit is the disk's business
            for n in range(10_000):
                await registry.write(add(f"{n:05d}" + "x" * 100_000))  # type: ignore[arg-type]
                stored += 1
        assert len(registry.read_now(names)) == stored
        filler.unlink()
        await registry.write(add("after"))  # type: ignore[arg-type]
        assert len(registry.read_now(names)) == stored + 1
    finally:
        registry.close()
