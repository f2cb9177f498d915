"""Waiting in tests: for something to be seen, never for a time to pass. Standard library only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE = 0.02  # seconds between looks
Told = str | Callable[[], object]  # what was waited for, or what to say of it when it did not come


def until(seen: Callable[[], T | None], what: Told = "", seconds: float = 60) -> T:
    """Return the first true value of `seen`. Fails after `seconds`, which no passing test ever needs."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, _never(seen, what)
        time.sleep(PAUSE)
    return found


async def eventually(seen: Callable[[], T | None], what: Told = "", seconds: float = 60) -> T:
    """Return the first true value of `seen`, while the event loop goes on. Fails after `seconds`."""

    async def look() -> T | None:
        return seen()

    return await answered(look, what or str(seen), seconds)


async def answered(asked: Callable[[], Awaitable[T | None]], what: Told = "", seconds: float = 60) -> T:
    """Return the first true value of the coroutine function `asked`. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := await asked()):
        assert time.monotonic() < deadline, _never(asked, what)
        await asyncio.sleep(PAUSE)
    return found


def _never(seen: object, what: Told) -> str:
    return f"never seen: {what() if callable(what) else what or seen}"
