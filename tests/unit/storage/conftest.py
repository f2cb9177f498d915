"""Empty databases of both kinds: what is proven of the tables is proven for SQLite and for PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from proxy_plugin.storage import sessions, sqlite
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.sessions import DatabaseSession, command
from tests.support.postgres import Databases
from tests.support.rows import Fresh, make_schema


class Session:
    """A session of a database that has the schema and no rows, opened anew where a test has restarted the server."""

    def __init__(self, url: str) -> None:
        self.url, self._made = url, sessions.connect(url)

    def get(self) -> DatabaseSession:
        """Return it, proven to be there."""
        try:
            command(self._made, "SELECT 1")
        except psycopg.Error:  # libpq gives no code for a server that has gone while it was asked
            self._made.close()
            self._made = sessions.connect(self.url)
        return self._made

    def close(self) -> None:
        """End it."""
        self._made.close()


@pytest.fixture(scope="session")
def kept(databases: Databases) -> Iterator[Session]:
    """One session for many tests."""
    with closing(Session(databases.like("schema", make_schema))) as made:
        yield made
    databases.drop(made.url)


@pytest.fixture
def session(kept: Session) -> DatabaseSession:
    """A session of a database that has the schema and no rows."""
    return kept.get()


@pytest.fixture
def migrated(databases: Databases) -> Iterator[str]:
    """The URL of a database that has the schema and no rows."""
    url = databases.like("schema", make_schema)
    yield url
    databases.drop(url)


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def servers(request: pytest.FixtureRequest) -> Databases | None:
    """The server of PostgreSQL's databases, and None in its place for those of SQLite."""
    return request.getfixturevalue("databases") if request.param == "postgres" else None


@pytest.fixture(scope="session")
def fresh(request: pytest.FixtureRequest, servers: Databases | None) -> Fresh:
    """Return what opens a database without rows, which is gone afterwards."""
    return _sqlite if servers is None else partial(_postgres, request.getfixturevalue("kept"))


@contextmanager
def _sqlite() -> Iterator[Connection]:
    with closing(sqlite.connect(Path(":memory:"))) as made:
        sqlite.migrate(made)
        yield made


@contextmanager
def _postgres(kept: Session) -> Iterator[Connection]:
    """Yield the session in a transaction that is undone: a database for each test would take 100 ms."""
    session = kept.get()
    command(session, "BEGIN")
    try:
        yield session.tables
    finally:
        command(session, "ROLLBACK")


@pytest.fixture
def empty(fresh: Fresh) -> Iterator[Connection]:
    """A database without rows."""
    with fresh() as made:
        yield made


@pytest.fixture
def both(kept: Session) -> Iterator[tuple[Connection, Connection]]:
    """A database without rows of each kind."""
    with _sqlite() as one, _postgres(kept) as other:
        yield one, other
