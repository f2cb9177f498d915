"""aiohttp's server with bounds: on heads, silence, numbers and slow readers. Refuses what is no HTTP in OpenAI's shape.

Two of aiohttp's classes are extended; `tests/unit/web/test_server.py` names what is overridden here, and fails where a
release of aiohttp has it no more.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from proxy_plugin.config import Config
from proxy_plugin.config.bounds import Connections
from proxy_plugin.config.connections import most_open
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import GatewayError
from proxy_plugin.ground.sparing import Sparing
from proxy_plugin.web.answers import unacknowledged
from proxy_plugin.web.connections import LINGER_SECONDS, LOG, Books, Phase
from proxy_plugin.web.heads import WAITING_REQUESTS, HeadLate, Heads
from proxy_plugin.web.keys import new_request_id
from proxy_plugin.web.unreadable import refusal_of, unreadable_answer

STALL_SECONDS = 60.0  # between looks at how much of an answer was taken
LINGER_BYTES = 2**20  # read of a client that was refused; most who send more are no clients
WRITE_BUFFER = 32 * 1024  # bytes of an answer that a connection holds while its client does not read
ACCEPTED_AT_ONCE = 32  # connections, between two looks at anything else: 3 ms, and few above the bound for a moment
BACKLOG = 1024  # that the kernel keeps till then, 0.1 s of accepting; beyond it a client tries again after a second
_NEVER = 10 * 365 * 86_400.0  # seconds; the books end idle connections, not aiohttp
_NO_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # asyncio goes on by itself after a second
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Guard:
    """What all connections of one server share."""

    books: Books
    settings: Connections


class Guarded(RequestHandler):
    """One connection."""

    def __init__(self, guard: Guard, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, keepalive_timeout=_NEVER, **options)
        self.phase: Phase | None = None
        self.half = 0
        self._books, self._settings = guard.books, guard.settings
        self._parser: Heads | None = Heads(self, self._loop, self._settings.max_head_bytes)
        self._max_msg_queue_size, self._msg_queue_resume_size = WAITING_REQUESTS, WAITING_REQUESTS // 2
        self._wire: asyncio.Transport | None = None  # also after aiohttp has closed it
        self._stall: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None  # of a connection that is read on for its client's sake alone
        self._ignored = 0

    # ---- what the books do ----

    def late(self, phase: Phase) -> None:
        """End it: what was waited for in this phase did not come."""
        if phase is Phase.CLOSING:
            self._books.leave(self)
            self.drop()
            return
        self._books.move(self, Phase.CLOSING)
        if phase is Phase.HEAD and self._parser is not None:
            seconds = self._settings.head_seconds
            self._parser.refusal = HeadLate(f"The head of the request did not arrive within {seconds:g} seconds.")
            super().data_received(b"")
        else:
            self.force_close()

    def drop(self) -> None:
        """End it at once, whatever is unsent."""
        if self._wire is not None:
            self._wire.abort()

    # ---- what asyncio tells ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        transport.set_write_buffer_limits(WRITE_BUFFER)
        super().connection_made(transport)
        self._books.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._books.leave(self)
        self._stop_watching()
        self._wire = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends, and tell the books of a head that has begun."""
        if self._gone is not None:  # read on, so that the client can go on to the answer that it was given
            self._ignored += len(data)
            if self._ignored > LINGER_BYTES and self._wire is not None:
                self._wire.pause_reading()
            return
        super().data_received(data)
        half = 0 if self._parser is None else self._parser.half
        if half != self.half and self.phase is not None:
            self._books.holds(self, half)
        if half and self.phase in (Phase.FRESH, Phase.IDLE):
            self._books.move(self, Phase.HEAD)

    def pause_writing(self) -> None:
        """Begin to watch a client that does not read as fast as we write."""
        super().pause_writing()
        if self._settings.min_bytes_per_second:
            self._stall = self._loop.call_later(STALL_SECONDS, self._look, self._taken())

    def resume_writing(self) -> None:
        """The client has read."""
        self._stop_watching()
        super().resume_writing()

    def _look(self, before: int) -> None:
        taken = self._taken()
        if taken - before < STALL_SECONDS * self._settings.min_bytes_per_second:
            self._books.stalled(self)
        else:
            self._stall = self._loop.call_later(STALL_SECONDS, self._look, taken)

    def _taken(self) -> int:
        """Return how many bytes of its answer the client's side has acknowledged.

        What waits in this process does not tell: the kernel takes no more until a third of its megabytes is free.
        """
        handed = 0 if self._current_request is None else self._current_request.writer.output_size
        if self._wire is None:
            return handed
        sock = self._wire.get_extra_info("socket")
        return handed - self._wire.get_write_buffer_size() - unacknowledged(sock.fileno())

    def _stop_watching(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    # ---- what aiohttp does ----

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Wait for the request that runs, but for nobody who was refused."""
        if self.phase is Phase.CLOSING:
            self.drop()
        await super().shutdown(timeout)

    async def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: Handler
    ) -> tuple[web.StreamResponse, bool]:
        self._enter(Phase.BUSY)
        try:
            return await super()._handle_request(request, start_time, request_handler)
        finally:
            self._enter(Phase.HEAD if self.half else Phase.IDLE)

    def _enter(self, phase: Phase) -> None:
        if self.phase not in (None, Phase.CLOSING):
            self._books.move(self, phase)

    def answered(self) -> None:
        """The request is refused, and what still comes of it is of no interest: only the client's reading is."""
        self._enter(Phase.CLOSING)

    def _make_error_handler(self, err_info: Any) -> Handler:
        async def refuse(request: web.BaseRequest) -> web.StreamResponse:
            response = self.handle_error(request, err_info.status, err_info.exc)
            err_info.exc.__traceback__ = None  # it holds all that was read
            self._parser = None
            await self._close_after(request, response)
            return response

        return refuse

    async def _close_after(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Answer, end our side, and let the client read: a connection closed at once takes the answer with it."""
        self.answered()
        self._gone = self._loop.create_future()
        with suppress(OSError):
            await response.prepare(request)
            await response.write_eof()
            if self._wire is not None and self._wire.can_write_eof():
                self._wire.write_eof()
        if self._wire is not None:
            await self._gone

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002 - of the answer that aiohttp would give
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's, which quotes
    ) -> web.StreamResponse:
        """Return an error in OpenAI's shape, with one line in the log."""
        request_id = new_request_id()
        if isinstance(exc, HttpProcessingError):
            error = refusal_of(exc)
            logs.event(LOG, "request_unreadable", status=error.status, request_id=request_id, reason=type(exc).__name__)
        else:
            error = GatewayError("The gateway met an internal error.")
            logs.event(LOG, "request_failed", level=logging.ERROR, error=exc, request_id=request_id)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is out")
        return unreadable_answer(error, request_id)

    def log_exception(self, *_: Any, **kw: Any) -> None:
        """Log it as an event of ours."""
        error = kw.get("exc_info")
        shown = error if isinstance(error, BaseException) else None
        logs.event(LOG, "connection_failed", level=logging.ERROR, error=shown)


class GuardedServer(web.Server):
    """aiohttp's server, with guarded connections."""

    def __init__(self, plain: web.Server, guard: Guard) -> None:
        super().__init__(
            plain.request_handler,
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
            access_log=None,
        )
        self.guard = guard

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return Guarded(self.guard, self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application behind such a server."""

    def __init__(self, app: web.Application, config: Config, **options: Any) -> None:
        super().__init__(app, access_log=None, **options)
        self._config = config

    async def _make_server(self) -> web.Server:
        loop, settings = asyncio.get_running_loop(), self._config.connections
        patience = {
            Phase.FRESH: settings.head_seconds,
            Phase.HEAD: settings.head_seconds,
            Phase.IDLE: settings.keepalive_seconds,
            Phase.CLOSING: LINGER_SECONDS,
        }
        books = Books(most_open(self._config), patience, loop)
        outlive_accept_failures(loop, books)
        return GuardedServer(await super()._make_server(), Guard(books, settings))


class Site(web.TCPSite):
    """A listening address with a long queue: thousands who come at once do not make the next one wait for a second."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        super().__init__(runner, host, port, backlog=ACCEPTED_AT_ONCE)

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        for each in getattr(self._server, "sockets", ()):
            with socket.socket(fileno=os.dup(each.fileno())) as same:
                same.listen(BACKLOG)


def outlive_accept_failures(loop: asyncio.AbstractEventLoop, books: Books) -> None:
    """Log once a minute that no connection can be accepted, and end a silent one each time.

    asyncio tries again after a second, and would log a hundred times for each try.
    """
    failures, earlier = Sparing(LOG, "accept_failed", loop.time), loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_FILES and "socket" in context:
            failures.note(errno.errorcode[error.errno])
            books.shed("no files")
        elif earlier is not None:
            earlier(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
