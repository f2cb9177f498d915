"""What a provider's dialect gives to the process that hosts it, and what it gets from there."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aiohttp import web

from proxy_plugin.providers.sandbox.clock import Clock
from proxy_plugin.providers.sandbox.records import AcceptedCreates, Accounts
from proxy_plugin.providers.sandbox.replies import Reply
from proxy_plugin.providers.sandbox.work import Work

# A request is served in two steps, so that faults fit between them: `Prepare` reads and checks it (raises `Refused`)
# and changes nothing; the `Act` it returns does the deed. A late accept runs the act when the client is long gone.
Act = Callable[[], Awaitable[Reply]]
Prepare = Callable[[web.Request, str], Awaitable[Act]]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is relative to the dialect's prefix; `operation` is the name that fault rules and logs use."""

    method: str
    path: str
    operation: str
    prepare: Prepare


@dataclass(frozen=True, slots=True)
class Services:
    """What the host lends to a dialect.

    `name` is the one under which it is served. `directory` is the dialect's own; `spawn` keeps a background task alive.
    """

    name: str
    clock: Clock
    work: Work
    accepted: AcceptedCreates
    accounts: Accounts
    directory: Path
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

    @property
    def prefix(self) -> str:
        """The path of the first version of an API."""
        return f"/{self.name}/v1"


class Dialect(Protocol):
    """One provider's wire protocol. `credentials` are the headers in which it expects its own key."""

    name: str
    prefix: str
    credentials: frozenset[str]
    routes: Sequence[Route]

    def account(self, request: web.Request) -> str | None:
        """The account of the request's key, None for none or an unknown one."""

    def admit(self, request: web.Request) -> str:
        """The account of the request's key. Raises `Refused`."""

    def refusal(self, status: int, message: str, code: str | None) -> Reply:
        """An error in the provider's own shape."""

    def headers(self) -> Mapping[str, str]:
        """Headers that every answer of the provider carries."""

    def not_found(self, request: web.Request) -> Reply:
        """The answer to a path that the provider does not have."""

    def jobs(self) -> list[dict[str, Any]]:
        """Facts about all batches: see `/_sandbox/jobs`."""

    def options(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change the named options and return all. Raises `ValueError` for unknown names and wrong types."""

    async def strangers(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Let somebody else use an account: see `/_sandbox/strangers`. Raises `ValueError`."""

    def reset(self) -> None:
        """Forget all files, batches and changed options."""


@runtime_checkable
class Stores(Protocol):
    """Dialects with a bucket in the account, whose objects stay until somebody takes them away."""

    def left(self) -> list[str]:
        """The names of all objects and unfinished uploads, but for those of strangers: see `/_sandbox/left`."""
