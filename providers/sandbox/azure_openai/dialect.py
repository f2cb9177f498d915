"""Azure OpenAI: OpenAI's dialect below /openai/v1, and below /openai with an api-version, for a key or a token.

Source: project's reference page of Azure OpenAI with its updates of 2026-11-29.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.azure_openai.stand_in import TRAITS
from proxy_plugin.providers.sandbox.dialect import Act, Prepare, Route, Services
from proxy_plugin.providers.sandbox.openai.checks import refused
from proxy_plugin.providers.sandbox.openai.dialect import OpenAI
from proxy_plugin.providers.sandbox.tokens import TokenDesk

_DATED = r"\d{4}-\d{2}-\d{2}(-preview)?"
TOKEN_SECONDS = 3600.0  # by the sandbox's clock


class AzureOpenAI(OpenAI):
    """See `dialect.Dialect`."""

    credentials = frozenset({"api-key", "authorization"})

    def __init__(self, services: Services, options: Mapping[str, Any]) -> None:
        super().__init__(services, {**TRAITS, **options})
        self.prefix = f"/{self.name}"
        self._desk = TokenDesk(services, lambda: TOKEN_SECONDS)
        classic = [_under("/openai", route, _DATED) for route in self.routes]
        v1 = [_under("/openai/v1", route, "(preview|latest)?") for route in self.routes]
        self.routes = [*self._desk.entra(), *classic, *v1]

    def account(self, request: web.Request) -> str | None:
        if (key := request.headers.get("api-key")) is not None:
            return self._services.accounts.of(key)
        return self._desk.of_bearer(request)

    def admit(self, request: web.Request) -> str:
        if self._desk.serves(request, self.prefix):
            return ""
        if (account := self.account(request)) is None:
            message = "Access denied due to invalid subscription key or wrong API endpoint."
            raise refused(401, message, "401")
        return account

    def reset(self) -> None:
        super().reset()
        self._desk.reset()


def _under(path: str, route: Route, version: str) -> Route:
    """The route below a path; `version` is what its `api-version` looks like."""
    return replace(route, path=path + route.path, prepare=_versioned(route.prepare, version))


def _versioned(prepare: Prepare, pattern: str) -> Prepare:
    async def prepare_versioned(request: web.Request, account: str) -> Act:
        if not re.fullmatch(pattern, request.query.get("api-version", "")):
            raise refused(404, "Resource not found", "404")
        return await prepare(request.clone(rel_url=request.rel_url.without_query_params("api-version")), account)

    return prepare_versioned
