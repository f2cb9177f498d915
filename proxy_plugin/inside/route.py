"""A route in front of LiteLLM's table. It takes what is the gateway's; for everything else it is not there."""

from __future__ import annotations

from starlette.routing import BaseRoute, Match

from proxy_plugin.inside.callers import Ask, Head, Scope, head_for_gateway, nameless
from proxy_plugin.inside.facts import FactsReader
from proxy_plugin.inside.relay import Receive, Send, listening, refuse, relay
from proxy_plugin.inside.settings import InsideSettings, is_page

READS = {"GET", "HEAD"}  # are asked again when the gateway dies over them
STARTING = 503, "gateway_starting", "The batch gateway is not running yet; try again in a moment."
FAILED = 502, "gateway_failed", "The batch gateway ended before it answered; try again."


class GatewayRoute(BaseRoute):  # type: ignore[misc]  # starlette is in LiteLLM's environment
    """Matches by path and headers alone; `ask` says who calls."""

    def __init__(self, settings: InsideSettings, ask: Ask) -> None:
        self._settings, self._ask = settings, ask
        self._facts = FactsReader(settings.socket)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Tell whether this request is ours."""
        ours = scope["type"] == "http" and self._settings.takes(_path(scope), scope["headers"])
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who calls, before a byte of the body is read, and pass the request on."""
        for last in (False, True):
            if not await listening(self._settings.socket):
                await refuse(send, *STARTING)
                return
            head = await self._head(scope)
            if await relay(scope, receive, send, head, self._settings.socket):
                return
            if last or scope["method"] not in READS:
                await refuse(send, *FAILED)
                return

    async def _head(self, scope: Scope) -> Head:
        """Return the headers for the gateway: with who calls, but for a page, which nobody is asked for."""
        if is_page(_path(scope)):
            return nameless(scope)
        return await head_for_gateway(scope, self._facts.now(), self._ask)


def _path(scope: Scope) -> str:
    """Return the path below the root that LiteLLM is mounted under."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(root + "/") else path
