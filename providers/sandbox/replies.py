"""What a stand-in answers, as data, so that faults can be applied to it before it is sent."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `path` with `size` (bytes, from `start` on) names a file to stream; otherwise `body` is sent.

    `streamed`: the service announces no length for it.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    size: int = 0
    start: int = 0  # of what is sent of the file
    subject: str | None = None  # the object it is about, for the request log
    streamed: bool = False

    @property
    def length(self) -> int:
        return len(self.body) if self.path is None else self.size


def json_reply(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None, subject: str | None = None
) -> Reply:
    """Encode `value` with orjson, or with the standard library where orjson refuses (lone surrogates)."""
    try:
        body = orjson.dumps(value)
    except TypeError:
        body = json.dumps(value).encode()
    return Reply(status, body, {"content-type": "application/json", **(headers or {})}, subject=subject)


class Refused(Exception):
    """A request that is answered with an error of the provider's own shape."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(reply.status)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a body is sent. `limit`: bytes really sent; `rate`: bytes a second; `chunked`: no Content-Length.

    `endless`: it begins again whenever it has ended, until nobody listens.
    """

    limit: int | None = None
    rate: int | None = None
    chunked: bool = False
    endless: bool = False


async def send(request: web.Request, reply: Reply, shape: Shape) -> web.StreamResponse:
    """Send `reply`. A body cut short is followed by the end of the connection, or of the chunked stream."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    sent = reply.length if shape.limit is None else min(shape.limit, reply.length)
    if shape.chunked or (reply.streamed and shape.limit is None):
        response.enable_chunked_encoding()
    else:
        response.content_length = reply.length
    await response.prepare(request)
    if request.method == "HEAD":  # how long the body would be is all that is asked
        await response.write_eof()
        return response
    with contextlib.suppress(ConnectionError):
        await _write(response, reply, sent, shape.rate)
        while shape.endless:
            await _write(response, reply, sent, None)
        if sent < reply.length and not shape.chunked:
            await response.write(b"")  # the headers at least, also when no byte of the body is wanted
            hang_up(request)
        else:
            await response.write_eof()
    return response


async def _write(response: web.StreamResponse, reply: Reply, limit: int, rate: int | None) -> None:
    step = CHUNK if rate is None else max(1, rate // 20)
    async for piece in _pieces(reply, limit, step):
        if rate is not None:
            await asyncio.sleep(len(piece) / rate)
        await response.write(piece)


async def _pieces(reply: Reply, limit: int, step: int) -> AsyncIterator[bytes]:
    if reply.path is None:
        for start in range(0, limit, step):
            yield reply.body[start : min(start + step, limit)]
        return
    handle = await asyncio.to_thread(reply.path.open, "rb")
    handle.seek(reply.start)
    try:
        while limit > 0 and (piece := await asyncio.to_thread(handle.read, min(step, limit))):
            limit -= len(piece)
            yield piece
    finally:
        handle.close()


def hang_up(request: web.Request, *, reset: bool = False) -> None:
    """Close the connection: what is already written still goes out, unless `reset` (RST, all is dropped)."""
    if (transport := request.transport) is None:
        return
    if reset:
        _reset_on_close(transport.get_extra_info("socket"))
        transport.abort()
    else:
        transport.close()


def _reset_on_close(sock: Any) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
