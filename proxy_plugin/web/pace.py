"""How fast a body has to come: a least rate over a minute, and a time for all of it.

Only waiting for the client counts for the rate: while we write what came, or the upstream takes it, nobody is slow but
us. Works in any application that the gateway is added to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar

from aiohttp import web

from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.errors import GatewayError

WINDOW_SECONDS = 60.0


class BodyLate(GatewayError):
    """The client began a request and did not finish it in time, or fast enough; nothing was done."""

    status: ClassVar[int] = 408
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "request_timeout"


class Pace:
    """The pace of one body: `least` bytes a second, `most` seconds in all from now on."""

    def __init__(
        self, least: int, most: float, window: float = WINDOW_SECONDS, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._least, self._most, self._window, self._now = least, most, window, now
        self._ends = now() + most
        self._waited, self._came = 0.0, 0  # in this window

    async def read(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what `read` returns, b"" at the end. Raises BodyLate, and what it raises."""
        while True:
            began = self._now()
            if began >= self._ends:
                raise BodyLate(f"The request body did not arrive within {self._most:g} seconds.")
            data = await self._within(read, min(self._window - self._waited, self._ends - began))
            self._waited += self._now() - began
            self._came += len(data or b"")
            self._check()
            if data is not None:
                return data

    @staticmethod
    async def _within(read: Callable[[], Awaitable[bytes]], seconds: float) -> bytes | None:
        limit = asyncio.timeout(max(0.0, seconds))
        try:
            async with limit:
                return await read()
        except TimeoutError:
            if not limit.expired():
                raise
            return None

    def _check(self) -> None:
        if self._waited < self._window:
            return
        if self._came < self._least * self._window:
            rate = f"less than {self._least} bytes a second for {self._window:g} seconds"
            raise BodyLate(f"The request body came too slowly: {rate}.")
        self._waited, self._came = 0.0, 0


_PACE = web.RequestKey("proxy_plugin.pace", Pace)


def pace_of(request: web.Request) -> Pace:
    """Return the pace of a request's body; its time begins with the first call."""
    if _PACE not in request:
        settings = request.app[GATEWAY].config.connections
        request[_PACE] = Pace(settings.min_bytes_per_second, settings.max_body_seconds)
    return request[_PACE]
