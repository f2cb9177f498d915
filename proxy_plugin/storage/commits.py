"""How writes get into PostgreSQL: in groups, one group after the other over all replicas, and each of them once.

The tables' functions read, decide and write; they were written for the one writer that SQLite has. So every transaction
that writes takes one lock first, and they are right here as they are: what they read nobody else changes until they
commit. (READ COMMITTED: a statement sees all that was committed before it, so what was before the lock's turn came.)

Where the answer to a COMMIT is lost, the database is asked. Whoever has the lock knows that the transaction before it
is over, and PostgreSQL keeps what became of it. But for one that was cut off by its crash: what had no place in its log
by then has not happened, and its number is given to another transaction. So of a number from before a crash it is
believed that it has not happened, and nothing else [measured: it said "committed" of what was lost].
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from proxy_plugin.storage import sessions
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import CommitInDoubt, RegistryFull, StorageError
from proxy_plugin.storage.registry import Outcome
from proxy_plugin.storage.sessions import DatabaseSession, command

KEY = 0x70726F78792D7031  # of the lock: "proxy-p1"
TURN_SECONDS = 0.03  # of one group; other replicas wait meanwhile
PATIENCE = 3.0  # seconds until writes are told that the database is away; a restart takes less
AGAIN_SECONDS = 0.1
SETTINGS = {
    "idle_in_transaction_session_timeout": "5s",  # a replica that was stopped in its turn gives the lock back
    "lock_timeout": "12s",
    "statement_timeout": "30s",
}
LOCK = f"SELECT pg_advisory_xact_lock({KEY})"
_BEGIN = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {LOCK}; SAVEPOINT one; SELECT pg_current_xact_id()"
_NEXT = "RELEASE one; SAVEPOINT one"
_STATUS = "SELECT pg_xact_status('{}')"
_TIMELINE = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"
_RECOVERED = "SELECT stats_reset FROM pg_stat_bgwriter"  # these start anew with each recovery from a crash
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
_TO_COME = "to come"
_NOT_HAPPENED = ("aborted", "in progress", _TO_COME)  # of one that is over, the latter two: another has its number
Work = Callable[[Connection], Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A transaction whose COMMIT was sent, and whose end is not known yet."""

    xid: str
    timeline: str
    recovered: str
    outcomes: list[Outcome]


class Commits:
    """The writer's session. `refuse` is called now and then while the database is away, for those that wait behind."""

    def __init__(self, url: str, refuse: Callable[[], object]) -> None:
        self._url, self._refuse = url, refuse
        self._session: DatabaseSession | None = None
        self._timeline = self._recovered = ""
        self._asked: _Asked | None = None
        self.closing = False  # nobody waits for a database that is away any more

    def open(self) -> DatabaseSession:
        """Return the session, a new one where there is none. Raises psycopg.Error."""
        if self._session is None:
            self._session = sessions.connect(self._url, **SETTINGS)
            command(self._session, _DURABLE)
            self._timeline = _said(self._session, _TIMELINE)
            self._recovered = _said(self._session, _RECOVERED)
        return self._session

    def close(self) -> None:
        """Let the session go; the next write opens another."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def commit(self, works: Sequence[Work]) -> list[Outcome]:
        """Run the first of the works, as many as one turn takes, and return what became of these. Blocking.

        What could not be run at all has failed with DatabaseAway.
        """
        began = time.monotonic()
        while True:
            try:
                return self._turn(works)
            except psycopg.Error as error:
                self.close()
                failure = self._over(error, time.monotonic() - began)
            if failure is not None:
                self._asked = None
                return [(None, failure)] * len(works)
            time.sleep(AGAIN_SECONDS)

    def _over(self, error: psycopg.Error, waited: float) -> StorageError | None:
        """Return what to tell of an error now; None while the works are to be tried, or asked for, again."""
        if self._asked is None and not sessions.passes(error):
            return sessions.readable(error)
        if waited < PATIENCE and not self.closing:
            return None
        self._refuse()
        if self._asked is None:
            return sessions.readable(error)
        return CommitInDoubt(str(error)) if self.closing else None

    def _turn(self, works: Sequence[Work]) -> list[Outcome]:
        session = self.open()
        xid = command(session, _BEGIN)
        if self._asked is not None:
            known, self._asked = self._found(session, self._asked), None
            if known is not None:
                self._roll_back(session)
                return known
        outcomes = _run(session, works)
        self._asked = _Asked(str(xid), self._timeline, self._recovered, outcomes)
        try:
            said = command(session, "COMMIT")
        except psycopg.Error as error:
            if error.sqlstate is not None:
                self._asked = None  # it was answered: no
            raise
        self._asked = None
        if said != "COMMIT":
            raise psycopg.InternalError(f"PostgreSQL answered {said} to a COMMIT")
        return outcomes

    def _roll_back(self, session: DatabaseSession) -> None:
        """End a transaction that has changed nothing, however the session is."""
        try:
            command(session, "ROLLBACK")
        except psycopg.Error:
            self.close()

    def _found(self, session: DatabaseSession, asked: _Asked) -> list[Outcome] | None:
        """Return what became of a transaction; None where it did not happen, and is to be run again.

        A standby that has taken over may have given its number to another.
        """
        status = _status(session, asked.xid) if asked.timeline == self._timeline else None
        if status in _NOT_HAPPENED:
            return None
        if status == "committed" and asked.recovered == self._recovered:
            return asked.outcomes
        doubt = CommitInDoubt("the answer to a commit was lost, and the database knows nothing of it any more")
        return [(None, doubt)] * len(asked.outcomes)


def _status(session: DatabaseSession, xid: str) -> str | None:
    """Return what the database says of a number, in a transaction that has changed nothing."""
    try:
        return command(session, _STATUS.format(xid))
    except psycopg.errors.InvalidParameterValue:  # it is still to be given
        command(session, "ROLLBACK TO one")
        return _TO_COME


def _run(session: DatabaseSession, works: Sequence[Work]) -> list[Outcome]:
    """Run works in a transaction, each in a savepoint, until the turn is over. Raises psycopg.Error."""
    outcomes: list[Outcome] = []
    until = time.monotonic() + TURN_SECONDS
    for work in works:
        if outcomes:
            if time.monotonic() > until:
                break
            command(session, _NEXT)
        outcomes.append(_outcome(session, work))
    return outcomes


def _outcome(session: DatabaseSession, work: Work) -> Outcome:
    try:
        return work(session.tables), None
    except psycopg.Error as error:
        failure: Exception = sessions.readable(error)
        if session.closed or isinstance(failure, RegistryFull):
            raise
    except Exception as error:  # noqa: BLE001 - handed to the caller that awaits this write
        failure = error
    command(session, "ROLLBACK TO one")
    return None, failure


def _said(session: DatabaseSession, query: str) -> str:
    """Return what tells one history of the database from another: a standby takes over, a crash is recovered from."""
    with suppress(psycopg.DatabaseError):  # a service may not have it
        return str(command(session, query))
    return ""
