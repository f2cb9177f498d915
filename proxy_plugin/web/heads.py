"""The heads of requests, measured while they come."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError

from proxy_plugin.ground.errors import GatewayError
from proxy_plugin.web.unreadable import Refusal, told

HEADERS = 128  # of one head
HEADER_BYTES = 32 * 1024  # of one header: configs come in one
LINE_BYTES = 8190  # of the request line; aiohttp's own
READ_BUFFER = 64 * 1024  # bytes a connection; with aiohttp's 256 KiB, 50 uploads at once take 10 MB more
WAITING_REQUESTS = 4  # of one connection, sent before the one that runs is answered; aiohttp takes 32
SLACK = 4096  # bytes between a body's chunks that are taken for nothing else

Fed = tuple[list[tuple[RawRequestMessage, StreamReader]], bool, bytes]


class HeadLate(GatewayError):
    """The head of a request did not come in time."""

    status: ClassVar[int] = 408
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "request_timeout"


class Heads(HttpRequestParser):
    """aiohttp's parser, which bounds lines and their number, with a bound on whole heads.

    `half` is how many bytes of an unfinished head it holds. Where a head began in the same piece as something else
    that is a guess, by which nobody is refused.
    """

    half: int
    refusal: GatewayError | None

    def __init__(self, protocol: BaseProtocol, loop: asyncio.AbstractEventLoop, most: int) -> None:
        super().__init__(
            protocol,
            loop,
            READ_BUFFER,
            max_line_size=LINE_BYTES,
            max_headers=HEADERS,
            max_field_size=HEADER_BYTES,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=WAITING_REQUESTS,
        )
        self.half = self._sure = 0
        self.refusal = None
        self._most = most
        self._newest: StreamReader | None = None  # the body of the newest request

    def feed_data(self, data: bytes, *more: Any) -> Fed:
        """Parse a piece. Raises HttpProcessingError, among them the `refusal` that was set."""
        if self.refusal is not None:
            raise Refusal(self.refusal)
        running = self._running()
        before = 0 if running is None else running.total_bytes
        try:
            messages, upgraded, tail = super().feed_data(data, *more)
        except HttpProcessingError:
            if running is not None:  # aiohttp would leave its reader waiting
                running.set_exception(web.RequestPayloadError("the body breaks its transfer encoding"))
            raise
        used = 0 if running is None else running.total_bytes - before
        for message, body in messages:
            size = _size(message)
            self._require(size)
            used += size + body.total_bytes
            self._newest = body
        if upgraded or self._running() is not None:
            self.half = self._sure = 0
        elif messages or running is not None:
            self._sure, left = 0, len(data) - used
            self.half = left if left > SLACK else 0
        else:
            self._sure += len(data)
            self.half += len(data)
            self._require(self._sure)
        return messages, upgraded, tail

    def _running(self) -> StreamReader | None:
        """Return the body that has not come to its end."""
        return None if self._newest is None or self._newest.is_eof() else self._newest

    def _require(self, size: int) -> None:
        if size > self._most:
            raise Refusal(told(f"Its first line and its headers exceed {self._most} bytes together."))


def _size(message: RawRequestMessage) -> int:
    headers = sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
    return len(message.method) + len(message.path) + headers + 14
