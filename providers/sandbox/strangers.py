"""Strangers who use the account just while somebody looks: `strangers_on_list` of every dialect's options."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import web

from proxy_plugin.providers.sandbox.dialect import Act, Prepare, Route

LIST = "batches.list"


class Crowd(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """So many batches of so many lines come before each answer. `run_seconds`: how long they run, in turn.

    One that runs 0 seconds has ended when the list is answered.
    """

    batches: int = 1
    lines: int = 1
    run_seconds: list[float] = msgspec.field(default_factory=lambda: [0.0])

    def wishes(self, account: str) -> list[dict[str, Any]]:
        """What `Dialect.strangers` is asked for, batch by batch."""
        wish, times = {"account": account, "lines": self.lines}, self.run_seconds
        return [{**wish, "run_seconds": times[number % len(times)]} for number in range(self.batches if times else 0)]


def crowded(routes: Sequence[Route], come: Callable[[str], Awaitable[None]]) -> list[Route]:
    """The same routes, but before each answer of the list of batches strangers `come` to the caller's account."""
    return [
        replace(route, prepare=_after(come, route.prepare)) if route.operation == LIST else route for route in routes
    ]


def _after(come: Callable[[str], Awaitable[None]], prepare: Prepare) -> Prepare:
    async def prepare_crowded(request: web.Request, account: str) -> Act:
        await come(account)
        return await prepare(request, account)

    return prepare_crowded


def seconds_of(wish: Mapping[str, Any]) -> float | None:
    """How long a stranger's batch is to run; None as long as any. Raises `ValueError`."""
    seconds = wish.get("run_seconds")
    if seconds is not None and (not isinstance(seconds, int | float) or seconds < 0):
        raise ValueError("run_seconds must be a number, not below 0")
    return None if seconds is None else float(seconds)
