"""The Anthropic dialect: Message Batches under /anthropic/v1, or under another name.

Written from the published documentation (Claude Platform, 2026-09-26), the types of the official SDK (2.11) and the
project's reference page, never from what an adapter of ours sends.
"""

import asyncio
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.anthropic.batches import Batches, new_id
from proxy_plugin.providers.sandbox.anthropic.errors import check_version, error_reply, new_request_id, refused
from proxy_plugin.providers.sandbox.anthropic.lines import body_path
from proxy_plugin.providers.sandbox.anthropic.options import Options, Settings
from proxy_plugin.providers.sandbox.dialect import Route, Services
from proxy_plugin.providers.sandbox.replies import Refused, Reply
from proxy_plugin.providers.sandbox.strangers import crowded, seconds_of


class Anthropic:
    """See `dialect.Dialect`."""

    credentials = frozenset({"x-api-key", "authorization"})
    defaults = Options()

    def __init__(self, services: Services, options: Mapping[str, Any]) -> None:
        self.name, self.prefix = services.name, services.prefix
        self._services, self._settings = services, Settings(self.defaults, options)
        self._batches = self._made()
        self.routes = crowded(self._routes(), self._crowd)

    def _made(self) -> Batches:
        return Batches(self._services, self._settings, self.prefix)

    def _routes(self) -> list[Route]:
        return self._batches.routes()

    def account(self, request: web.Request) -> str | None:
        if (key := request.headers.get("x-api-key")) is not None:
            return self._services.accounts.of(key)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._services.accounts.of(token) if scheme == "Bearer" else None

    def admit(self, request: web.Request) -> str:
        if (account := self.account(request)) is None:
            given = self.credentials & {name.lower() for name in request.headers}
            raise refused(401, "invalid x-api-key" if given else "x-api-key header is required")
        check_version(request)
        return account

    def refusal(self, status: int, message: str, code: str | None) -> Reply:
        return error_reply(status, message, code)

    def headers(self) -> dict[str, str]:
        return {"request-id": new_request_id(), "anthropic-organization-id": "00000000-0000-4000-8000-000000000000"}

    def not_found(self, _: web.Request) -> Reply:
        return error_reply(404, "Not found")

    def jobs(self) -> list[dict[str, Any]]:
        return self._batches.jobs()

    def options(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return self._settings.change(changes)

    def reset(self) -> None:
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
            batch_id = new_id()
            folder = self._batches.new_folder(batch_id)
            lines, model = int(wish.get("lines", 1)), str(wish.get("model", "claude-haiku-4-5"))
            await asyncio.to_thread(_write_body, body_path(folder), lines, model)
            try:
                life = self._batches.start_strangers(
                    batch_id, account, await self._batches.examine(folder), folder, seconds
                )
            except Refused as wrong:
                shutil.rmtree(folder, ignore_errors=True)
                raise ValueError(wrong.reply.body.decode()) from None
            if seconds == 0:
                await life
            made.append(batch_id)
        return {"batches": made}

    async def _crowd(self, account: str) -> None:
        crowd = self._settings.current.strangers_on_list
        for wish in crowd.wishes(account) if crowd else ():
            await self.strangers(wish)


def _write_body(path: Path, count: int, model: str) -> None:
    with path.open("w") as body:
        body.write('{"requests":[')
        for number in range(count):
            body.write("," * (number > 0) + json.dumps(_strangers_request(model)))
        body.write("]}")


def _strangers_request(model: str) -> dict[str, Any]:
    said = f"stranger {secrets.token_hex(4)}"
    params = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": said}]}
    return {"custom_id": secrets.token_hex(9), "params": params}
