"""Sessions of PostgreSQL: how they are opened, what tables are given of them, and what is said of their errors.

Values are those that SQLite would give: what is true is 1, and a sum of whole numbers is a whole number.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.adapt import AdaptersMap, Loader, Transformer
from psycopg.pq.abc import PGresult

from proxy_plugin.storage.dialect import statement
from proxy_plugin.storage.errors import ConstraintError, DatabaseAway, RegistryFull, StorageError

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any]
PREPARED = 500  # statements that a session keeps prepared; those of the tables are about 200
_CONNECTED: dict[str, Any] = {  # a peer that is gone is noticed within seconds, by a session that waits for it or rests
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "target_session_attrs": "read-write",  # of several hosts the one that is the primary
    "application_name": "proxy-plugin",
}
_OIDS = {int: 20, bool: 20, float: 701, str: 25}  # bigint, double precision, text; NULL is whatever it has to be
_PASSING = re.compile(r"08|40|53|57|58|55P03|25P03")  # classes and codes of errors with which nothing is wrong here
_FULL = "53100"


class _BoolLoader(Loader):
    def load(self, data: Any) -> int:
        return int(bytes(data) == b"t")


class _NumericLoader(Loader):
    """Sums and means: whole ones as integers."""

    def load(self, data: Any) -> int | float:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


def _adapters() -> AdaptersMap:
    found = AdaptersMap(psycopg.adapters)
    found.register_loader("bool", _BoolLoader)
    found.register_loader("numeric", _NumericLoader)
    return found


class _Context:
    """What psycopg is told of types."""

    adapters = _adapters()
    connection = None


_CONTEXT = _Context()


class Rows:
    """What one statement returned, and how many rows it changed."""

    __slots__ = ("_left", "rowcount")

    def __init__(self, rows: Iterable[Any], rowcount: int) -> None:
        self._left, self.rowcount = iter(rows), rowcount

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return next(self._left, None)

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        return list(self._left)

    def __iter__(self) -> Iterator[Any]:
        """Return the rows that are left."""
        return self._left


class DatabaseSession(psycopg.Connection[Any]):
    """A session. `tables` is what the tables' functions are given."""

    tables: Tables


class Tables:
    """A session as the tables' functions know one.

    Statements go to libpq at once, prepared when they come for the second time: a statement that is read takes 17 us of
    CPU so, 41 us by a cursor of psycopg, and on a thread beside a busy event loop half [measured].
    """

    def __init__(self, session: DatabaseSession) -> None:
        self._session, self._loaded = session, Transformer(session)
        self._prepared: dict[tuple[bytes, tuple[type, ...]], bytes | None] = {}
        self._numbers = itertools.count()

    def execute(self, sql: str, parameters: Parameters = (), /) -> Rows:
        """Run one statement."""
        known = statement(sql)
        given = known.ordered(parameters)
        kinds = tuple(map(type, given))
        result = self._answer(known.text, kinds, [None if each is None else _text(each) for each in given])
        if result.status == pq.ExecStatus.TUPLES_OK:
            self._loaded.set_pgresult(result)
            return Rows(self._loaded.load_rows(0, result.ntuples, tuple), result.ntuples)
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise _error(self._session, result)
        return Rows((), result.command_tuples or 0)

    def executemany(self, sql: str, parameters: Iterable[Parameters], /) -> Rows:
        """Run one statement for each of the parameter rows, without waiting for one before the next."""
        known = statement(sql)
        with psycopg.RawCursor(self._session) as cursor:
            cursor.executemany(known.text, [list(map(_without_nul, known.ordered(each))) for each in parameters])
            return Rows((), cursor.rowcount)

    def _answer(self, text: bytes, kinds: tuple[type, ...], values: list[bytes | None]) -> PGresult:
        pgconn, key = self._session.pgconn, (text, kinds)
        name = self._prepared.get(key)
        if name is None and key in self._prepared:
            name = b"s%d" % next(self._numbers)
            result = pgconn.prepare(name, text, [_OIDS.get(kind, 0) for kind in kinds])
            if result.status != pq.ExecStatus.COMMAND_OK:
                return result
            self._prepared[key] = name
        if name is not None:
            return pgconn.exec_prepared(name, values)  # type: ignore[arg-type]  # None is NULL
        if len(self._prepared) < PREPARED:
            self._prepared[key] = None
        return pgconn.exec_params(text, values, [_OIDS.get(kind, 0) for kind in kinds])


def _text(value: Any) -> bytes:
    """Return a value as PostgreSQL reads it."""
    if isinstance(value, str):
        return _without_nul(value).encode()
    return b"%d" % value if isinstance(value, int) else repr(float(value)).encode()


def _without_nul(value: T) -> T:
    """Return what a text can hold there: no U+0000, which names of files and providers' words may have."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value  # type: ignore[return-value]


def connect(url: str, **settings: object) -> DatabaseSession:
    """Open a session that commits each statement by itself; `settings` are those of the server. Raises psycopg.Error.

    What the URL says of the connection itself goes before what is said here.
    """
    return prepared(DatabaseSession.connect(url, **connected(url)), **settings)


def connected(url: str) -> dict[str, Any]:
    """Return the arguments of a connection to a database. Raises StorageError."""
    try:
        said = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise StorageError(
            "its URL cannot be read: look at the options behind the ?"
        ) from None  # the reason would quote its password
    others = {name: value for name, value in _CONNECTED.items() if name not in said}
    return {**others, "autocommit": True, "context": _CONTEXT, "prepare_threshold": 2}


def prepared(session: DatabaseSession, **settings: object) -> DatabaseSession:
    """Make the settings of a session, and what the tables are given of it."""
    for name, value in settings.items():
        session.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
    session.prepared_max = PREPARED
    session.tables = Tables(session)
    return session


def command(session: DatabaseSession, text: str) -> str | None:
    """Run statements without parameters and return the value that the last one gives. Raises psycopg.Error.

    They go past psycopg, which forgets all that it has prepared at each ROLLBACK, that to a savepoint included.
    """
    result = session.pgconn.exec_(text.encode())
    if result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        found = result.get_value(0, 0) if result.ntuples else result.command_status
        return None if found is None else found.decode()
    raise _error(session, result)


def _error(session: DatabaseSession, result: PGresult) -> psycopg.Error:
    if session.closed:
        return psycopg.OperationalError(session.pgconn.get_error_message())
    return psycopg.errors.error_from_result(result)


def passes(error: BaseException) -> bool:
    """Tell whether an error is the database's for now: it is away, or ends, or has too much to do."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate != _FULL and _PASSING.match(error.sqlstate) is not None


def readable(error: psycopg.Error) -> StorageError:
    """Return an error in the words of storage; what the server adds of a row's content is left out."""
    said = error.diag.message_primary or str(error)
    if error.sqlstate == _FULL:
        return RegistryFull("the disk of the database is full")
    if passes(error):
        return DatabaseAway(said)
    return ConstraintError(said) if isinstance(error, psycopg.IntegrityError) else StorageError(said)
