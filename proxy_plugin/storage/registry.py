"""The SQL database that remembers everything: one writer thread, read connections beside it.

SQLite in WAL mode with `synchronous=FULL`: when `write` returns, the change survives a power cut. Every write
transaction begins IMMEDIATE, because a deferred one that upgrades fails without waiting. Writes that queue up while
one is being synced share the next sync.
"""

from __future__ import annotations

import asyncio
import queue
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.data_dir import Ballast
from proxy_plugin.storage.errors import ConstraintError, RegistryFull, SchemaTooNew, StorageError

T = TypeVar("T")
P = ParamSpec("P")
GROUP = 64  # writes that may share one transaction
_FULL_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


@dataclass(slots=True)
class _Write:
    work: Callable[[Connection], Any]
    done: Callable[[Any, BaseException | None], None]


def connect(path: Path) -> sqlite3.Connection:
    """Open one connection with the pragmas every connection of ours has."""
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    conn.row_factory = sqlite3.Row
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("PRAGMA synchronous=FULL")
    conn.execute("PRAGMA foreign_keys=ON")
    conn.execute("PRAGMA busy_timeout=5000")
    conn.execute("PRAGMA cache_size=-4000")
    return conn


def migrate(conn: sqlite3.Connection) -> None:
    """Bring the schema to this version by numbered SQL files. Raises SchemaTooNew."""
    conn.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
    row = conn.execute("SELECT MAX(version) FROM schema_version").fetchone()
    have = row[0] or 0
    folder = resources.files(__package__) / "sql"
    scripts = sorted((p for p in folder.iterdir() if re.fullmatch(r"\d{4}\.sql", p.name)), key=lambda p: p.name)
    if have > len(scripts):
        raise SchemaTooNew(f"the database has schema {have}, this version knows {len(scripts)}: upgrade the gateway")
    for number, script in enumerate(scripts[have:], have + 1):
        statements = f"{script.read_text()}\nINSERT INTO schema_version (version) VALUES ({number});"
        conn.executescript(f"BEGIN IMMEDIATE;\n{statements}\nCOMMIT;")


class Registry:
    """The database of one gateway. Functions given to `write` and `read` get a connection and run to the end."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "registry.sqlite3"
        self._ballast = Ballast(data_dir / "ballast")
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._reader: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self.full = False  # the last write met a full disk; cleared by `recover_space`

    def open(self) -> None:
        """Create or upgrade the schema and start the writer. Blocking; called once before serving.

        Raises SchemaTooNew, or StorageError for a file that is no database of ours.
        """
        with _told():
            writer = connect(self._path)
            migrate(writer)
            self._path.chmod(0o600)
            self._reader = connect(self._path)
            self._reader.execute("PRAGMA query_only=ON")
        with suppress(OSError):
            self._ballast.fill()
        self._thread = threading.Thread(target=self._run, args=(writer,), name="registry-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish queued writes and close. Blocking."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a point read: `work(connection, *args, **kwargs)`. Raises StorageError for what the database refuses.

        On SQLite it runs at once, on the event loop: a point read takes microseconds, a thread takes a hundred.
        """
        assert self._reader is not None
        try:
            return work(self._reader, *args, **kwargs)
        except sqlite3.Error as error:
            raise StorageError(str(error)) from error

    async def scan(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a read that may be long on a thread and a connection of its own. Raises StorageError."""
        return await asyncio.to_thread(self._scan, lambda conn: work(conn, *args, **kwargs))

    def _scan(self, work: Callable[[Connection], T]) -> T:
        with _told(), closing(connect(self._path)) as conn:
            return work(conn)

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(connection, *args, **kwargs)` in a transaction; return when it is durable.

        Raises what `work` raises (its changes are undone, those of others are kept), RegistryFull, or StorageError for
        what the database refuses.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def done(value: Any, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is gone: the write still happened
                loop.call_soon_threadsafe(settle, value, error)

        self._queue.put(_Write(lambda conn: work(conn, *args, **kwargs), done))
        return await future

    def recover_space(self, free: int, reserve: int) -> None:
        """Take the ballast's space again once the disk has room, and clear `full`."""
        if free > reserve + self._ballast._size:  # noqa: SLF001
            with suppress(OSError):
                self._ballast.fill()
                self.full = False

    def _run(self, conn: sqlite3.Connection) -> None:
        while (first := self._queue.get()) is not None:
            group, last = self._gather(first)
            self._commit_group(conn, group)
            if last:
                break
        conn.close()

    def _gather(self, first: _Write) -> tuple[list[_Write], bool]:
        group = [first]
        while len(group) < GROUP:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return group, True
            group.append(item)
        return group, False

    def _commit_group(self, conn: sqlite3.Connection, group: list[_Write]) -> None:
        for last_try in (False, True):
            try:
                outcomes = _transaction(conn, [item.work for item in group])
            except sqlite3.Error as error:
                if _is_full(error) and not last_try:
                    self.full = True
                    self._ballast.drop()
                    continue
                outcomes = [(None, _readable(error))] * len(group)
            break
        for item, (value, failure) in zip(group, outcomes, strict=True):
            item.done(value, failure)


def _transaction(
    conn: sqlite3.Connection, works: list[Callable[[Connection], Any]]
) -> list[tuple[Any, BaseException | None]]:
    conn.execute("BEGIN IMMEDIATE")
    try:
        outcomes = [_savepoint(conn, work) for work in works]
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    return outcomes


def _savepoint(conn: sqlite3.Connection, work: Callable[[Connection], Any]) -> tuple[Any, BaseException | None]:
    conn.execute("SAVEPOINT one")
    try:
        value = work(conn)
    except sqlite3.Error as error:
        if _is_full(error):
            raise
        failure: BaseException = _readable(error)
    except Exception as error:  # noqa: BLE001 - handed to the caller that awaits this write
        failure = error
    else:
        conn.execute("RELEASE one")
        return value, None
    conn.execute("ROLLBACK TO one")
    conn.execute("RELEASE one")
    return None, failure


@contextmanager
def _told() -> Iterator[None]:
    """Raise StorageError for what the database refuses outside a transaction."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(str(error)) from error


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _FULL_CODES


def _readable(error: sqlite3.Error) -> StorageError:
    if _is_full(error):
        return RegistryFull("the disk under data_dir is full")
    return ConstraintError(str(error)) if isinstance(error, sqlite3.IntegrityError) else StorageError(str(error))
