"""A data directory moved to another database and another place: whole, once, again where it stopped, or refused."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.direct import answers
from proxy_plugin.ground.fingerprints import gateway_secret
from proxy_plugin.storage import facts
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.data_dir import DataDirLock, moved, require_scratch
from proxy_plugin.storage.errors import DatabaseAway, DataDirBusy, DataDirMoved
from proxy_plugin.storage.moving import move as moving
from proxy_plugin.storage.moving import objects, rows
from proxy_plugin.storage.moving.move import MovedBefore, Moving, NotMoved, move
from proxy_plugin.storage.moving.objects import DamagedCopy, FolderPlace, StoredPlace
from proxy_plugin.storage.opening import registry_of
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.sqlite import SqliteRegistry
from tests.support.postgres import Databases
from tests.support.rows import BATCH_ID, batch_row, file_row, put_batch, put_file, put_part

CONTENT, OUTPUT = b"one line\n" * 10, b'{"id": 1}\n'
ENDED = "batch_ended"
EVENTS = 2500  # two of them are of the batches


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    """A data directory that a gateway has just left: a running batch, one that has ended, and their files."""
    folder = tmp_path / "old"
    folder.mkdir()
    gateway_secret(folder)
    registry = SqliteRegistry(folder)
    registry.open()
    for file_id, content in (("file-1", CONTENT), ("file-2", OUTPUT)):
        await put_file(registry, file_id, sha256=hashlib.sha256(content).hexdigest(), filename="na\0me.jsonl")
        write(folder / objects.blob(file_id), content)
    write(folder / f"{objects.blob('file-1')}.index", b"index")
    await put_file(registry, "file-gone", removed_at=9)
    await put_batch(registry, split_dir="split-1")
    await put_part(registry, BATCH_ID, state="running")
    await put_batch(registry, ENDED, state="completed", input_file_id="file-2", output_file_id="file-2")
    await registry.write(many_events)
    registry.close()
    for name in ("split-1/parts/0", "split-1/parts/.0.note", "ledger.jsonl", "stored-1/answers.jsonl"):
        write(folder / "batches" / BATCH_ID / name, name.encode())
        write(folder / "batches" / ENDED / name, name.encode())
    write(folder / "files/zz/orphan", b"of nobody")
    (folder / "batches" / BATCH_ID / "split-1" / "rejected").mkdir()  # of a split that rejected no line
    return folder


def many_events(conn: Connection) -> None:
    values = [(BATCH_ID, n, float(n), "x", None if n % 2 else f"ümläut {n}") for n in range(EVENTS - 2)]
    conn.executemany("INSERT INTO events (batch_id, part, at, what, detail) VALUES (?, ?, ?, ?, ?)", values)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Registry]:
    """A database of the kind that costs least; what depends on the kind is proven with `shared`."""
    (tmp_path / "database").mkdir()
    yield from opened(SqliteRegistry(tmp_path / "database"))


@pytest.fixture(scope="session")
def servers(databases: Databases) -> Databases:
    return databases


@pytest.fixture
def shared(servers: Databases) -> Iterator[Registry]:
    """PostgreSQL."""
    url = servers.fresh()
    yield from opened(registry_of(Path(), url))
    servers.drop(url)


def opened(found: Registry) -> Iterator[Registry]:
    found.open()
    yield found
    found.close()


def wanted(source: Path, target: Registry, **other: Any) -> Moving:
    return Moving(source, target, other.get("place", FolderPlace(source.parent / "new")), "elsewhere", lambda _: None)


def first(conn: Connection, query: str) -> Any:
    return conn.execute(query).fetchone()[0]


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_all_rows_and_all_bytes_that_are_needed_come_along(source: Path, shared: Registry) -> None:
    before = files_below(source)
    found = await move(wanted(source, shared))
    assert found == (EVENTS + 3 + 2 + 1 + 1, 7)
    assert await shared.read(first, "SELECT COUNT(*) FROM events") == EVENTS
    name = await shared.read(first, "SELECT filename FROM files WHERE id = 'file-1'")
    assert name == "na\ufffdme.jsonl"  # PostgreSQL has no NUL
    assert files_below(source.parent / "new") == {
        objects.blob("file-1"): CONTENT,
        f"{objects.blob('file-1')}.index": b"index",
        objects.blob("file-2"): OUTPUT,
        f"batches/{BATCH_ID}/split-1/parts/0": b"split-1/parts/0",
        f"batches/{BATCH_ID}/ledger.jsonl": b"ledger.jsonl",
        f"batches/{BATCH_ID}/stored-1/answers.jsonl": b"stored-1/answers.jsonl",
        f"batches/{ENDED}/ledger.jsonl": b"ledger.jsonl",
    }
    assert (source.parent / "new" / "batches" / BATCH_ID / "split-1" / "rejected").is_dir()
    await put_file(shared, "file-new")
    assert await shared.read(first, "SELECT id FROM files ORDER BY seq DESC LIMIT 1") == "file-new"
    after = files_below(source)
    assert before.items() <= after.items(), "the source is what it was"
    assert {*after} - {*before} <= {"moved", "lock", "registry.sqlite3-shm", "registry.sqlite3-wal"}
    assert after["registry.sqlite3-wal"] == b"", "SQLite makes it for whoever reads"


class Bucket:
    """An object store in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, path: Path) -> None:
        self.objects[key] = path.read_bytes()

    def read(self, key: str, start: int, stop: int) -> memoryview:
        return memoryview(self.objects[key])[start:stop]


async def test_a_store_has_the_names_that_replicas_give(source: Path, target: Registry) -> None:
    bucket = Bucket()
    folder = source / "batches" / BATCH_ID
    (folder / "stored-1" / objects.ANSWERS).write_bytes(b'{"id":"ok-0"}\n{"id":"no-1"}\n{"id":"ok-')
    await move(wanted(source, target, place=StoredPlace(bucket)))
    assert bucket.objects == {
        objects.blob("file-1"): CONTENT,
        f"{objects.blob('file-1')}.index": b"index",
        objects.blob("file-2"): OUTPUT,
        f"batches/{BATCH_ID}/split-1/parts/0": b"split-1/parts/0",
        f"batches/{BATCH_ID}/split-1/rejected/.folder": b"",
        f"batches/{BATCH_ID}/ledger.jsonl": b"ledger.jsonl",
        f"batches/{BATCH_ID}/stored-1/{objects.FIRST_PIECE}": b'{"id":"ok-0"}\n{"id":"no-1"}\n',
        f"batches/{ENDED}/file-2.ledger.jsonl": b"ledger.jsonl",
    }
    results = await target.read(first, "SELECT results FROM parts")
    assert json.loads(results) == {"native": {}, "beside": "split-1/parts/.0.note"}


def test_names_are_those_of_the_engine() -> None:
    assert answers.NAME == objects.ANSWERS


async def test_no_gateway_starts_on_a_folder_that_was_moved(source: Path, target: Registry, tmp_path: Path) -> None:
    with pytest.raises(DataDirMoved, match="proxy-plugin migrate"):
        require_scratch(source)
    await move(wanted(source, target))
    assert (moved(source) or "").startswith("was moved to elsewhere on 2")
    with pytest.raises(DataDirMoved, match=r"old was moved to elsewhere on .*; it is kept as it was\. Name another"):
        DataDirLock(source)
    require_scratch(tmp_path / "fresh")


async def test_the_secret_comes_along_and_nobody_starts_before_the_end(
    source: Path, target: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(FolderPlace, "put", _refuse)
        with pytest.raises(DatabaseAway):
            await move(wanted(source, target))
    with pytest.raises(facts.HalfFilled, match="run it again"):
        await target.write(facts._secret, "00" * 32)
    assert moved(source) is None
    await move(wanted(source, target))
    assert await target.write(facts._secret, "00" * 32) == gateway_secret(source)


def _refuse(*_: object) -> None:
    raise DatabaseAway("gone for now")


async def test_a_move_goes_on_where_it_stopped(source: Path, shared: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the database goes away in the middle of a table, then the store in the middle of the files."""
    stored, times = rows._store, iter(range(100))

    def failing(conn: Connection, table: rows.Table, *rest: Any) -> None:
        stored(conn, table, *rest)
        if table.name == "events" and next(times) == 1:
            raise DatabaseAway("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(rows, "_store", failing)
        with pytest.raises(DatabaseAway):
            await move(wanted(source, shared))
        assert await shared.read(first, "SELECT COUNT(*) FROM events") == rows.TOGETHER
        place = Twice(source.parent / "new", fails_at=3)
        with pytest.raises(OSError, match="no more"):
            await move(wanted(source, shared, place=place))
    before = set(place.written)
    await move(wanted(source, shared, place=place))
    again = place.written[len(before) :]
    assert len(place.written) <= 7 + objects.AT_ONCE, "what was compared is not written again"
    assert len({*place.written}) == 7
    assert again


class Twice(FolderPlace):
    """A place that refuses one file."""

    def __init__(self, root: Path, fails_at: int) -> None:
        super().__init__(root)
        self.written: list[str] = []
        self._left = fails_at

    def put(self, key: str, path: Path) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError("no more")
        super().put(key, path)
        self.written.append(key)


async def test_a_gateway_that_runs_is_not_moved(source: Path, target: Registry) -> None:
    lock = DataDirLock(source)
    with pytest.raises(DataDirBusy):
        await move(wanted(source, target))
    lock.release()
    await move(wanted(source, target))


async def test_a_killed_gateway_is_moved_with_what_it_had_committed(source: Path, target: Registry) -> None:
    """Its last commits are in the log beside the database, which nobody has folded in."""
    conn = sqlite3.connect(source / "registry.sqlite3", isolation_level=None)
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("INSERT INTO workspaces (name, bytes) VALUES ('late', 7)")
    assert (source / "registry.sqlite3-wal").stat().st_size
    await move(wanted(source, target))
    conn.close()
    assert await target.read(first, "SELECT bytes FROM workspaces WHERE name = 'late'") == 7


async def test_a_database_that_is_used_is_not_filled(source: Path, target: Registry, tmp_path: Path) -> None:
    await put_file(target)
    with pytest.raises(NotMoved, match=r"in use \(files, workspaces\)"):
        await move(wanted(source, target))
    with pytest.raises(NotMoved, match="name the data directory"):
        await move(wanted(tmp_path, target))


async def test_a_second_folder_is_not_moved_to_the_same_database(source: Path, target: Registry) -> None:
    await move(wanted(source, target))
    await target.write(facts.put, facts.SECRET, "of another")
    with pytest.raises(NotMoved, match="another data directory has been moved into this database before"):
        await move(wanted(source, target))
    await target.write(facts.put, facts.MIGRATION, "another")
    with pytest.raises(NotMoved, match="another data directory is being moved"):
        await move(wanted(source, target))


async def test_who_runs_it_again_behind_its_end_is_told_that_it_is_done(source: Path, target: Registry) -> None:
    """As whoever does who saw nothing of the end: the command was killed, or its terminal went."""
    await move(wanted(source, target))
    with pytest.raises(MovedBefore, match="nothing is left to do"):
        await move(wanted(source, target))


async def test_a_database_on_which_a_gateway_has_begun_is_not_filled(source: Path, target: Registry) -> None:
    """It might be beginning at this moment, and would go on with another secret than all others."""
    await target.write(facts._secret, "00" * 32)
    with pytest.raises(NotMoved, match="name a new database"):
        await move(wanted(source, target))


async def test_replicas_that_run_are_stopped_first(source: Path, shared: Registry) -> None:
    await shared.write(
        lambda conn: (
            conn.execute("INSERT INTO replicas (name, version, started_at, seen_at) VALUES ('a', '1', 1, 1)").rowcount
        )
    )
    with pytest.raises(NotMoved, match="stop them first"):
        await move(wanted(source, shared))


async def test_a_copy_that_differs_is_told_and_not_released(
    source: Path, shared: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = rows._store

    def wrong(conn: Connection, table: rows.Table, found: list[rows.Row], after: str) -> None:
        stored(conn, table, found, after)
        conn.execute("UPDATE events SET detail = 'other' WHERE seq = 7")

    monkeypatch.setattr(rows, "_store", wrong)
    with pytest.raises(NotMoved, match="events has 2500 rows here, 2500 there, unequal"):
        await move(wanted(source, shared))
    assert moved(source) is None


async def test_bytes_that_are_missing_or_wrong_are_told(source: Path, target: Registry) -> None:
    path = source / objects.blob("file-2")
    path.write_bytes(b"damaged")
    with pytest.raises(DamagedCopy, match="is not what its row says"):
        await move(wanted(source, target))
    path.unlink()
    with pytest.raises(NotMoved, match=r"1 files have no bytes in .*, among them file-2"):
        await move(wanted(source, target))


async def test_bytes_that_the_place_changes_are_told(
    source: Path, target: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderPlace, "digest", lambda *_: "0" * 64)
    with pytest.raises(DamagedCopy, match="is not what was written"):
        await move(wanted(source, target))


def test_every_table_is_moved_or_says_who_runs(tmp_path: Path) -> None:
    """A table that a later schema adds is one or the other: nobody forgets it."""
    registry = SqliteRegistry(tmp_path)
    registry.open()
    registry.close()
    conn = sqlite3.connect(tmp_path / "registry.sqlite3")
    found = [each.name for each in rows.tables(conn)]
    assert found.index("files") < found.index("batches") < found.index("parts") < found.index("submissions")
    known = {row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert known - {*found} == rows.OF_REPLICAS & known
    assert all(each.key for each in rows.tables(conn)), "a table without a key cannot be read in stretches"
    conn.close()
    assert moving.SECRET_FILE == "secret"
    assert (file_row().id, batch_row().id) == ("file-1", BATCH_ID)
