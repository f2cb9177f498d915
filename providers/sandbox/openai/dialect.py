"""The OpenAI dialect: Files and Batches under /NAME/v1, for OpenAI or for whoever copies its API.

Written from the published OpenAPI description (openai/openai-openapi, 2026-08-21) and the project's reference page,
never from what an adapter of ours sends.
"""

import asyncio
import json
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Prepare, Route, Services
from proxy_plugin.providers.sandbox.openai.batch import read_order
from proxy_plugin.providers.sandbox.openai.batches import Batches
from proxy_plugin.providers.sandbox.openai.calls import Calls
from proxy_plugin.providers.sandbox.openai.checks import error_reply, refused
from proxy_plugin.providers.sandbox.openai.differences import Differences, admitted, complaint
from proxy_plugin.providers.sandbox.openai.files import DEFAULT_BATCH_EXPIRY, File, Files
from proxy_plugin.providers.sandbox.openai.options import Settings
from proxy_plugin.providers.sandbox.replies import Refused, Reply
from proxy_plugin.providers.sandbox.strangers import crowded, seconds_of


class OpenAI:
    """See `dialect.Dialect`."""

    credentials = frozenset({"authorization"})

    def __init__(self, services: Services, options: Mapping[str, Any]) -> None:
        self._services, self._settings = services, Settings(options)
        self.name, self.prefix = services.name, f"/{services.name}/{self._differs.base}"
        self._files = Files(services, self._settings)
        self._batches = Batches(services, self._settings, self._files)
        self._calls = Calls(services, self._settings)
        jobs = crowded(self._batches.routes(), self._crowd)
        routes = [*self._files.routes(), *jobs, *self._calls.routes()]
        self.routes: list[Route] = [replace(route, prepare=self._differing(route.prepare)) for route in routes]

    @property
    def _differs(self) -> Differences:
        return self._settings.current.differs

    def _differing(self, prepare: Prepare) -> Prepare:
        """The same route, with what the vendor wants of every call and in its shape of errors."""

        async def prepare_differing(request: web.Request, account: str) -> Act:
            try:
                act = await prepare(admitted(request, self._differs), account)
            except Refused as wrong:
                raise Refused(complaint(wrong.reply, self._differs)) from None

            async def act_differing() -> Reply:
                try:
                    return await act()
                except Refused as wrong:
                    return complaint(wrong.reply, self._differs)

            return act_differing

        return prepare_differing

    def account(self, request: web.Request) -> str | None:
        if "authorization" not in request.headers and request.path.startswith(f"{self.prefix}/signed/"):
            return self._files.signed_for(request.match_info["file_id"])
        if request.path.startswith(f"{self.prefix}/signed/"):
            return None
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return self._services.accounts.of(key) if scheme == "Bearer" else None

    def admit(self, request: web.Request) -> str:
        if (account := self.account(request)) is not None:
            return account
        if request.path.startswith(f"{self.prefix}/signed/"):
            raise refused(400, "A signed address takes no other proof of who asks.")
        if self._differs.plain_401:
            raise Refused(Reply(401, b"Unauthorized", {"content-type": "text/plain"}))
        if not request.headers.get("authorization", "").startswith("Bearer "):
            message = "You didn't provide an API key. Provide it in an Authorization header using Bearer auth."
            raise refused(401, message)
        raise refused(401, "Incorrect API key provided.", "invalid_api_key")

    def refusal(self, status: int, message: str, code: str | None) -> Reply:
        return complaint(error_reply(status, message, code), self._differs)

    def headers(self) -> dict[str, str]:
        return {"x-request-id": f"req_{secrets.token_hex(16)}"}

    def not_found(self, request: web.Request) -> Reply:
        path = request.path.removeprefix(f"/{self.name}")
        return error_reply(404, f"Invalid URL ({request.method} {path})")

    def jobs(self) -> list[dict[str, Any]]:
        return self._batches.jobs()

    def options(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return self._settings.change(changes)

    def reset(self) -> None:
        self._files.reset()
        self._batches.reset()
        self._calls.reset()
        self._settings.reset()
        for path in (self._services.directory / "files").iterdir():
            path.unlink(missing_ok=True)
        shutil.rmtree(self._services.directory / "batches", ignore_errors=True)

    async def strangers(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """`wish`: account, batches (1), lines of each (1), endpoint, model, metadata of each batch, run_seconds.

        Those that run 0 seconds have ended at the return.
        """
        names = {"account", "batches", "lines", "endpoint", "model", "metadata", "run_seconds"}
        account, seconds = wish.get("account"), seconds_of(wish)
        if set(wish) - names or not isinstance(account, str):
            raise ValueError(f"strangers need an account and know {', '.join(sorted(names))}")
        made: dict[str, Any] = {"files": [], "batches": []}
        for _ in range(int(wish.get("batches", 1))):
            file = await self._strangers_file(account, wish)
            endpoint = next(iter(self._differs.endpoints), "/v1/chat/completions")
            body = {"endpoint": endpoint, "completion_window": "24h", "input_file_id": file.id}
            body |= {name: wish[name] for name in ("endpoint", "metadata") if name in wish}
            try:
                order = read_order(body, self._differs)
            except Refused as wrong:
                raise ValueError(wrong.reply.body.decode()) from None
            made["files"].append(file.id)
            batch_id, life = self._batches.start_strangers(account, order, seconds)
            if seconds == 0:
                await life
            made["batches"].append(batch_id)
        return made

    async def _crowd(self, account: str) -> None:
        crowd = self._settings.current.strangers_on_list
        for wish in crowd.wishes(account) if crowd else ():
            await self.strangers(wish)

    async def _strangers_file(self, account: str, wish: Mapping[str, Any]) -> File:
        path, now, count = self._files.new_path(), self._services.clock.now(), int(wish.get("lines", 1))
        url = wish.get("endpoint", next(iter(self._differs.endpoints), "/v1/chat/completions"))
        model = wish.get("model", "gpt-4.1-nano")
        lines = (_strangers_line(url, model) for _ in range(count))
        size = await asyncio.to_thread(_write_lines, path, lines)
        expires = now + DEFAULT_BATCH_EXPIRY
        return self._files.add(File(path.name, account, "stranger.jsonl", "batch", size, now, expires, path, count))


def _strangers_line(url: str, model: str) -> str:
    said = f"stranger {secrets.token_hex(4)}"
    body = {"model": model, "messages": [{"role": "user", "content": said}], "input": said, "prompt": said}
    return json.dumps({"custom_id": secrets.token_hex(9), "method": "POST", "url": url, "body": body})


def _write_lines(path: Path, lines: Iterable[str]) -> int:
    return path.write_text("".join(f"{line}\n" for line in lines))
