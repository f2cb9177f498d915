"""`x-portkey-request-timeout`: how long a client wants to wait until its answer begins.

What was under way when the time was over may have happened all the same, as with Portkey: a file may be stored, a
batch created. The same create sent again returns that batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from aiohttp import web

from proxy_plugin.ground.errors import GatewayError

LIMIT = web.RequestKey("proxy_plugin.limit", asyncio.Timeout)


class TookTooLong(GatewayError):
    """The answer did not begin in the time that the request gave. The text is the one of Portkey's gateway."""

    status: ClassVar[int] = 408
    type: ClassVar[str] = "timeout_error"
    default_code: ClassVar[str | None] = None


@asynccontextmanager
async def limited(request: web.Request, milliseconds: int | None) -> AsyncIterator[None]:
    """End what is done inside if no answer has begun by then; None: no limit. Raises TookTooLong."""
    if milliseconds is None:
        yield
        return
    limit = asyncio.timeout(milliseconds / 1000)
    try:
        async with limit:
            request[LIMIT] = limit
            yield
            limit.reschedule(None)
    except TimeoutError:
        if not limit.expired():
            raise
        raise TookTooLong(f"Request exceeded the timeout sent in the request: {milliseconds}ms") from None


def answer_begins(request: web.Request) -> None:
    """Let an answer that has begun take its time."""
    limit = request.get(LIMIT)
    if limit is not None and limit.when() is not None and not limit.expired():
        limit.reschedule(None)
