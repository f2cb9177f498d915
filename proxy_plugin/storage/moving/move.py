"""A data directory moved: rows, then files, then a mark on both sides. It may be interrupted anywhere and run again.

While it runs the database says so, and no replica starts on it. The data directory is read, and stays what it was but
for the mark, which comes before the database is released: at no moment may both sides be started.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from proxy_plugin.storage import facts
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.data_dir import REGISTRY, DataDirLock, mark_moved
from proxy_plugin.storage.moving import notes, objects, rows
from proxy_plugin.storage.moving.objects import Destination, Item, MoveJournal
from proxy_plugin.storage.moving.rows import Table
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.sqlite import connect, migrate
from proxy_plugin.storage.tables import batches, files, uploads

SECRET_FILE = "secret"  # noqa: S105 - a name
_SCRATCH = "moving"  # below `tmp`, which every start of a gateway empties


class NotMoved(Exception):
    """Nothing more can be moved, for this reason."""


class MovedBefore(Exception):
    """This data directory has been moved into this database, to the end."""


class Moved(NamedTuple):
    """What was moved."""

    rows: int
    files: int


@dataclass(frozen=True, slots=True)
class Moving:
    """One move: from a data directory to an open database and a place for files. `told` is given lines for people."""

    data_dir: Path
    target: Registry
    place: Destination
    where: str
    told: Callable[[str], None]


async def move(moving: Moving) -> Moved:
    """Move everything. Raises DataDirBusy, NotMoved, MovedBefore, DamagedCopy, StorageError, OSError."""
    if not (moving.data_dir / REGISTRY).exists():
        raise NotMoved(f"{moving.data_dir} holds no {REGISTRY}: name the data directory of the gateway with --from")
    lock = await asyncio.to_thread(DataDirLock, moving.data_dir, expected=True)
    try:
        with _snapshot(moving.data_dir) as source:
            found = rows.tables(source)
            if moving.place.shared:
                notes.into_rows(source, moving.data_dir / objects.BATCHES)
            await _begin(moving, found)
            counted = await _rows(moving, source, found)
            copied = await _files(moving, source)
        day = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        await asyncio.to_thread(mark_moved, moving.data_dir, f"was moved to {moving.where} on {day} UTC")
        await moving.target.write(_end, found)
        await asyncio.to_thread(shutil.rmtree, moving.data_dir / "tmp" / _SCRATCH, ignore_errors=True)
        return Moved(counted, copied)
    finally:
        lock.release()


@contextmanager
def _snapshot(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Yield a copy of the registry, brought to this version's schema. Raises SchemaTooNew."""
    scratch = data_dir / "tmp" / _SCRATCH
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = scratch / REGISTRY
    path.unlink(missing_ok=True)
    here = f"file:{quote(str(data_dir.absolute() / REGISTRY))}?mode=ro"
    with closing(sqlite3.connect(here, uri=True)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
    try:
        with closing(connect(path)) as conn:
            migrate(conn)
            yield conn
    finally:
        path.unlink(missing_ok=True)


async def _begin(moving: Moving, found: list[Table]) -> None:
    """Take the database for this move. Raises NotMoved for one that holds anything else, MovedBefore."""
    secret = (moving.data_dir / SECRET_FILE).read_bytes().hex()
    whose = hashlib.sha256(secret.encode()).hexdigest()[:16]  # the same folder, whatever it is called
    if refusal := await moving.target.write(_taken, found, whose, secret):
        raise NotMoved(refusal)


def _taken(conn: Connection, found: list[Table], whose: str, secret: str) -> str | None:
    """Take an empty database; return why not, None where it is this folder's. Raises MovedBefore."""
    state = facts.get(conn, facts.MIGRATION)
    if state == whose:
        return None
    if state == facts.DONE and facts.get(conn, facts.SECRET) == secret:
        raise MovedBefore("this data directory has been moved into this database already; nothing is left to do")
    if state == facts.DONE:
        return "another data directory has been moved into this database before; each needs a database of its own"
    if state is not None:
        return "another data directory is being moved into this database; end that first, or name another database"
    refusal = _in_use(conn, found, secret)
    if refusal is None:
        facts.put(conn, facts.MIGRATION, whose)
    return refusal


def _in_use(conn: Connection, found: list[Table], secret: str) -> str | None:
    if full := [table.name for table in found if rows.holds_rows(conn, table)]:
        return f"the database is in use ({', '.join(full)}); name one that no gateway has used"
    if conn.execute("SELECT 1 FROM replicas WHERE gone_at IS NULL").fetchone() is not None:
        return "replicas run on this database; stop them first"
    if facts.first(conn, facts.SECRET, secret) != secret:  # whoever made it may go on with it at any moment
        return "a gateway has begun on this database, with a secret of its own; name a new database"
    return None


def _end(conn: Connection, found: list[Table]) -> None:
    """Let replicas begin."""
    for table in found:
        conn.execute("DELETE FROM facts WHERE name = ?", (table.mark,))
    facts.put(conn, facts.MIGRATION, facts.DONE)


async def _rows(moving: Moving, source: sqlite3.Connection, found: list[Table]) -> int:
    """Copy the tables and compare them; return how many rows they have. Raises NotMoved where one differs."""
    total = 0
    for table in found:
        await rows.copy(source, moving.target, table)
        if differs := await rows.differences(source, moving.target, table):
            raise NotMoved(f"the copy is not the same: {differs}; empty the database and begin again")
        count = (await asyncio.to_thread(rows.summed, source, table)).rows
        total += count
        moving.told(f"rows of {table.name}: {count}")
    return total


async def _files(moving: Moving, source: sqlite3.Connection) -> int:
    """Copy the files; return how many. Raises NotMoved for bytes that are missing."""
    held, wanted = await asyncio.to_thread(_wanted, source)
    items = list(objects.blobs_in(moving.data_dir, held))
    if missing := sorted(wanted - {Path(item.key).name for item in items}):
        raise NotMoved(f"{len(missing)} files have no bytes in {moving.data_dir}, among them {missing[0]}")
    ledgers = await asyncio.to_thread(_ledgers, source)
    items += await asyncio.to_thread(_of_batches, moving, ledgers)
    await asyncio.to_thread(objects.make_folders, moving.data_dir, ledgers, moving.place)
    hashes = {objects.blob(row[0]): row[1] for row in source.execute("SELECT id, sha256 FROM files")}
    there = hashlib.sha256(moving.where.encode()).hexdigest()[:16]
    journal = MoveJournal(moving.data_dir / "tmp" / _SCRATCH / f"files-{there}")
    await objects.copy(moving.data_dir, items, moving.place, hashes, journal, _told_at_times(moving.told))
    return len(items)


def _told_at_times(told: Callable[[str], None]) -> Callable[[int, int], None]:
    """Return what tells how many files are done, once a second and at the end."""
    shown = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal shown
        if done == of or time.monotonic() - shown > 1.0:
            shown = time.monotonic()
            told(f"files: {done} of {of}")

    return tell


def _wanted(source: sqlite3.Connection) -> tuple[set[str], set[str]]:
    """Return the names that may have bytes, and those that must; what is at a provider has none here."""
    held = files.kept(source) | uploads.kept(source)
    return held, held - {row[0] for row in source.execute("SELECT id FROM provider_files")}


def _ledgers(source: sqlite3.Connection) -> dict[str, str | None]:
    """Return after which file the ledger of each batch is named, "" for none, None of a batch that has not ended."""
    live = batches.live_ids(source)
    found = source.execute("SELECT id, COALESCE(output_file_id, error_file_id, '') FROM batches")
    return {row[0]: None if row[0] in live else row[1] for row in found}


def _of_batches(moving: Moving, ledgers: Mapping[str, str | None]) -> list[Item]:
    return list(objects.folders_in(moving.data_dir, ledgers, shared=moving.place.shared))
