"""The process that makes the calls: a small server on a Unix socket that its gateway alone can reach.

What proves accounts comes over a pipe: it stands in no argument, no variable and no file. The process leaves with its
gateway, and lets nobody in but its own user.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from multiprocessing.connection import Connection

from aiohttp import hdrs, web

from proxy_plugin.access.headers import CACHE_STATUS, RETRIES, response_headers
from proxy_plugin.alone.called import CalledAccounts
from proxy_plugin.alone.calls import Answered, Calls, refused
from proxy_plugin.alone.entry import READY
from proxy_plugin.alone.order import LENGTH_BYTES, PATH, CallTerms, News, Order, order_in
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import GatewayError, TooLarge
from proxy_plugin.providers.direct.base import Lost

LOG = logging.getLogger("proxy_plugin.calls")
BACKLOG = 4096  # connections that wait to be accepted: a Unix socket refuses those beyond (EAGAIN)
KEPT_SECONDS = 3600.0  # of a connection, longer than its gateway does
_FAILED = "The gateway met an internal error. It is logged under this answer's trace id."


async def serve_calls(socket: str, pipe: Connection, terms: CallTerms) -> None:
    """Serve calls until the pipe ends, which says when it begins."""
    accounts, told = CalledAccounts(), asyncio.Queue[News | None]()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe.fileno(), lambda: told.put_nowait(_received(pipe, loop)))
    runner = await listening(socket, accounts, terms)
    pipe.send(READY)
    while (news := await told.get()) is not None:
        await accounts.learn(news)
    await runner.cleanup()
    await accounts.close()


async def listening(socket: str, accounts: CalledAccounts, terms: CallTerms) -> web.AppRunner:
    """Answer on a socket until the runner is cleaned up. A call whose gateway has hung up is cancelled."""
    app = web.Application()
    app.router.add_post(PATH, Answering(Calls(accounts, terms), accounts, terms).answer)
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0, keepalive_timeout=KEPT_SECONDS
    )
    await runner.setup()
    await web.UnixSite(runner, socket, backlog=BACKLOG).start()
    return runner


def _received(pipe: Connection, loop: asyncio.AbstractEventLoop) -> News | None:
    with suppress(EOFError, OSError):
        news: News = pipe.recv()
        return news
    loop.remove_reader(pipe.fileno())
    return None


class Answering:
    """The one route."""

    def __init__(self, calls: Calls, accounts: CalledAccounts, terms: CallTerms) -> None:
        self._calls, self._accounts, self._terms = calls, accounts, terms

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one order; whatever goes wrong is an answer in OpenAI's shape, too."""
        size = int.from_bytes(await request.content.readexactly(LENGTH_BYTES), "big")
        order = order_in(await request.content.readexactly(size))
        try:
            body = await _body(request, self._terms.bytes)
            await self._accounts.until(order.told)
            answered = await self._calls.answer(order, body)
        except GatewayError as error:
            answered = refused(error)
        except Exception as error:  # noqa: BLE001 - the border of the process: every error becomes an answer
            logs.TRACE_ID.set(order.trace_id)
            logs.event(LOG, "call_failed", level=logging.ERROR, error=error)
            answered = refused(GatewayError(_FAILED))
        async with answered.close:
            return await _sent(request, order, answered)


async def _body(request: web.Request, most: int) -> bytes:
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > most:
            raise TooLarge(f"The request body may have at most {most} bytes (alone.max_body_bytes).")
    return bytes(body)


async def _sent(request: web.Request, order: Order, answered: Answered) -> web.StreamResponse:
    headers = answered.headers | response_headers(answered.provider, order.trace_id, answered.option)
    headers |= {RETRIES: str(answered.retries), CACHE_STATUS: answered.cache}
    if isinstance(answered.body, bytes):
        return web.Response(body=answered.body, status=answered.status, headers=headers)
    response = web.StreamResponse(status=answered.status, headers=headers | {hdrs.CACHE_CONTROL: "no-cache"})
    await response.prepare(request)
    try:
        async for piece in answered.body:
            await response.write(piece)
    except ConnectionError:  # the client has gone
        return response
    except Lost:
        if request.transport is not None:  # nobody is to take half of it for the whole
            request.transport.abort()
    return response
