"""The database between processes, and on a disk that fills up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from proxy_plugin.demo.postgres import Postgres
from proxy_plugin.storage.data_dir import DataDirLock
from proxy_plugin.storage.errors import CommitInDoubt, RegistryFull
from proxy_plugin.storage.postgres import PostgresRegistry
from proxy_plugin.storage.sqlite import SqliteRegistry
from tests.support.full_disk import fill
from tests.support.postgres import Databases
from tests.support.rows import add_workspace, workspaces


async def test_a_write_is_seen_by_readers_and_by_the_next_process(tmp_path: Path) -> None:
    registry = SqliteRegistry(tmp_path)
    registry.open()
    await registry.write(add_workspace, "a")
    assert await registry.read(workspaces) == ["a"]
    assert await registry.scan(workspaces) == ["a"]
    code = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT name FROM workspaces').fetchall())"
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "registry.sqlite3"], capture_output=True, text=True)
    assert out.stdout.strip() == "[('a',)]"
    registry.close()


def test_a_second_gateway_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    lock_it = "from proxy_plugin.storage.data_dir import DataDirLock; DataDirLock(pathlib.Path(sys.argv[1]))"
    code = f"import sys, pathlib; {lock_it}"
    second = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert second.returncode != 0
    assert "DataDirBusy" in second.stderr
    lock.release()
    DataDirLock(tmp_path).release()


async def test_on_a_full_disk_the_ballast_lets_an_id_be_stored(small_disk: Path) -> None:
    registry = SqliteRegistry(small_disk)
    registry.open()
    try:
        await registry.write(add_workspace, "before")
        filler = small_disk / "filler"
        fill(filler)
        for n in range(40):
            await registry.write(add_workspace, f"id-{n}" + "x" * 4000)
        assert bool(registry.full), "the disk was meant to be full"
        assert len(await registry.read(workspaces)) == 41
        filler.unlink()
        registry.recover_space(free=1 << 40, reserve=0)
        assert not bool(registry.full)
        assert (small_disk / "ballast").stat().st_size >= 8 * 2**20
    finally:
        registry.close()


async def test_beyond_the_ballast_a_write_fails_whole_and_later_ones_work(small_disk: Path) -> None:
    registry = SqliteRegistry(small_disk)
    registry.open()
    try:
        filler = small_disk / "filler"
        fill(filler)
        stored = 0
        with pytest.raises(RegistryFull):  # noqa: PT012 - how many fit is the disk's business
            for n in range(10_000):
                await registry.write(add_workspace, f"{n:05d}" + "x" * 100_000)
                stored += 1
        assert len(await registry.read(workspaces)) == stored
        filler.unlink()
        await registry.write(add_workspace, "after")
        assert len(await registry.read(workspaces)) == stored + 1
    finally:
        registry.close()


@pytest.mark.parametrize("end", [Postgres.end, Postgres.CRASH])
async def test_a_database_that_is_started_again_is_waited_for(databases: Databases, database: str, end: int) -> None:
    registry = PostgresRegistry(database)
    registry.open()
    try:
        await asyncio.gather(*(registry.read(workspaces) for _ in range(8)))
        restart = asyncio.create_task(asyncio.to_thread(databases.server.restart, end))
        names = [f"w{n:03d}" for n in range(120)]
        doubtful: set[str] = set()
        for start in range(0, len(names), 4):
            some = names[start : start + 4]
            told = await asyncio.gather(*(registry.write(add_workspace, each) for each in some), return_exceptions=True)
            failed = {name: error for name, error in zip(some, told, strict=True) if isinstance(error, Exception)}
            assert all(type(error) is CommitInDoubt for error in failed.values()), failed
            doubtful |= failed.keys()
            await registry.read(workspaces)
            await asyncio.sleep(0.02)
        await restart
        found = await registry.read(workspaces)
        assert [name for name in found if name not in doubtful] == [name for name in names if name not in doubtful]
        assert len(doubtful) <= (4 if end == Postgres.CRASH else 0), "of the one group that the crash cut off"
    finally:
        registry.close()
