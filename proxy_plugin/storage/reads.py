"""Reads of PostgreSQL: threads, each with a session of its own, which it opens when there is something to read.

The threads are the pool: one of psycopg's, behind asyncio's threads, made a point read take 114 us of CPU of 49
[measured], and tried again seconds after a database was there again.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psycopg

from proxy_plugin.storage import sessions
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import DatabaseAway
from proxy_plugin.storage.registry import Errand, Errands, asked
from proxy_plugin.storage.sessions import DatabaseSession

T = TypeVar("T")
PATIENCE = 3.0  # seconds until who asks is told that the database is away; a restart takes less
AGAIN_SECONDS = 0.1
SETTINGS = {"default_transaction_read_only": "on", "statement_timeout": "60s"}


class Readers:
    """So many threads that read one database."""

    def __init__(self, url: str, count: int, name: str) -> None:
        self._url, self._queue = url, Errands()
        self._stopping = False
        self._live: set[int] = set()  # threads that have a session
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)]

    def start(self) -> None:
        """Begin to read."""
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """Finish what was asked for; a database that is away is not waited for. Blocking."""
        self._stopping = True
        for _ in self._threads:
            self._queue.put(None)
        for each in self._threads:
            if each.ident is not None:
                each.join()

    def ask(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Have a thread run `work`."""
        return asked(self._queue, work)

    def _run(self) -> None:
        session: DatabaseSession | None = None
        while (item := self._queue.get()) is not None:
            session = self._answer(item, session)
        if session is not None:
            session.close()

    def _opened(self) -> DatabaseSession:
        session = sessions.connect(self._url, **SETTINGS)
        self._live.add(threading.get_ident())
        return session

    def _answer(self, item: Errand, session: DatabaseSession | None) -> DatabaseSession | None:
        """Run what was asked for, again where the session was lost; return the session to go on with."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                session = session or self._opened()
                item.done(item.work(session.tables), None)
            except psycopg.Error as error:
                if session is not None and not session.closed:
                    item.done(None, sessions.readable(error))
                    return session
                session = None
                self._live.discard(threading.get_ident())
                if self._live and not self._stopping:  # the server has no place for one more session
                    self._queue.put(item)
                    time.sleep(AGAIN_SECONDS)
                    return None
                if time.monotonic() < until and not self._stopping and sessions.passes(error):
                    time.sleep(AGAIN_SECONDS)
                    continue
                item.done(None, sessions.readable(error))
                refuse(self._queue)
            except Exception as error:  # noqa: BLE001 - handed to who awaits it
                item.done(None, error)
            return session


def refuse(waiting: Errands) -> None:
    """Tell all that wait that the database is away: nothing of what they want has begun."""
    ends = 0
    with suppress(queue.Empty):
        while True:
            item = waiting.get_nowait()
            if item is None:
                ends += 1
            else:
                item.done(None, DatabaseAway("the database cannot be reached"))
    for _ in range(ends):
        waiting.put(None)
