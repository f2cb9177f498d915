"""The dialect of Google's Gemini API under /google, in its versions v1beta and v1.

Written from the project's reference page (with its updates of 2026-11-29) and the types of google-genai 3.6.1, never
from what an adapter of ours sends.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Services
from proxy_plugin.providers.sandbox.google.batches import Batches
from proxy_plugin.providers.sandbox.google.errors import error_reply, refused
from proxy_plugin.providers.sandbox.google.files import Files
from proxy_plugin.providers.sandbox.google.lines import Line
from proxy_plugin.providers.sandbox.google.options import Options, Settings
from proxy_plugin.providers.sandbox.replies import Reply
from proxy_plugin.providers.sandbox.strangers import crowded, seconds_of


class Google:
    """See `dialect.Dialect`."""

    credentials = frozenset({"x-goog-api-key"})

    def __init__(self, services: Services, options: Mapping[str, Any]) -> None:
        self.name, self.prefix = services.name, f"/{services.name}"
        self._services, self._settings = services, Settings(Options(), options)
        self._files = Files(services, self._settings)
        self._batches = Batches(services, self._settings, self._files)
        routes = [each for version in ("v1", "v1beta") for each in self._files.routes(version)]
        routes += [each for version in ("v1", "v1beta") for each in self._batches.routes(version)]
        self.routes = crowded(routes, self._crowd)

    def account(self, request: web.Request) -> str | None:
        """The address of an upload is its own credential: Google's SDK sends no key to it."""
        if "x-goog-api-key" in request.headers:
            return self._services.accounts.of(request.headers["x-goog-api-key"])
        return self._files.uploader(request)

    def admit(self, request: web.Request) -> str:
        if (account := self.account(request)) is not None:
            return account
        if "x-goog-api-key" not in request.headers:
            raise refused(403, "Method doesn't allow unregistered callers. Please use an API key.")
        raise refused(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")

    def refusal(self, status: int, message: str, code: str | None) -> Reply:
        return error_reply(status, message, code)

    def headers(self) -> dict[str, str]:
        return {"server-timing": "gfet4t7; dur=1"}

    def not_found(self, _: web.Request) -> Reply:
        return error_reply(404, "The requested URL was not found on this server.")

    def jobs(self) -> list[dict[str, Any]]:
        return self._batches.jobs()

    def options(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return self._settings.change(changes)

    def reset(self) -> None:
        self._files.reset()
        self._batches.reset()
        self._settings.reset()

    async def strangers(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """`wish`: account, batches (1), lines of each (1), model, run_seconds; those of 0 have ended at the return."""
        names = {"account", "batches", "lines", "model", "run_seconds"}
        account, seconds = wish.get("account"), seconds_of(wish)
        if set(wish) - names or not isinstance(account, str):
            raise ValueError(f"strangers need an account and know {', '.join(sorted(names))}")
        made = []
        for _ in range(int(wish.get("batches", 1))):
            said = {"request": {"contents": [{"role": "user", "parts": [{"text": "stranger"}]}]}}
            lines: list[Line] = [{"key": secrets.token_hex(9), **said} for _ in range(int(wish.get("lines", 1)))]
            model = str(wish.get("model", "gemini-2.5-flash"))
            batch = await self._batches.start(account, model, lines, f"job-{secrets.token_hex(4)}", embeds=False)
            self._batches.add_stranger(batch, seconds)
            made.append(batch.id)
        return {"batches": made}

    async def _crowd(self, account: str) -> None:
        crowd = self._settings.current.strangers_on_list
        for wish in crowd.wishes(account) if crowd else ():
            await self.strangers(wish)
