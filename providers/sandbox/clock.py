"""The stand-in's time: real monotonic time plus an offset that tests move forward."""

import asyncio
import time
from contextlib import suppress


class Clock:
    """Unix seconds that never run backwards; `advance` jumps, so that a 24 hour window takes no time in a test."""

    def __init__(self) -> None:
        self._origin = time.time() - time.monotonic()
        self._offset = 0.0
        self._jumped = asyncio.Event()

    def now(self) -> float:
        return self._origin + time.monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds
        self._wake()

    def reset(self) -> None:
        self._offset = 0.0
        self._wake()

    def _wake(self) -> None:
        self._jumped.set()
        self._jumped = asyncio.Event()

    async def until(self, moment: float, stop: asyncio.Event | None = None) -> None:
        """Return at `moment` (Unix seconds of this clock), or as soon as `stop` is set."""
        stop = stop or asyncio.Event()
        while not stop.is_set() and (left := moment - self.now()) > 0:
            await _first_of(self._jumped, stop, within=left)


async def _first_of(*events: asyncio.Event, within: float) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
