"""What tells the others that a replica is there, and it of what they have done: a session of PostgreSQL of its own.

It holds a lock as long as it lasts. A process that is stopped keeps its sockets, so its lock too: who has lost it has
ended, or cannot reach the database. What is due now, and who is to be left alone, is told on one channel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from proxy_plugin.ground import logs
from proxy_plugin.storage.connection import Connection

if TYPE_CHECKING:
    import psycopg

LOG = logging.getLogger("proxy_plugin.replicas")
CHANNEL = "proxy_plugin"
LOCKS = 1_919_005  # the first half of the key of each lock; the second is a replica's number
AGAIN = 1.0  # seconds between tries to have a session
_SETTINGS: dict[str, Any] = {
    "application_name": "proxy-plugin replica",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "target_session_attrs": "read-write",
}
_OF_SERVER = (  # a machine that is gone answers no probe; the kernel of a process that is stopped does
    "SET idle_session_timeout = 0; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;"
    " SET tcp_keepalives_count = 3"
)
_HELD = (
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = ? AND objsubid = 2 AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Attendance:
    """The session of one replica. `told` is called with each word on the channel, and with "" after a pause."""

    def __init__(self, url: str, number: int, told: Callable[[str], None]) -> None:
        self._url, self._number, self._told = url, number, told
        self._task: asyncio.Task[None] | None = None
        self._there = asyncio.Event()

    async def begin(self) -> None:
        """Return when the lock is held, for the first time."""
        self._task = asyncio.create_task(self._attend(), name="attendance")
        waiting = asyncio.create_task(self._there.wait())
        await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            self._task.result()

    async def end(self) -> None:
        """Give the lock back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _attend(self) -> None:
        """Have a session, and another one where it is lost."""
        import psycopg  # noqa: PLC0415 - alone, a gateway has no use for it

        while True:
            try:
                conn = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **_SETTINGS)
                async with conn:
                    await self._listen(conn)
            except psycopg.Error as error:
                logs.event(LOG, "session_lost", error=error, level=logging.WARNING)
            self._there.clear()
            await asyncio.sleep(AGAIN)

    async def _listen(self, conn: psycopg.AsyncConnection[Any]) -> None:
        await conn.execute(_OF_SERVER)
        await conn.execute("SELECT pg_advisory_lock(%s, %s)", (LOCKS, self._number))
        await conn.execute(f"LISTEN {CHANNEL}".encode())
        self._there.set()
        self._told("")
        async for notify in conn.notifies():
            with suppress(Exception):  # what a word leads to is not worth the session
                self._told(notify.payload)


def held(conn: Connection) -> set[int]:
    """Return the numbers of the replicas whose lock is held."""
    return {int(row[0]) for row in conn.execute(_HELD, (LOCKS,))}


def tell(conn: Connection, word: str) -> None:
    """Tell all replicas, when the transaction is durable."""
    conn.execute("SELECT pg_notify(?, ?)", (CHANNEL, word))
