"""What dialects share whose jobs read a document that was uploaded, and whose key is a bearer token.

A dialect adds its routes, the shapes of what they answer, and `finish`, which writes the results of a job.
"""

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Route, Services
from proxy_plugin.providers.sandbox.replies import Refused, Reply, json_reply
from proxy_plugin.providers.sandbox.settings import Settings
from proxy_plugin.providers.sandbox.strangers import crowded, seconds_of
from proxy_plugin.providers.sandbox.uploads.blobs import Blob, Blobs
from proxy_plugin.providers.sandbox.uploads.lines import Answer
from proxy_plugin.providers.sandbox.uploads.lives import Job, Lives, Options

WISHES = frozenset({"account", "batches", "lines", "endpoint", "model", "metadata", "run_seconds"})


class Uploaded(ABC):
    """See `dialect.Dialect`."""

    credentials = frozenset({"authorization"})
    errors_paid = True
    model_in_lines = True

    def __init__(self, services: Services, options: Mapping[str, Any]) -> None:
        self.name, self.prefix = services.name, self.prefix_of(services)
        self._services, self._settings = services, Settings(Options(), options)
        self.blobs = Blobs(services, self.complain, self.prefix)
        self._build()
        self.routes: Sequence[Route] = [*crowded(self.own_routes(), self._crowd), *self.blobs.routes()]

    def _build(self) -> None:
        self.lives = Lives(
            self._services, self._settings, check=self.checker(), finish=self.finish, errors_paid=self.errors_paid
        )

    def prefix_of(self, services: Services) -> str:
        return services.prefix

    @abstractmethod
    def own_routes(self) -> Sequence[Route]: ...

    @abstractmethod
    def checker(self) -> Any:
        """A function of a module that looks at a whole line, see `lines.Task`."""

    @abstractmethod
    async def finish(self, job: Job, moment: float) -> None:
        """Write the results of a job whose last line has run."""

    @abstractmethod
    def order(self, blob: Blob, model: str, endpoint: str) -> dict[str, Any]:
        """The create request of a stranger."""

    @abstractmethod
    def refusal(self, status: int, message: str, code: str | None) -> Reply: ...

    def new_id(self) -> str:
        return secrets.token_hex(16)

    def complain(self, status: int, message: str) -> Refused:
        return Refused(self.refusal(status, message, None))

    def account(self, request: web.Request) -> str | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return self._services.accounts.of(key) if scheme == "Bearer" else None

    def admit(self, request: web.Request) -> str:
        account = self.blobs.bearer(request) or self.account(request)
        if account is None:
            raise self.complain(401, "Invalid API key provided.")
        return account

    def headers(self) -> dict[str, str]:
        return {"x-request-id": secrets.token_hex(12)}

    def not_found(self, request: web.Request) -> Reply:
        return self.refusal(404, f"no route {request.method} {request.path}", None)

    def jobs(self) -> list[dict[str, Any]]:
        return self.lives.facts()

    def options(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return self._settings.change(changes)

    def reset(self) -> None:
        self._settings.reset()
        self.blobs.reset()
        self._build()

    def known(self, request: web.Request, *names: str) -> None:
        """Refuse query parameters that the API does not have."""
        if wrong := [name for name in request.query if name not in names]:
            raise self.complain(400, f"unknown query parameter {wrong[0]}")

    async def strangers(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """`wish`: `WISHES`; metadata is for others. Those that run 0 seconds have ended at the return."""
        account, seconds, made = wish.get("account"), seconds_of(wish), list[str]()
        if set(wish) - WISHES or not isinstance(account, str):
            raise ValueError(f"strangers need an account and know {', '.join(sorted(WISHES))}")
        for _ in range(int(wish.get("batches", 1))):
            model, endpoint = str(wish.get("model", "strange")), str(wish.get("endpoint", "/v1/chat/completions"))
            blob = self.blobs.new(account, "stranger.jsonl", kind="stranger")
            await self.blobs.fill(blob, _lines(int(wish.get("lines", 1)), model if self.model_in_lines else None))
            job = self.lives.new(self.new_id(), account, self.order(blob, model, endpoint), blob)
            job.stranger = True
            life = self.lives.start(job, seconds)
            if seconds == 0:
                await life
            made.append(job.id)
        return {"batches": made}

    async def _crowd(self, account: str) -> None:
        crowd = self._settings.current.strangers_on_list
        for wish in crowd.wishes(account) if crowd else ():
            await self.strangers(wish)


def acting(reply: Reply) -> Act:
    """The act that has nothing to do but to answer."""

    async def act() -> Reply:
        return reply

    return act


def shown(value: Any, status: int = 200, subject: str | None = None) -> Act:
    return acting(json_reply(value, status, subject=subject))


def rows_of(answers: Sequence[Answer], row: Any) -> bytes:
    """The rows of these answers, as often as each is to be there. `row` makes one: custom_id, answer."""
    rows = [row(each.custom_id, each) for each in answers for _ in range(min(each.rows, 1))]
    rows += [row(each.foreign, each) for each in answers if each.foreign]
    return b"".join([*rows, *(row(each.custom_id, each) for each in answers if each.rows > 1)])


async def _lines(count: int, model: str | None) -> AsyncIterator[bytes]:
    for _ in range(count):
        said = f"stranger {secrets.token_hex(4)}"
        body = {"messages": [{"role": "user", "content": said}]} | ({"model": model} if model else {})
        yield json.dumps({"custom_id": secrets.token_hex(9), "body": body}).encode() + b"\n"
