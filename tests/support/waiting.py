"""Waiting in tests: for something to be seen, never for a time to pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE = 0.02  # seconds between looks


def until(seen: Callable[[], T], what: str = "", seconds: float = 60) -> T:
    """Return the first true value of `seen`. Fails after `seconds`, which no passing test ever needs."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, f"never seen: {what or seen}"
        time.sleep(PAUSE)
    return found


async def eventually(seen: Callable[[], T], what: str = "", seconds: float = 60) -> T:
    """Return the first true value of `seen`, while the event loop goes on. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, f"never seen: {what or seen}"
        await asyncio.sleep(PAUSE)
    return found
