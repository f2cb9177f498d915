"""The start of a replica whose database is away: it waits for a minute, and not at all for what will never answer.

A service that restarts both, or a machine that starts everything at once, starts replicas before their database. A
wrong password or name is answered, by a server that is there: waiting does not mend it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from proxy_plugin.ground import logs
from proxy_plugin.ground.masking import mask
from proxy_plugin.storage import sessions
from proxy_plugin.storage.errors import DatabaseAway, StorageError

LOG = logging.getLogger("proxy_plugin.storage")
PATIENCE = 60.0  # seconds; what starts the process again may look at it then
AGAIN, TOLD = 0.5, 5.0  # seconds between tries, and between lines of the log
ASKED_SECONDS = 2  # for a server to say whether it takes sessions
_PASSING = ("too many", "connection slots", "read-only", "recovery", "try again", "shutting down", "starting up")
_NEVER = ("certificate", "does not support SSL")
_LOOK = "look at host, port, user, password and name in proxy_plugin.storage.database_url"


class DatabaseRefuses(StorageError):
    """The database answers, and lets this user into no such database: waiting does not mend it."""


async def until_there(url: str, stopped: asyncio.Event, *, patience: float = PATIENCE) -> bool:
    """Return when the database takes sessions; False where `stopped` was set meanwhile, at once.

    Raises DatabaseAway where that takes too long, DatabaseRefuses, StorageError for a URL that is none.
    """
    began = time.monotonic()
    told = began - TOLD
    while not stopped.is_set():
        why = await _unless(stopped, _why_away(url))
        now = time.monotonic()
        if why is None:
            return not stopped.is_set()
        if now - began >= patience:
            raise DatabaseAway(f"no session within {patience:.0f} s ({why}); is it running? If it is, {_LOOK}")
        if now - told >= TOLD:
            told, left = now, round(patience - (now - began))
            logs.event(LOG, "database_awaited", reason=why, seconds_left=left, level=logging.WARNING)
        await _unless(stopped, asyncio.sleep(AGAIN))
    return False


async def _unless(stopped: asyncio.Event, work: Any) -> Any:
    """Return what a coroutine does, or None as soon as `stopped` is set."""
    working, asked = asyncio.create_task(work), asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, asked):
            task.cancel()
        with suppress(asyncio.CancelledError, StorageError):
            await working


async def _why_away(url: str) -> str | None:
    """Try once to have a session; return why there is none yet, None where there is. Raises StorageError."""
    settings = sessions.connected(url)
    try:
        await (await psycopg.AsyncConnection.connect(url, **settings)).close()
    except psycopg.Error as error:
        said = mask(" ".join(str(error).split())[:300])
        if await _is_final(url, error, said):
            raise DatabaseRefuses(f"{said}; {_LOOK}") from None
        return said
    return None


async def _is_final(url: str, error: psycopg.Error, said: str) -> bool:
    """Tell whether a server is there and refuses. libpq has no code of what was said, and servers speak languages.

    Without an answer, and for a name that leads nowhere yet, there is nobody who could be asked.
    """
    if isinstance(error, psycopg.errors.ConnectionTimeout) or error.pgconn is None:
        return False
    if any(words in said for words in _NEVER):
        return True
    asked = make_conninfo(url, connect_timeout=ASKED_SECONDS).encode()
    found = await asyncio.to_thread(pq.PGconn.ping, asked)
    if found == pq.Ping.NO_ATTEMPT:
        return True
    return found == pq.Ping.OK and not any(words in said for words in _PASSING)
