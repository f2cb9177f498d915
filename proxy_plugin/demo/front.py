"""A small load balancer before replicas: they take turns, and who does not answer is left out until it does.

Bytes stream both ways as they are. A call is given to the next replica where that cannot do anything twice: when the
first took no connection, or was only asked for something. Otherwise the client hears 502 and decides, as its SDK does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress

import aiohttp
from aiohttp import web
from yarl import URL

HOST = "127.0.0.1"
PIECE = 64 * 1024
LOOK_SECONDS, LOOK_PATIENCE = 0.5, 2.0  # between two looks at a replica, and for its answer
HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
NOTHING_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # what the client did not say
NOBODY = '{"error": {"message": "No replica answers.", "type": "server_error", "param": null, "code": "no_replica"}}'


class Front:
    """The server before `behind`: URLs without a path. `patience`: seconds to wait for a replica's next bytes."""

    def __init__(self, behind: Sequence[str], port: int = 0, patience: float = 60.0) -> None:
        self.behind, self._port, self._patience = list(behind), port, patience
        self.absent: set[str] = set()  # those of `behind` that did not answer when they were last looked at
        self._next = 0

    async def start(self) -> str:
        """Listen, and return the URL."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=LOOK_PATIENCE, sock_read=self._patience)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
        self._client = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, auto_decompress=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._port)
        await site.start()
        self._looks = [asyncio.create_task(self._look(each)) for each in self.behind if len(self.behind) > 1]
        return f"http://{HOST}:{site.port}"

    async def stop(self) -> None:
        """Listen no more."""
        for each in self._looks:
            each.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)
        await self._runner.cleanup()
        await self._client.close()

    async def _look(self, replica: str) -> None:
        """Keep noting whether a replica is ready: one that drains says that it is not, one that is stopped nothing."""
        patience = aiohttp.ClientTimeout(total=LOOK_PATIENCE)
        while True:
            ready = False
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._client.get(f"{replica}/readyz", timeout=patience) as answer:
                    ready = answer.status == 200
            (self.absent.discard if ready else self.absent.add)(replica)
            await asyncio.sleep(LOOK_SECONDS)

    def turns(self) -> Iterator[str]:
        """Yield the replicas in the order in which a call tries them: who is absent comes last."""
        self._next += 1
        order = [self.behind[(self._next + n) % len(self.behind)] for n in range(len(self.behind))]
        yield from sorted(order, key=self.absent.__contains__)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        for replica in self.turns():
            try:
                return await self.passed_on(request, replica)
            except aiohttp.ClientConnectorError:
                self.absent.add(replica)
            except (aiohttp.ClientError, TimeoutError):
                self.absent.add(replica)
                if request.method not in ("GET", "HEAD"):
                    return web.Response(status=502, text=NOBODY, content_type="application/json")
        return web.Response(status=503, text=NOBODY, content_type="application/json", headers={"Retry-After": "1"})

    async def passed_on(self, request: web.Request, replica: str) -> web.StreamResponse:
        """Answer as a replica does. Raises ClientError and TimeoutError where nothing of an answer has come."""
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        async with self._client.request(
            request.method,
            URL(replica + request.raw_path, encoded=True),
            headers=headers,
            data=_pieces(request) if request.can_read_body else None,
            skip_auto_headers=NOTHING_ADDED,
            allow_redirects=False,
        ) as answer:
            return await self.answered(request, answer)

    async def answered(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Send an answer on; one that breaks off breaks off here, too."""
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP:
                response.headers.add(name, value)
        await response.prepare(request)
        try:
            async for piece in answer.content.iter_chunked(PIECE):
                await response.write(piece)
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            cut_off(request)
            return response
        await response.write_eof()
        return response


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    async for piece in request.content.iter_chunked(PIECE):
        yield piece


def cut_off(request: web.Request) -> None:
    """End the client's connection without another word."""
    if request.transport is not None:
        request.transport.abort()
