"""Calls that this gateway answers itself: who calls, where it may go, there and back.

All of them where there is no upstream; in front of one those whose headers name an account of ours.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import aiohttp
import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET
from multidict import CIMultiDictProxy, MultiMapping

from proxy_plugin.access.brought import Brought
from proxy_plugin.access.callers import API_KEY, Caller
from proxy_plugin.access.forwarding import FORWARD
from proxy_plugin.access.headers import (
    CONFIG,
    PREFIX,
    PROVIDER,
    TIMEOUT,
    TRACE_ID,
    VIRTUAL_KEY,
    RequestHeaders,
    slug_in,
)
from proxy_plugin.access.kept_answers import looking
from proxy_plugin.access.outgoing import outgoing_of
from proxy_plugin.access.resolve import resolve
from proxy_plugin.alone.order import ENDPOINTS, PATH, REALTIME, CalledAccount, CallTerms, Order, framed
from proxy_plugin.alone.process import CallingProcess
from proxy_plugin.config import Config, VirtualKey
from proxy_plugin.config.model_list import unplaced
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import GatewayError
from proxy_plugin.providers.direct.base import Outgoing
from proxy_plugin.routing.route import Route, decode_route, encode_route
from proxy_plugin.web.content_encoding import Read, unpacking
from proxy_plugin.web.keys import CALLER, HEADERS
from proxy_plugin.web.pace import pace_of
from proxy_plugin.web.passthrough import relayed
from proxy_plugin.web.served import Served
from proxy_plugin.web.websockets import is_asked

if TYPE_CHECKING:
    from proxy_plugin.alone.realtime import Realtime

LOG = logging.getLogger("proxy_plugin.alone")
MOST_RESOLVED = 256  # requests of the same caller and headers whose way is remembered
_OF_ONE_REQUEST = frozenset({TRACE_ID, TIMEOUT, API_KEY})
_URL = f"http://calls{PATH}"
_NAMES_PROVIDER = (PROVIDER, CONFIG)


class CallsFailed(GatewayError):
    """The process that makes the calls has died under this one."""

    status: ClassVar[int] = 502
    default_code: ClassVar[str | None] = "provider_outcome_unknown"


class Way(NamedTuple):
    """Where a call goes. `rules` is the route without what is this request's own."""

    route: Route
    rules: str
    brought: Brought | None


class Alone:
    """The calls of one gateway. Nothing is started before the first of them."""

    def __init__(self, gateway: Gateway) -> None:
        settings = gateway.config.alone
        self._gateway = gateway
        self._terms = CallTerms(settings.timeout_seconds, settings.max_body_bytes)
        self._processes = [CallingProcess(self._terms) for _ in range(settings.workers)]
        self._served = {
            path: Served(hdrs.METH_POST, path, partial(self._answer, endpoint), new_work=True)
            for endpoint in ENDPOINTS
            for path in (endpoint, endpoint.removeprefix("/v1"), f"/openai{endpoint}")
        }
        self._served |= {
            path: Served(hdrs.METH_GET, path, self._talk, new_work=True)
            for path in (REALTIME, REALTIME.removeprefix("/v1"), f"/openai{REALTIME}")
        }
        self._realtime: Realtime | None = None
        self._ways: OrderedDict[Hashable, Way] = OrderedDict()
        self._accounts: tuple[Config, dict[str, CalledAccount], Outgoing] | None = None

    def served(self, request: web.Request) -> Served | None:
        """Return the route of a request that may be answered here, None for any other."""
        found = self._served.get(request.path)
        if found is None or found.method != request.method:
            return None
        if found.method == hdrs.METH_GET and not is_asked(request):
            return None
        config, headers = self._gateway.config, request.headers
        if config.server.upstream is not None:
            return found if names_ours(config, headers) else None
        return found if config.virtual_keys or any(name in headers for name in _NAMES_PROVIDER) else None

    async def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            await process.close()
        if self._realtime is not None:
            await self._realtime.close()

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        if self._realtime is None:
            from proxy_plugin.alone.realtime import Realtime  # noqa: PLC0415 - what chooses an account has 3 MB

            self._realtime = Realtime(self._known, self._way_of, self._terms)
        return await self._realtime.answer(request)

    async def _way_of(self, request: web.Request) -> tuple[str, Route, dict[str, CalledAccount]]:
        way = await self._way(request[CALLER], request[HEADERS], request.headers)
        return way.rules, way.route, _brought(way.brought)

    async def _answer(self, endpoint: str, request: web.Request) -> web.StreamResponse:
        gateway, caller, asked = self._gateway, request[CALLER], request[HEADERS]
        way = await self._way(caller, asked, request.headers)
        read = unpacking(request, partial(pace_of(request).read, request.content.readany), gateway.blobs.write)
        process = min(self._processes, key=lambda each: each.calls)
        process.calls += 1
        try:
            order = partial(self._order, endpoint, asked, caller, way)
            return await relayed(request, self._posted(process, way, order, read), _failed)
        finally:
            process.calls -= 1

    async def _posted(
        self, process: CallingProcess, way: Way, order: Callable[[int], bytes], read: Read
    ) -> aiohttp.ClientResponse:
        """Return what the process answers; one that does not listen is started again, once: it has got nothing."""
        for last in (False, True):
            session, number = await process.told(*self._known(), _brought(way.brought))
            try:
                return await session.post(_URL, data=_body(order(number), read), headers={hdrs.CONTENT_TYPE: "*/*"})
            except (aiohttp.ClientError, OSError) as error:
                if not isinstance(error.__cause__, GatewayError):
                    await process.failed(session)
                if last or not isinstance(error, aiohttp.ClientConnectorError):
                    raise
        raise AssertionError("unreachable")

    async def _way(self, caller: Caller, asked: RequestHeaders, sent: CIMultiDictProxy[str]) -> Way:
        """Return where a call goes; what the same headers came to is remembered until the configuration changes."""
        config = self._gateway.config
        caller = _who_calls(config, caller)
        said = ((name.lower(), text) for name, text in sent.items() if name.lower().startswith(PREFIX))
        who = (id(config), caller.workspace, caller.virtual_keys, caller.models, caller.default)
        key = (*who, *sorted(each for each in said if each[0] not in _OF_ONE_REQUEST))
        alike = FORWARD not in sent and not asked.has_large_config
        if alike and key in self._ways:
            self._ways.move_to_end(key)
            return self._ways[key]
        resolved = await resolve(config, self._gateway.own_keys, asked, caller, sent, live=True)
        await self._gateway.patterns.check(caller.workspace, resolved.patterns)
        route = decode_route(resolved.route)
        way = Way(route, encode_route(_of_all(route)), resolved.brought)
        if alike and resolved.brought is None:
            self._ways[key] = way
            if len(self._ways) > MOST_RESOLVED:
                self._ways.popitem(last=False)
        return way

    def _known(self) -> tuple[Config, dict[str, CalledAccount], Outgoing]:
        config = self._gateway.config
        if self._accounts is None or self._accounts[0] is not config:
            self._ways.clear()
            accounts = {slug: _called(key) for slug, key in config.virtual_keys.items()}
            self._accounts = config, accounts, outgoing_of(config, {}, config.alone.concurrency)
        return self._accounts

    def _order(self, endpoint: str, asked: RequestHeaders, caller: Caller, way: Way, number: int) -> bytes:
        gateway, route = self._gateway, way.route
        order = Order(
            endpoint,
            way.rules,
            asked.trace_id,
            number,
            metadata=route.rules.metadata if route.rules else {},
            forward=route.forward or {},
            places=route.places or {},
            looking=looking(gateway.config, gateway.secret, route, caller.workspace, gateway.clock.now()),
        )
        return framed(order)


def names_ours(config: Config, headers: MultiMapping[str]) -> bool:
    """Tell whether headers name a virtual key or a config of ours: in front, all others may be the upstream's own."""
    named = slug_in(headers.get(PROVIDER, "").strip()), headers.get(VIRTUAL_KEY, "").strip().removeprefix("@")
    if any(slug in config.virtual_keys for slug in named):
        return True
    said = headers.get(CONFIG, "").strip()
    if not said.startswith("{"):
        return said in config.configs
    return any(f'"{slug}"' in said or f'"@{slug}"' in said for slug in config.virtual_keys)


def _who_calls(config: Config, caller: Caller) -> Caller:
    """Return a caller without the account that LiteLLM takes for files and batches alone: its calls name a model."""
    if not config.models or caller.identity is None or caller.default != unplaced(config.virtual_keys):
        return caller
    return replace(caller, default=None)


def _of_all(route: Route) -> Route:
    """Return a route without what one request says of its own."""
    rules = msgspec.structs.replace(route.rules, metadata={}) if route.rules else route.rules
    return msgspec.structs.replace(route, rules=rules, forward=UNSET, places=UNSET, cache=UNSET, rescue=UNSET)


def _brought(brought: Brought | None) -> dict[str, CalledAccount]:
    return {} if brought is None else {brought.account.slug: _called(brought.account)}


def _called(key: VirtualKey) -> CalledAccount:
    return CalledAccount(key.provider, dict(key.credentials), key.mock_response)


async def _body(order: bytes, read: Read) -> AsyncIterator[bytes]:
    yield order
    while piece := await read():
        yield piece


def _failed(error: BaseException) -> GatewayError:
    logs.event(LOG, "call_interrupted", level=logging.WARNING, error=error)
    return CallsFailed(
        f"The process that makes the calls ended under this one ({type(error).__name__}). It may have been answered and"
        " paid for."
    )
