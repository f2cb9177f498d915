"""The way into our routes: trace id, who is calling, one shape for errors, one log line; other requests go past.

A caller is authenticated before a byte of the body is read. aiohttp answers `Expect: 100-continue` before it calls any
middleware, so every route of ours has `Entrance.expect`, which admits or refuses the request first.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_urldispatcher import AbstractRoute

from proxy_plugin.access import headers, litellm_words
from proxy_plugin.config import Config, VirtualKey
from proxy_plugin.config.connections import most_open
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import BadRequest, GatewayError, NoSpace, NotFound, TooManyRequests, Unavailable
from proxy_plugin.storage.errors import CommitInDoubt, DatabaseAway, RegistryFull, StoreAway
from proxy_plugin.web import provider_paths, time_limit
from proxy_plugin.web.answers import error_answer, json_answer
from proxy_plugin.web.content_encoding import unpacked_by_server
from proxy_plugin.web.keys import CALLER, HEADERS, REQUEST_ID, request_id
from proxy_plugin.web.passthrough import Upstream, without_our_keys
from proxy_plugin.web.paths import is_nobodys, takes_many_paths
from proxy_plugin.web.private_socket import told
from proxy_plugin.web.served import Handler, Served
from proxy_plugin.web.server import Guarded

LOG = logging.getLogger("proxy_plugin.http")
LINGER_SECONDS = 5.0  # of reading on after a refusal
UNPACKED_BYTES = 2**20
CLIENT_GONE = 499  # in the log only, as nginx writes it
IN_DOUBT = (
    "The gateway lost its database while it stored this; whether it is stored nobody can say now. Look for it, or send"
    " it again: a create with the same 'Idempotency-Key' is never made twice."
)
AWAY_SECONDS = 5.0  # a database that fails over is back within a minute: most clients ask once or twice more


class Entrance:
    """Guards the routes in `routes`; hands what the application does not serve to the upstream, if there is one."""

    def __init__(
        self, gateway: Gateway, upstream: Upstream | None, beside: Callable[[web.Request], Served | None] | None = None
    ) -> None:
        self._beside = beside  # routes of ours for what the application does not serve
        self.routes: dict[AbstractRoute, Served] = {}
        self._gateway, self._upstream = gateway, upstream
        self._callers, self._keys, self._traffic = gateway.callers, gateway.keys, gateway.traffic
        self._most_passed_on = max(1, most_open(gateway.config) // 2)

    @property
    def _config(self) -> Config:
        return self._gateway.config

    @web.middleware
    async def intercept(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer our routes, forward what nobody here serves, and leave the rest to the application."""
        route = self.routes.get(request.match_info.route)
        if route is not None and not await self._is_for_upstream(request, route):
            return await self._answer(request, handler, route)
        if route is not None:
            return await self._answer(request, self._pass_on_shared, None)
        unserved = request.match_info.http_exception is not None
        found = self._beside(request) if unserved and self._beside is not None else None
        if found is not None and (self._upstream is None or await self._calls_here(request)):
            return await self._answer(request, found.handler, found)
        if self._upstream is not None and unserved:
            return await self._answer(request, self._pass_on, None)
        if not unserved and takes_many_paths(request) and _is_nobodys(request):
            return await self._answer(request, _refuse_path, None)
        return await handler(without_our_keys(request, self._callers))

    async def _is_for_upstream(self, request: web.Request, route: Served) -> bool:
        """Tell whether a request for a path of ours is the upstream's: what is shared, where nobody of ours asks.

        Paths that are not shared are so, too, for a key that is none of ours: the upstream knows whether it is its own.
        """
        if self._upstream is None or CALLER in request:
            return False
        try:
            if not route.shared:
                return not self._callers.of_litellm and self._callers.is_elsewhere(request.headers)
            await self._keys.authenticate(request.headers, request.remote)
        except GatewayError:
            return route.shared
        return False

    async def _calls_here(self, request: web.Request) -> bool:
        """Tell whether a call on an account of ours is its caller's to make past the upstream.

        Not with a key that only the upstream knows: its budgets count what such keys spend.
        """
        try:
            caller = await self._keys.authenticate(request.headers, request.remote)
            if caller.identity is None or caller.identity.admin:
                return True
            return self._callers.knows(request.headers)
        except GatewayError:
            return False

    async def _pass_on_shared(self, request: web.Request) -> web.StreamResponse:
        assert self._upstream is not None
        return await self._upstream.forward(request)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        assert self._upstream is not None
        return await (_refuse_path(request) if _is_nobodys(request) else self._upstream.forward(request))

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answer `Expect` of one of our routes: 100 for a request that may go on, else the refusal itself."""
        if request.version < HttpVersion11:
            return None
        route = self.routes[request.match_info.route]
        if await self._is_for_upstream(request, route):
            await _go_on(request)
            return None
        began = time.perf_counter()
        try:
            await self._admit(request, route)
            await _check_expectation(request, route)
        except Exception as error:  # noqa: BLE001 - the border of the process: every error becomes an answer
            return await self._refuse(request, route, error, began)
        await _go_on(request)
        return None

    async def stamp(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put OpenAI's and Portkey's headers on an answer that is about to be sent, and let it take its time.

        An answer that is passed on keeps the id that its maker gave it.
        """
        time_limit.answer_begins(request)
        response.headers.setdefault(REQUEST_ID, request_id(request))
        asked = request.get(HEADERS)
        if asked is None or headers.OPTION in response.headers:
            return
        target = self._target(request, asked)
        if target is None:
            response.headers[headers.TRACE_ID] = asked.trace_id
        else:
            response.headers.update(headers.response_headers(target.provider, asked.trace_id))

    def _target(self, request: web.Request, asked: headers.RequestHeaders) -> VirtualKey | None:
        caller = request.get(CALLER)
        if caller is None or asked.slug is None or asked.config is not None or not caller.allows(asked.slug):
            return None
        return self._config.virtual_keys.get(asked.slug)

    async def _answer(self, request: web.Request, handler: Handler, route: Served | None) -> web.StreamResponse:
        """Run a handler and log it; `route` is None for a request that is passed on and authenticates elsewhere."""
        began = time.perf_counter()
        try:
            if route is None:
                asked = headers.read(request.headers)
                logs.TRACE_ID.set(asked.trace_id)
            else:
                asked = await self._admit(request, route)
            with self._share_of(request):
                async with time_limit.limited(request, asked.timeout_ms):
                    response = await handler(request)
        except ConnectionError:
            self._log(request, route, CLIENT_GONE, began)
            if request.transport is not None and not request.transport.is_closing():
                raise
            return web.Response()  # goes nowhere; aiohttp would log a raised error as a fault of ours
        except Exception as error:  # noqa: BLE001 - the border of the process: every error becomes an answer
            return await self._refuse(request, route, error, began)
        self._log(request, route, response.status, began)
        return response

    @contextmanager
    def _share_of(self, request: web.Request) -> Iterator[None]:
        """Count a request that runs; those passed on may be half of what there can be. Raises TooManyRequests."""
        caller, running = request.get(CALLER), self._traffic.requests
        whose, most = None, self._most_passed_on
        if caller is not None:
            whose, most = caller.workspace, self._config.connections.max_requests_per_workspace
        if running[whose] >= most:
            raise TooManyRequests(f"{most} requests are running already; try again when some have ended.")
        running[whose] += 1
        try:
            yield
        finally:
            running[whose] -= 1
            if not running[whose]:
                del running[whose]

    async def _admit(self, request: web.Request, route: Served) -> headers.RequestHeaders:
        """Name the request and its caller, return what it asks for. Raises GatewayError; only reads the second time."""
        if CALLER in request:
            return request[HEADERS]
        asked = request[HEADERS] = headers.read(request.headers)
        logs.TRACE_ID.set(asked.trace_id)
        said = told(request)
        if said is None:
            caller = await self._keys.authenticate(request.headers, request.remote)
        else:
            caller = self._keys.vouched(said, request.headers)
        if route.new_work and self._traffic.stopping:
            raise Unavailable("The gateway is stopping and takes no new work; nothing was done.")
        needed = route.method == hdrs.METH_POST and route.path.endswith(("/batches", "/batches/plan"))
        named = request.match_info.get(provider_paths.PROVIDER)
        placed = provider_paths.placed(asked, named, self._config, caller, needed=needed)
        if not route.new_work and "/models" not in route.path:
            litellm_words.require(
                placed, litellm_words.theirs(request.path, request.query), request.headers, self._config, caller
            )
        request[CALLER], request[HEADERS] = caller, placed
        return placed

    async def _refuse(
        self, request: web.Request, route: Served | None, error: Exception, began: float
    ) -> web.StreamResponse:
        response = _answer_to(error)
        self._log(request, route, response.status, began)
        if request.writer.output_size:  # half an answer is out: only a broken connection tells the client so
            if request.transport is not None:
                request.transport.abort()
        elif not request.content.is_eof():
            await _close_after(request, response)
        return response

    def _log(self, request: web.Request, route: Served | None, status: int, began: float) -> None:
        caller, seconds = request.get(CALLER), time.perf_counter() - began
        method = request.method if request.method in hdrs.METH_ALL else "other"
        path = "upstream" if route is None else route.path
        self._gateway.timings.requests.observe(seconds, method, path, f"{status // 100}xx")
        logs.event(
            LOG,
            "request",
            method=method,
            route=path,
            status=status,
            request_id=request_id(request),
            ms=round(seconds * 1000, 2),
            caller=None if caller is None else caller.name,
            workspace=None if caller is None else caller.workspace,
        )


def _is_nobodys(request: web.Request) -> bool:
    return is_nobodys(request.method, request.rel_url.raw_path)


async def _refuse_path(request: web.Request) -> web.StreamResponse:  # noqa: ARG001
    raise NotFound("This gateway has no such route.")


async def _go_on(request: web.Request) -> None:
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer itself has not begun


async def _check_expectation(request: web.Request, route: Served) -> None:
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    if route.precheck is not None:
        await route.precheck(request)


async def _close_after(request: web.Request, response: web.Response) -> None:
    """Answer although the body is still to come, end our side, read on for a while, and close.

    Closing at once would reset the connection under a client that is still sending, before it reads the answer.
    aiohttp would read on too, but for ten seconds even if the client has long gone, which holds up a stop.
    """
    response.force_close()
    if isinstance(request.protocol, Guarded):
        request.protocol.answered()
    with suppress(OSError, TimeoutError, web.RequestPayloadError, HttpProcessingError):
        await response.prepare(request)
        await response.write_eof()
        if request.transport is not None and request.transport.can_write_eof():
            request.transport.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            await _read_on(request)
    request.protocol.force_close()


async def _read_on(request: web.Request) -> None:
    """Read to the end; where aiohttp unpacks the body, a little of it only: the rest may be a bomb."""
    left = UNPACKED_BYTES if unpacked_by_server(request) else None
    while not request.content.is_eof():
        data = await request.content.readany()
        if left is not None and (left := left - len(data)) < 0:
            await asyncio.sleep(LINGER_SECONDS)  # nobody reads, so aiohttp stops receiving


def _answer_to(error: Exception) -> web.Response:
    if isinstance(error, GatewayError):
        return error_answer(error)
    if (found := _of_machine(error)) is not None:
        return error_answer(found)
    if isinstance(error, web.RequestPayloadError):
        return error_answer(BadRequest("The request body is damaged: it breaks its own transfer or content encoding."))
    if isinstance(error, web.HTTPException):
        return _http_answer(error)
    logs.event(LOG, "request_failed", level=logging.ERROR, error=error)
    return error_answer(GatewayError("The gateway met an internal error. It is logged under this answer's trace id."))


def _of_machine(error: Exception) -> GatewayError | None:
    """Return what to say where the gateway's disk, descriptors, database or store are the reason."""
    if isinstance(error, CommitInDoubt):
        return Unavailable(IN_DOUBT, code="storage_away", after=AWAY_SECONDS)
    if isinstance(error, DatabaseAway | StoreAway):
        what = "database" if isinstance(error, DatabaseAway) else "object store"
        message = f"The gateway cannot reach its {what} now; nothing was done. Try again in a moment."
        return Unavailable(message, code="storage_away", after=AWAY_SECONDS)
    if isinstance(error, RegistryFull) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return NoSpace("The disk of the gateway is full; nothing was kept.")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return Unavailable("The gateway has too many files open; try again in a moment.")
    return None


def _http_answer(error: web.HTTPException) -> web.Response:
    """Return an answer of aiohttp's own in OpenAI's shape; its text may repeat the request and is left out."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    message = (
        f"{error.reason}; there is {error.headers[hdrs.ALLOW]}." if hdrs.ALLOW in error.headers else f"{error.reason}."
    )
    envelope = {"message": message, "type": kind, "param": None, "code": None}
    allow = {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
    return json_answer({"error": envelope}, error.status, allow)
