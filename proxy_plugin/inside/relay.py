"""One request of LiteLLM's server, streamed to the gateway behind the socket and back, byte for byte and unbuffered."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from proxy_plugin.inside.callers import Head, Scope
from proxy_plugin.inside.words import listens

LOG = logging.getLogger("proxy_plugin.inside")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
START_SECONDS = 15.0  # that a request waits for the gateway to listen; a start takes 1 s
LOOK_SECONDS = 0.05
LINGER_SECONDS = 5.0  # of reading on after an answer that came before the body's end
_HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}
_NOT_BACK = {*_HOP_BY_HOP, "date", "server"}  # LiteLLM's server has its own
_ADDED_BY_AIOHTTP = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class CallerGone(ConnectionError):
    """Nobody waits for the answer any more."""


class Body:
    """The body of one request, and after it the news that its client has gone."""

    def __init__(self, head: Head, receive: Receive) -> None:
        names = dict(head)
        self.there = b"transfer-encoding" in names or names.get(b"content-length", b"0").strip() != b"0"
        self._receive = receive
        self._given, self._whole = asyncio.Event(), asyncio.Event()  # nobody wants more of it; all of it has come
        if not self.there:
            self._given.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield it as it comes. Raises CallerGone."""
        try:
            while not self._whole.is_set():
                if piece := await self._next():
                    yield piece
        finally:
            self._given.set()

    async def gone(self) -> None:
        """Return when the client has gone. It reads what nobody wanted: a client tells that only after its body."""
        await self._given.wait()
        with suppress(CallerGone):
            while True:
                await self._next()

    async def read_on(self, gone: asyncio.Future[None]) -> None:
        """Let a client that still sends come to its answer: one closed in the middle would not read it."""
        if self.there and not self._whole.is_set():
            whole: asyncio.Future[Any] = asyncio.ensure_future(self._whole.wait())
            await asyncio.wait([gone, whole], timeout=LINGER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            whole.cancel()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        if not message.get("more_body", False):
            self._whole.set()
        return bytes(message.get("body", b""))


async def relay(scope: Scope, receive: Receive, send: Send, head: Head, socket: Path) -> bool:
    """Pass one request on and the answer back; tell whether there was one, or nobody left to have it."""
    body = Body(scope["headers"], receive)
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(socket), limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_ADDED_BY_AIOHTTP,
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        call, gone = asyncio.ensure_future(_call(session, scope, head, body)), asyncio.ensure_future(body.gone())
        try:
            await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
            return not call.done() or await _answer(call, gone, body, send)
        finally:
            await _ended(call, gone)


async def refuse(send: Send, status: int, code: str, text: str) -> None:
    """Answer with an error in OpenAI's shape."""
    error = {"error": {"message": text, "type": "server_error", "param": None, "code": code}}
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(error).encode()})


async def _call(session: aiohttp.ClientSession, scope: Scope, head: Head, body: Body) -> aiohttp.ClientResponse:
    headers = CIMultiDict[str]((name, value) for name, value in _texts(head) if name not in _HOP_BY_HOP)
    expect = headers.pop("expect", "").lower() == "100-continue"
    return await session.request(
        scope["method"],
        _url(scope),
        headers=headers,
        data=body.pieces() if body.there else None,
        allow_redirects=False,
        expect100=expect and body.there,
    )


async def _answer(
    call: asyncio.Future[aiohttp.ClientResponse], gone: asyncio.Future[None], body: Body, send: Send
) -> bool:
    try:
        answer = call.result()
    except CallerGone:
        return True
    except (aiohttp.ClientError, OSError) as error:
        LOG.warning("The batch gateway did not answer: %s", type(error).__name__)
        return isinstance(error.__cause__, CallerGone)
    gone.add_done_callback(lambda _: answer.close())
    async with answer:
        if not await _passed(answer, gone, send):
            return True
    await body.read_on(gone)  # before the last word, after which nothing more is received
    await send({"type": "http.response.body", "body": b""})
    return True


async def _passed(answer: aiohttp.ClientResponse, gone: asyncio.Future[None], send: Send) -> bool:
    """Pass an answer on but for its end; tell whether there is still somebody to have it. Raises ConnectionError."""
    headers = [(name, value) for name, value in answer.raw_headers if name.lower().decode() not in _NOT_BACK]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        async for piece in answer.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except aiohttp.ClientError:
        if not gone.done():
            raise ConnectionError("the batch gateway broke off its answer") from None
    return not gone.done()


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def listening(socket: Path) -> bool:
    """Wait for the gateway, so that a restart of it costs a caller a moment and no error. The body is not read yet."""
    loop = asyncio.get_running_loop()
    until = loop.time() + START_SECONDS
    while not (_is_ours(socket) and listens(socket)):
        if loop.time() > until:
            return False
        await asyncio.sleep(LOOK_SECONDS)
    return True


def _is_ours(socket: Path) -> bool:
    """Tell whether a socket is of our own user: keys must go to nobody else."""
    try:
        return socket.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _url(scope: Scope) -> URL:
    """Return the target as it was sent, without the root that LiteLLM is mounted under."""
    path = scope.get("raw_path") or scope["path"].encode()
    root = scope.get("root_path", "").rstrip("/").encode()
    if root and path.startswith(root + b"/"):
        path = path[len(root) :]
    query = scope.get("query_string", b"")
    return URL("http://gateway" + (path + (b"?" + query if query else b"")).decode("latin-1"), encoded=True)


def _texts(head: Head) -> list[tuple[str, str]]:
    return [(_text(name).lower(), _text(value)) for name, value in head]


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
