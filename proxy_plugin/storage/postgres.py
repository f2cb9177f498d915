"""The registry in PostgreSQL, for any number of equal gateways.

Writes: one session a gateway, see `commits`. Reads: a few, without a lock, see `reads`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

import psycopg

from proxy_plugin.storage import dialect, schema, sessions
from proxy_plugin.storage.commits import LOCK, Commits
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import RegistryFull, StorageError
from proxy_plugin.storage.reads import Readers, refuse
from proxy_plugin.storage.registry import Errand, Registry
from proxy_plugin.storage.sessions import DatabaseSession, command

T = TypeVar("T")
P = ParamSpec("P")
READERS, SCANNERS = 4, 2  # threads of point reads, and of those that may be long
ANSWER_SECONDS = 2.0  # that a database has to answer in, to be called there
_MIGRATE = f"BEGIN; SET LOCAL lock_timeout = '10min'; SET LOCAL statement_timeout = 0; {LOCK}; {schema.VERSIONS}"


def migrate(session: DatabaseSession) -> None:
    """Bring the schema to this version, one gateway after the other. Raises SchemaTooNew, psycopg.Error."""
    command(session, _MIGRATE)
    try:
        have = int(command(session, schema.VERSION) or 0)
        for script in schema.scripts(have, PostgresRegistry.dialect, dialect.tables):
            command(session, script)
    except BaseException:
        session.close()
        raise
    command(session, "COMMIT")


class PostgresRegistry(Registry):
    """The database of all replicas. `url` is postgresql://..., and may say of the connection what libpq knows."""

    dialect = "postgres"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._commits = Commits(url, partial(refuse, self._queue))
        self._readers = Readers(url, READERS, "registry-read")
        self._scanners = Readers(url, SCANNERS, "registry-scan")

    def open(self) -> None:
        """See `Registry`. Raises DatabaseAway."""
        try:
            migrate(self._commits.open())
        except psycopg.Error as error:
            raise sessions.readable(error) from error
        self._readers.start()
        self._scanners.start()
        self._start()

    def close(self) -> None:
        """Finish queued writes and close; a database that is away is not waited for. Blocking."""
        self._commits.closing = True
        super().close()
        self._readers.stop()
        self._scanners.stop()

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Registry`. It runs on a thread: others go on meanwhile. Raises DatabaseAway."""
        return await self._readers.ask(lambda conn: work(conn, *args, **kwargs))

    async def scan(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Registry`. It has threads and sessions of its own. Raises DatabaseAway."""
        return await self._scanners.ask(lambda conn: work(conn, *args, **kwargs))

    async def away(self) -> str | None:
        """See `Registry`."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                standby = await self.read(lambda conn: conn.execute("SELECT pg_is_in_recovery()").fetchone()[0])
        except TimeoutError:
            return f"the database has not answered for {ANSWER_SECONDS:.0f} seconds"
        except StorageError as error:
            return str(error)
        return "the database is a standby, which takes no writes" if standby else None

    def _commit_group(self, group: list[Errand]) -> None:
        while group:
            outcomes = self._commits.commit([item.work for item in group])
            for item, (value, failure) in zip(group, outcomes, strict=False):
                self.full = self.full or isinstance(failure, RegistryFull)
                item.done(value, failure)
            group = group[len(outcomes) :]

    def _close_writer(self) -> None:
        self._commits.close()
