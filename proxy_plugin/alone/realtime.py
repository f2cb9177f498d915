"""Websockets of the realtime API where no proxy stands behind: opened at the account that a call of chat would have.

Messages go both ways as they are, so this process passes them on, and not the one that makes calls. Source: "Realtime
API with WebSocket" (platform.openai.com, 2026-11-30); Azure's v1 API and xAI's have the same path.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from proxy_plugin.access.headers import RequestHeaders
from proxy_plugin.alone import refusals
from proxy_plugin.alone.bodies import call_of
from proxy_plugin.alone.called import CalledAccounts, Calling
from proxy_plugin.alone.calls import Calls, Ruled
from proxy_plugin.alone.order import ENDPOINTS, REALTIME, CalledAccount, CallTerms, News, Order
from proxy_plugin.config import Config
from proxy_plugin.ground.errors import BadRequest, GatewayError
from proxy_plugin.lines.ways import DIRECT
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.direct.base import Lost, NotSent, Outgoing, Reply, Sockets
from proxy_plugin.routing.route import Route
from proxy_plugin.web.keys import HEADERS
from proxy_plugin.web.websockets import handshake, joined

_CHAT = ENDPOINTS[0]  # whose rules say where a model is
_CARRIED = ("OpenAI-Beta", "OpenAI-Safety-Identifier")  # of the client's headers: what the provider reads

Known = tuple[Config, Mapping[str, CalledAccount], Outgoing]
Brought = Mapping[str, CalledAccount]
WayOf = Callable[[web.Request], Awaitable[tuple[str, Route, Brought]]]  # rules, route, accounts that came along


class SocketRefused(GatewayError):
    """The provider does not open this websocket, for the reason that its status says."""

    status: ClassVar[int] = 502
    default_code: ClassVar[str | None] = "provider_refused"

    def __init__(self, status: int) -> None:
        super().__init__(f"The provider refused the websocket with HTTP {status}.")
        if status >= web.HTTPBadRequest.status_code:
            self.status = status  # type: ignore[misc]
        if status < web.HTTPInternalServerError.status_code:
            self.type = BadRequest.type  # type: ignore[misc]


class Realtime:
    """The websockets of one gateway. `known` has the operator's accounts, `way_of` says where a request may go."""

    def __init__(self, known: Callable[[], Known], way_of: WayOf, terms: CallTerms) -> None:
        self._known, self._way_of, self._terms = known, way_of, terms
        self._accounts = CalledAccounts()
        self._calls = Calls(self._accounts, terms)  # for what its rules count
        self._learnt: Config | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Open the websocket at its provider, then the client's, and pass messages until one side ends."""
        model = request.query.get("model", "")
        if not model:
            raise BadRequest(refusals.NO_MODEL, param="model", code="missing_required_parameter")
        rules, route, brought = await self._way_of(request)
        await self._learn(brought)
        asked: RequestHeaders = request[HEADERS]
        order = Order(_CHAT, rules, asked.trace_id, 0, metadata=route.rules.metadata if route.rules else {})
        slug, at_provider = _chosen(self._calls.rules(order), order, model)
        places = (route.places or {}).get(slug, {})
        async with (
            self._accounts.calling(slug, route.forward or {}, places) as held,
            await self._opened(held, at_provider, request) as behind,
        ):
            return await joined(request, behind)

    async def close(self) -> None:
        """Close all connections."""
        await self._accounts.close()

    async def _learn(self, brought: Brought) -> None:
        config, accounts, outgoing = self._known()
        if self._learnt is not config:
            await self._accounts.learn(News(0, accounts, outgoing, whole=True))
            self._learnt = config
        if brought:
            await self._accounts.learn(News(0, brought, outgoing))

    async def _opened(self, held: Calling, model: str, request: web.Request) -> aiohttp.ClientWebSocketResponse[bool]:
        if not isinstance(held.caller, Sockets):
            raise refusals.of_rejection(_unable("The account of this model"))
        _, protocols = handshake(CIMultiDict(request.headers))
        carried = {name: request.headers[name] for name in _CARRIED if name in request.headers}
        told = {**request.query, "model": model}
        try:
            opened = await held.caller.socket(REALTIME, told, carried, protocols, self._terms.timeout)
        except (NotSent, Lost) as failure:
            raise refusals.of_failure(failure, None) from None
        if isinstance(opened, Reply):
            raise SocketRefused(opened.status)
        return opened


def _chosen(ruled: Ruled, order: Order, model: str) -> tuple[str, str]:
    """Return the account of a model and its name there. Raises BadRequest."""
    call = call_of(_CHAT, json.dumps({"model": model}).encode())
    try:
        choice = ruled.choice(ruled.lanes.chooser.choose, order, call)
        spec = ruled.lanes.lane(choice, _CHAT).spec
        if spec.way != DIRECT or catalog.way_of_calls(spec.provider) != "own":
            raise _unable(spec.provider)
    except LineRejected as refusal:
        raise refusals.of_rejection(refusal) from None
    return spec.slug, choice.model


def _unable(who: str) -> LineRejected:
    message = f"{who} has no realtime API that this gateway can open; name a model of another account."
    return LineRejected(message, code="no_direct_way", param="model")
