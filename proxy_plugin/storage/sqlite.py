"""The registry in one file: SQLite in WAL mode, for a gateway that is alone.

`synchronous=FULL`: when `write` returns, the change survives a power cut. Every write transaction begins IMMEDIATE,
because a deferred one that upgrades fails without waiting.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from proxy_plugin.storage import schema
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.data_dir import Ballast
from proxy_plugin.storage.errors import ConstraintError, RegistryFull, StorageError
from proxy_plugin.storage.registry import Errand, Outcome, Registry

T = TypeVar("T")
P = ParamSpec("P")
_FULL_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


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
    """Bring the schema to this version. Raises SchemaTooNew."""
    conn.execute(schema.VERSIONS)
    for script in schema.scripts(conn.execute(schema.VERSION).fetchone()[0]):
        conn.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")


class SqliteRegistry(Registry):
    """The database of one gateway, in its data directory."""

    dialect = "sqlite"

    def __init__(self, data_dir: Path) -> None:
        super().__init__()
        self._path = data_dir / "registry.sqlite3"
        self._ballast = Ballast(data_dir / "ballast")
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None

    def open(self) -> None:
        """See `Registry`. Raises StorageError for a file that is no database of ours."""
        with _told():
            self._writer = connect(self._path)
            migrate(self._writer)
            self._path.chmod(0o600)
            self._reader = connect(self._path)
            self._reader.execute("PRAGMA query_only=ON")
        with suppress(OSError):
            self._ballast.fill()
        self._start()

    def close(self) -> None:
        """Finish queued writes and close. Blocking."""
        super().close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Registry`. It runs at once, on the event loop: a read takes microseconds, a thread takes a hundred."""
        assert self._reader is not None
        try:
            return work(self._reader, *args, **kwargs)
        except sqlite3.Error as error:
            raise StorageError(str(error)) from error

    async def scan(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Registry`. It has a thread and a connection of its own."""
        return await asyncio.to_thread(self._scan, lambda conn: work(conn, *args, **kwargs))

    def _scan(self, work: Callable[[Connection], T]) -> T:
        with _told(), closing(connect(self._path)) as conn:
            return work(conn)

    def recover_space(self, free: int, reserve: int) -> None:
        """Take the ballast's space again once the disk has room, and clear `full`."""
        if free > reserve + self._ballast._size:  # noqa: SLF001
            with suppress(OSError):
                self._ballast.fill()
                self.full = False

    def _close_writer(self) -> None:
        assert self._writer is not None
        self._writer.close()

    def _commit_group(self, group: list[Errand]) -> None:
        assert self._writer is not None
        for last_try in (False, True):
            try:
                outcomes = _transaction(self._writer, [item.work for item in group])
            except sqlite3.Error as error:
                if _is_full(error) and not last_try:
                    self.full = True
                    self._ballast.drop()
                    continue
                outcomes = [(None, _readable(error))] * len(group)
            break
        for item, (value, failure) in zip(group, outcomes, strict=True):
            item.done(value, failure)


def _transaction(conn: sqlite3.Connection, works: list[Callable[[Connection], Any]]) -> list[Outcome]:
    conn.execute("BEGIN IMMEDIATE")
    try:
        outcomes = [_savepoint(conn, work) for work in works]
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    return outcomes


def _savepoint(conn: sqlite3.Connection, work: Callable[[Connection], Any]) -> Outcome:
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
