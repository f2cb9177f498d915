"""A server before an object store, or before any other: it passes calls on, records them, and fails as told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol

import aiohttp
from aiohttp import web

from proxy_plugin.demo.front import PIECE, Front, cut_off

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
FAULT = web.RequestKey("fault", str)
Kind = Literal["refuse", "drop", "drop_after", "cut"]


class Served(Protocol):
    """A server that an event loop carries."""

    async def start(self) -> str:
        """Listen, and return the URL."""

    async def stop(self) -> None:
        """Listen no more."""


class OnThread:
    """A server that runs on a thread of the test."""

    def __init__(self, front: Served) -> None:
        self.front = front
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> str:
        """Listen, and return the URL."""
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self.front.start(), self._loop).result(30)

    def stop(self) -> None:
        """Listen no more."""
        asyncio.run_coroutine_threadsafe(self.front.stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


@dataclass
class Fault:
    """One way to fail, for each `each`-th of the calls that fit, at most `times`.

    `refuse`: SlowDown with the statuses in turn, nothing is done; `drop`: no answer, nothing is done;
    `drop_after`: done, no answer; `cut`: the answer's head, the first
    half of what has come of its body, and the end of the connection.
    """

    kind: Kind
    method: str = ""
    path: str = ""  # what the path has in it, or the query behind it
    each: int = 1
    times: int | None = None
    statuses: Sequence[int] = (503,)
    met: int = 0
    fired: int = 0

    def fires(self, method: str, path: str) -> bool:
        """Tell whether it takes this call."""
        if self.method not in ("", method) or self.path not in path:
            return False
        self.met += 1
        if self.met % self.each or (self.times is not None and self.fired >= self.times):
            return False
        self.fired += 1
        return True


@dataclass(frozen=True)
class Call:
    """A call that came. `query` tells parts of multipart uploads; `status` is 0 where no whole answer was given."""

    method: str
    path: str
    query: str
    status: int
    fault: str = field(default="", compare=False)


class StoreFront(Front):
    """The front of one store. The first fault that fires takes the call; an answer without a body cannot be cut."""

    def __init__(self, store: str) -> None:
        super().__init__([store], patience=120.0)
        self.faults: Sequence[Fault] = ()
        self.calls: list[Call] = []

    def count(self, method: str = "", path: str = "") -> int:
        """Return how many calls came, of a method and with a text in their path."""
        return sum(method in ("", each.method) and path in each.path for each in list(self.calls))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = f"{request.path}?{request.query_string}"
        fault = next((each for each in self.faults if each.fires(request.method, asked)), None)
        kind = fault.kind if fault else ""
        response: web.StreamResponse = web.Response(status=502)
        if kind == "refuse":
            async for _ in request.content.iter_chunked(PIECE):
                pass
            status = fault.statuses[fault.fired % len(fault.statuses)] if fault else 503
            response = web.Response(status=status, body=SLOW_DOWN, content_type="application/xml")
        elif kind != "drop":
            request[FAULT] = kind
            with suppress(aiohttp.ClientError, TimeoutError):
                response = await self.passed_on(request, self.behind[0])
        whole = kind in ("", "refuse") and response.status != 502
        if kind in ("drop", "drop_after") or response.status == 502:
            cut_off(request)
        self.calls.append(
            Call(request.method, request.path, request.query_string, response.status if whole else 0, kind)
        )
        return response

    async def answered(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Send an answer on, as far as the fault of the call has it."""
        kind = request[FAULT]
        if kind == "drop_after":
            await answer.read()
            return web.Response(status=answer.status)
        if kind == "cut" and (piece := await answer.content.readany()):
            response = web.StreamResponse(
                status=answer.status, headers={"Content-Length": answer.headers["Content-Length"]}
            )
            await response.prepare(request)
            await response.write(piece[: len(piece) // 2])
            if request.transport is not None:
                request.transport.close()  # what was written is sent before
            return response
        return await super().answered(request, answer)
