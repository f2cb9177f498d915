"""Small JSON bodies of requests, whatever the application's own limit is."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.errors import BadRequest, TooLarge
from proxy_plugin.web.content_encoding import unpacking
from proxy_plugin.web.pace import BodyLate

MAX_BODY = 2**20
BODY_SECONDS = 60.0
UNPARSED = "We could not parse the JSON body of your request"  # OpenAI's words, for which programs look


async def json_object(request: web.Request, *, optional: bool = False) -> dict[str, Any]:
    """Read a JSON object of at most 1 MiB; where it is optional, no body is an empty one.

    Raises BadRequest, TooLarge, and BodyLate for one that does not come.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _small_body(request)
        value = {} if optional and not body.strip() else orjson.loads(body)
    except TimeoutError:
        raise BodyLate(f"The request body did not arrive within {BODY_SECONDS:g} seconds.") from None
    except orjson.JSONDecodeError as error:
        raise BadRequest(_unreadable(body, error)) from None
    if not isinstance(value, dict):
        raise BadRequest("The request body must be a JSON object.")
    return value


def _unreadable(body: bytearray, error: orjson.JSONDecodeError) -> str:
    if not body.strip():
        return f"{UNPARSED}: it is empty; send a JSON object."
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"{UNPARSED}: it is not UTF-8; send a JSON object in UTF-8."
    if text.startswith("\ufeff"):
        return f"{UNPARSED}: it begins with a byte-order mark; send the JSON object without one."
    return f"{UNPARSED}: see its line {error.lineno}, column {error.colno}; send one JSON object."


async def _small_body(request: web.Request) -> bytearray:
    body = bytearray()
    if (request.content_length or 0) > MAX_BODY:
        raise TooLarge(f"The request body may have at most {MAX_BODY} bytes.")
    read = unpacking(request, request.content.readany, request.app[GATEWAY].blobs.write)
    while chunk := await read():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge(f"The request body may have at most {MAX_BODY} bytes.")
    return body
