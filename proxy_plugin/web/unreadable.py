"""What cannot be read as HTTP is answered as everything else is: OpenAI's shape, a request id, and no echo of it.

aiohttp's parser answers by itself before any middleware is asked: in plain text, with a piece of the request, which may
hold a key. Its `Server` has no setting for that, so the one of our own process makes connections of a subclass.
"""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong
from aiohttp.web_protocol import RequestHandler

from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import BadRequest, GatewayError
from proxy_plugin.web.answers import error_answer
from proxy_plugin.web.keys import REQUEST_ID, new_request_id

LOG = logging.getLogger("proxy_plugin.http")
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (LineTooLong, "Its path or one of its headers is too long."),
    (BadHttpMethod, "It begins with no method of HTTP; is it TLS? This port speaks plain HTTP."),
    (InvalidURLError, "Its path is no URL."),
)
_REASON = "Its first line, a header or the framing of its body breaks the rules of HTTP/1.1."


class _Connection(RequestHandler):
    """A connection whose faults are told as those of routes are."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer, after which the connection ends. Raises ConnectionError where another one has begun."""
        if request.writer.output_size > 0 or not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        request_id = new_request_id()
        answer = error_answer(_refusal(exc))
        answer.headers.update({REQUEST_ID: request_id, hdrs.SERVER: "proxy-plugin"})  # where none is, aiohttp says more
        answer.force_close()
        logs.event(LOG, "request_unreadable", status=answer.status, request_id=request_id, reason=type(exc).__name__)
        return answer


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An AppRunner whose connections are ours."""

    async def _make_server(self) -> Any:
        server = await super()._make_server()
        server.__class__ = _Server  # made deep inside, with everything but the class as it should be
        return server


def _refusal(fault: HttpProcessingError) -> GatewayError:
    reason = next((text for kind, text in _REASONS if isinstance(fault, kind)), _REASON)
    return BadRequest(f"This request cannot be read as HTTP. {reason}")
