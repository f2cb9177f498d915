"""Google's errors, and the checks of requests that end in them: a google.rpc.Status under `error`."""

import json
import re
from collections.abc import Collection
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply

WORDS = {
    400: (3, "INVALID_ARGUMENT"),
    401: (16, "UNAUTHENTICATED"),
    403: (7, "PERMISSION_DENIED"),
    404: (5, "NOT_FOUND"),
    409: (10, "ABORTED"),
    429: (8, "RESOURCE_EXHAUSTED"),
    500: (13, "INTERNAL"),
    503: (14, "UNAVAILABLE"),
    504: (4, "DEADLINE_EXCEEDED"),
}
LONGEST_BODY = 25 * 10**6


def word(status: int) -> tuple[int, str]:
    """The number and the name of an HTTP status among those of google.rpc."""
    return WORDS.get(status, WORDS[500 if status >= 500 else 400])


def error_reply(status: int, message: str, reason: str | None = None) -> Reply:
    """The error envelope; `reason` is that of an ErrorInfo."""
    error: dict[str, Any] = {"code": status, "message": message, "status": word(status)[1]}
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}]
    return json_reply({"error": error}, status)


def refused(status: int, message: str, reason: str | None = None) -> Refused:
    return Refused(error_reply(status, message, reason))


def members(given: Any, known: Collection[str], where: str) -> dict[str, Any]:
    """The members of an object in Google's spelling: it takes display_name for displayName. Raises `Refused`."""
    if not isinstance(given, dict):
        raise refused(400, f"Invalid value at '{where}'.")
    found = {re.sub("_([a-z])", lambda part: part[1].upper(), name): value for name, value in given.items()}
    if unknown := found.keys() - set(known):
        words = f"Unknown name \"{min(unknown)}\" at '{where}': Cannot find field."
        raise refused(400, f"Invalid JSON payload received. {words}")
    return found


def check_query(request: web.Request, known: Collection[str] = ()) -> None:
    for name in request.query:
        if name not in {*known, "key", "$alt"}:
            raise refused(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.')


async def json_object(request: web.Request, *, optional: bool = False) -> dict[str, Any]:
    """The request's JSON object. Raises `Refused`."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise refused(400, "Request bodies must not be compressed.")
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > LONGEST_BODY:
            raise refused(413, "Request payload size exceeds the limit.")
    if optional and not raw.strip():
        return {}
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise refused(400, "Invalid JSON payload received.")
    return value


def page(request: web.Request, count: int, default: int) -> tuple[int, int]:
    """Start and end of the page that is asked for; larger sizes are cut to 1,000. Tokens are opaque to clients."""
    check_query(request, ("pageSize", "pageToken"))
    size, token = request.query.get("pageSize", ""), request.query.get("pageToken", "")
    if (size and not size.isdigit()) or (token and not token.removeprefix("page-").isdigit()):
        raise refused(400, "Invalid page size or page token.")
    start = int(token.removeprefix("page-") or 0)
    return start, min(start + min(int(size or 0) or default, 1000), count)
