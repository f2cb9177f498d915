"""The patterns of a config that a request brings: compiled once in a worker before anything of them is stored.

RE2 holds the interpreter's lock while it compiles, up to 1 s for what a config may have: not even on a thread of this
process. One workspace has one compilation at a time, and what RE2 said of the last configs is remembered, good or bad.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from proxy_plugin.access.headers import CONFIG
from proxy_plugin.ground.errors import TooManyRequests, Unavailable
from proxy_plugin.ground.workers import OutOfBudget, Terms, WorkerDied, Workers
from proxy_plugin.routing.config_text import Invalid, Problem, unusable
from proxy_plugin.routing.patterns import Pattern, refusals

MAX_WAITING = 16  # requests of one workspace whose patterns are being compiled, or wait for it
COMPILE_SECONDS = 10.0  # of CPU, for the patterns of one config
_REMEMBERED = 1_024  # configs; 0.3 MB
_Refusals = tuple[tuple[int, str], ...]


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Patterns:
    """The patterns that requests bring to one gateway."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._turns: dict[str, _Turn] = {}
        self._known: OrderedDict[bytes, _Refusals] = OrderedDict()

    async def check(self, workspace: str, patterns: Sequence[Pattern]) -> None:
        """Return if RE2 takes the patterns of a config. Raises ConfigError that names those at fault by their paths.

        Raises TooManyRequests where too many requests of the workspace wait for this, and Unavailable.
        """
        if not patterns:
            return
        found = await self._refusals(workspace, [each.text for each in patterns])
        if found:
            raise unusable(Invalid([Problem(patterns[at].path, why) for at, why in found]), CONFIG)

    async def _refusals(self, workspace: str, texts: list[str]) -> _Refusals:
        key = hashlib.sha256(msgspec.json.encode(texts)).digest()
        if key not in self._known:
            async with self._turn(workspace):
                if key not in self._known:  # the request before this one may have brought the same
                    self._remember(key, await self._compiled(workspace, texts))
        self._known.move_to_end(key)
        return self._known[key]

    def _remember(self, key: bytes, found: _Refusals) -> None:
        self._known[key] = found
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _compiled(self, workspace: str, texts: list[str]) -> _Refusals:
        try:
            return await self._workers.run(Terms(workspace, COMPILE_SECONDS), refusals, texts)
        except (OutOfBudget, WorkerDied):
            raise Unavailable(
                "The patterns of the config could not be compiled: the process that did it died."
            ) from None

    @asynccontextmanager
    async def _turn(self, workspace: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(workspace, _Turn())
        if turn.waiting >= MAX_WAITING:
            raise TooManyRequests(
                f"{MAX_WAITING} requests of this workspace wait until the patterns of their configs are compiled; send"
                " this one again later, or ask the operator to save the config."
            )
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[workspace]
