"""What our routes answer: OpenAI's objects and errors as JSON, and whether an answer has reached the client."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import orjson
from aiohttp import web

from proxy_plugin.ground.errors import GatewayError

PATIENCE = 5.0  # seconds that the client's side has to acknowledge an answer
_TCP_CLOSE = 7  # the state of a connection that was reset
_FIRST_LOOK, _LAST_LOOK = 0.001, 0.005  # seconds between looks: an acknowledgement may be delayed by 40 ms


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON answer, already encoded."""
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type="application/json")


def error_answer(error: GatewayError) -> web.Response:
    """Return OpenAI's error envelope with the status and headers of the error."""
    return json_answer(error.body(), error.status, error.headers())


async def deliver(request: web.Request, response: web.Response) -> bool:
    """Write the whole answer and tell whether the client's side has taken it; a client that has gone is no error.

    Taken means that the kernel at the other end acknowledged every byte within `PATIENCE`. A duplicate of the socket
    is watched, because asyncio closes its own as soon as the client closes: a client that hangs up after reading
    everything is told from one that hung up before.
    """
    transport = request.transport
    if transport is None:
        return False
    with _duplicate(transport) as sock:
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            return False
        return await _taken(transport, sock)


@contextmanager
def _duplicate(transport: asyncio.Transport) -> Iterator[socket.socket]:
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as sock:
        yield sock


async def _taken(transport: asyncio.Transport, sock: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + PATIENCE, _FIRST_LOOK
    while transport.get_write_buffer_size() or unacknowledged(sock.fileno()):
        if _reset(sock) or loop.time() > until:
            return False
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LAST_LOOK)
    return not _reset(sock)


def unacknowledged(descriptor: int) -> int:
    """Return how many sent bytes the other end of a socket has not acknowledged (SIOCOUTQ, tcp(7))."""
    answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])


def _reset(sock: socket.socket) -> bool:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
