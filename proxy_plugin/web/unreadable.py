"""What cannot be read as HTTP is answered as everything else is: OpenAI's shape, a request id, and no echo of it.

aiohttp's parser answers by itself before any middleware is asked: in plain text, with a piece of the request, which may
hold a key. The connections of our own process (`server`) ask here what to say.
"""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong

from proxy_plugin.ground.errors import BadRequest, GatewayError
from proxy_plugin.web.answers import error_answer
from proxy_plugin.web.keys import REQUEST_ID

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (LineTooLong, "Its path or one of its headers is too long."),
    (BadHttpMethod, "It begins with no method of HTTP; is it TLS? This port speaks plain HTTP."),
    (InvalidURLError, "Its path is no URL."),
)
_REASON = "Its first line, a header or the framing of its body breaks the rules of HTTP/1.1."


class Refusal(HttpProcessingError):
    """A refusal of ours on its way through aiohttp."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(code=error.status, message=error.message)
        self.error = error


def told(reason: str) -> BadRequest:
    """Return the error for a reason, a sentence that holds nothing of the request."""
    return BadRequest(f"This request cannot be read as HTTP. {reason}")


def refusal_of(fault: BaseException) -> GatewayError:
    """Return what a client is told of a fault that aiohttp has found."""
    if isinstance(fault, Refusal):
        return fault.error
    if isinstance(fault, HttpProcessingError) and "Too many headers" in fault.message:
        return told("It has too many headers.")
    return told(next((text for kind, text in _REASONS if isinstance(fault, kind)), _REASON))


def unreadable_answer(error: GatewayError, request_id: str) -> web.Response:
    """Return the answer, after which the connection ends."""
    answer = error_answer(error)
    answer.headers.update({REQUEST_ID: request_id, hdrs.SERVER: "proxy-plugin"})  # where none is, aiohttp says more
    answer.force_close()
    return answer
