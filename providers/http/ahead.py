"""Connections that are opened before the calls that use them, for calls that may not share one.

A call that must not be repeated gets a connection that no other had: one that the other side knows may be closed just
when the call arrives. But nobody has to wait until it is open:

    a call ends ─> opening ─> unused ─> a call's
                      └──────────┴────> closed

What that asks of the other side is bounded. One is opened where one has ended, so there are hardly more than calls were
running shortly before; only while calls follow each other within half a second, for that long, and few. One that the
other side ends, or speaks on, is never used, and shows that it wants none: then a call costs what it costs without.

A call on an unused connection can be lost only if the other side ends it between the look at it and the call's
arrival: not sooner than a new one could be, which lies longer between its handshake and the call.
"""

from __future__ import annotations

import asyncio
import math
import select
from ssl import SSLContext

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace
from yarl import URL

LIFE_SECONDS = 0.5  # unused: a server with a thread a connection waits on it in vain
OPEN_SECONDS = 2.0  # to open one
REST_SECONDS = 10.0  # without any, after one that failed
MOST = 8  # unused and opening


class Ahead:
    """The unused connections to one place. Used on one event loop."""

    def __init__(self, place: URL) -> None:
        self._loop = asyncio.get_running_loop()
        self._like = aiohttp.ClientRequest("GET", place, loop=self._loop)
        self._unused: dict[ResponseHandler, asyncio.TimerHandle] = {}  # the oldest first: it may be waited on
        self._opening: set[asyncio.Task[None]] = set()
        self._ended = self._rested = -math.inf
        self._follow = False  # calls do, one soon after the other

    def __len__(self) -> int:
        """Return how many there are, with those that are opening."""
        return len(self._unused) + len(self._opening)

    def taken(self, request: aiohttp.ClientRequest) -> ResponseHandler | None:
        """Note that a call begins; return an unused connection, which is its own from now on, None if there is none."""
        self._follow = self._loop.time() <= self._ended + LIFE_SECONDS
        while self._unused and request.connection_key == self._like.connection_key:
            connection = next(iter(self._unused))
            if self._is_silent(connection):
                self._unused.pop(connection).cancel()
                return connection
            self._discard(connection)
        return None

    def call_ended(self, connector: Connector) -> None:
        """Open a connection for the next call, if one is likely to come soon."""
        self._ended = self._loop.time()
        if self._follow and self._ended >= self._rested and len(self) < MOST:
            opening = asyncio.create_task(self._open(connector), name="connection ahead")
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def close(self) -> None:
        """Close all of them, and open no more."""
        self._rested = math.inf
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        while self._unused:
            self._discard(next(iter(self._unused)))

    async def _open(self, connector: Connector) -> None:
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                connection = await connector.opened(self._like)
        except (aiohttp.ClientError, OSError):  # the next call will tell
            self._rest()
        else:
            self._unused[connection] = self._loop.call_later(LIFE_SECONDS, self._discard, connection)

    def _discard(self, connection: ResponseHandler) -> None:
        self._unused.pop(connection).cancel()
        if not self._is_silent(connection):
            self._rest()
        connection.close()

    def _rest(self) -> None:
        self._rested = max(self._rested, self._loop.time() + REST_SECONDS)

    @staticmethod
    def _is_silent(connection: ResponseHandler) -> bool:
        """Tell whether nothing came of the other side, neither a byte nor the end, not even this moment."""
        if connection.transport is None or connection.transport.is_closing() or connection.should_close:
            return False
        look = select.poll()
        look.register(connection.transport.get_extra_info("socket"), select.POLLIN)
        return not look.poll(0)


class Connector(aiohttp.TCPConnector):
    """aiohttp's, which takes an unused connection where it would open one."""

    def __init__(self, ahead: Ahead, *, force_close: bool, tls: SSLContext | bool) -> None:
        super().__init__(limit=0, force_close=force_close, ssl=tls)
        self._ahead = ahead

    async def opened(self, request: aiohttp.ClientRequest) -> ResponseHandler:
        """Open a connection as for this request. Raises aiohttp.ClientError, OSError."""
        return await super()._create_connection(request, [], aiohttp.ClientTimeout())

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        taken = self._ahead.taken(req)
        return await super()._create_connection(req, traces, timeout) if taken is None else taken
