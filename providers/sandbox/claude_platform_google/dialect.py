"""Claude on Google Cloud: Anthropic's dialect below project and workspace, behind a bearer token.

Source: project's reference page "new lanes", section 1. A key of the sandbox is taken as a token, too. Not in any
document, so a guess: the words of what Google refuses.
"""

from dataclasses import replace

from aiohttp import web

from proxy_plugin.providers.sandbox.anthropic.batches import Batches
from proxy_plugin.providers.sandbox.anthropic.dialect import Anthropic
from proxy_plugin.providers.sandbox.anthropic.errors import check_version, refused
from proxy_plugin.providers.sandbox.anthropic.options import Options
from proxy_plugin.providers.sandbox.claude_platform_google.stand_in import BASE
from proxy_plugin.providers.sandbox.dialect import Route
from proxy_plugin.providers.sandbox.identity.google import GoogleDesk
from proxy_plugin.providers.sandbox.tokens import TokenDesk


class GoogleOptions(Options, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Those of Anthropic, and of the token endpoint."""

    token_seconds: float = 3600.0


class ClaudeOnGoogle(Anthropic):
    """See `dialect.Dialect`."""

    credentials = frozenset({"authorization"})
    defaults = GoogleOptions()

    def account(self, request: web.Request) -> str | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        own = self._services.accounts.of(token) if scheme == "Bearer" else None
        return own or self._desk.of_bearer(request)

    def admit(self, request: web.Request) -> str:
        if self._desk.serves(request, self.prefix) or self._others.serves(request, self.prefix):
            return ""
        if (account := self.account(request)) is None:
            raise refused(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")
        check_version(request)
        return account

    def reset(self) -> None:
        super().reset()
        self._desk.reset()

    def _made(self) -> Batches:
        self.prefix = f"/{self.name}"
        self._desk = TokenDesk(self._services, self._token_seconds)
        self._others = GoogleDesk(self._services, self._desk)
        return Batches(self._services, self._settings, f"{self.prefix}/{BASE}")

    def _routes(self) -> list[Route]:
        below = [replace(route, path=f"/{BASE}{route.path}") for route in self._batches.routes()]
        return [*self._desk.google(), *self._others.routes(), *below]

    def _token_seconds(self) -> float:
        options = self._settings.current
        return options.token_seconds if isinstance(options, GoogleOptions) else 0.0
