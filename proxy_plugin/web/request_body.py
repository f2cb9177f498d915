"""JSON bodies of requests, whatever the application's own limit is: small ones, and the beginning of longer ones."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.errors import BadRequest, TooLarge
from proxy_plugin.ground.unparsed import NO_OBJECT, unreadable
from proxy_plugin.web.content_encoding import Read, unpacking
from proxy_plugin.web.pace import BodyLate, pace_of

MAX_BODY = 2**20
BODY_SECONDS = 60.0
_CHUNK_BYTES = 64 * 1024
TOO_LARGE = f"The request body may have at most {MAX_BODY} bytes."


class Incoming(NamedTuple):
    """A body of which little more than 1 MiB has come at most. `more` reads on; None where that was all."""

    begun: bytearray
    more: Read | None


async def json_object(request: web.Request, *, optional: bool = False) -> dict[str, Any]:
    """Read a JSON object of at most 1 MiB; where it is optional, no body is an empty one.

    Raises BadRequest, TooLarge, and BodyLate for one that does not come.
    """
    if (request.content_length or 0) > MAX_BODY:
        raise TooLarge(TOO_LARGE)
    body, more = await begin(request)
    if more is not None:
        raise TooLarge(TOO_LARGE)
    return {} if optional and not body.strip() else parsed(body)


async def begin(request: web.Request) -> Incoming:
    """Read a body to its end, or until more than 1 MiB is there.

    Raises BodyLate, and what undoing its encoding raises.
    """
    body, pace = bytearray(), pace_of(request)
    paced = partial(pace.read, partial(request.content.read, _CHUNK_BYTES))
    read = unpacking(request, paced, request.app[GATEWAY].blobs.write)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while chunk := await read():
                body += chunk
                if len(body) > MAX_BODY:
                    return Incoming(body, read)
    except TimeoutError:
        raise BodyLate(f"The request body did not arrive within {BODY_SECONDS:g} seconds.") from None
    return Incoming(body, None)


def parsed(body: bytes | bytearray) -> dict[str, Any]:
    """Return the JSON object that a body is. Raises BadRequest."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(unreadable(body, error)) from None
    if not isinstance(value, dict):
        raise BadRequest(NO_OBJECT)
    return value
