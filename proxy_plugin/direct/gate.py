"""Where every call waits for its turn, first come, first served, until the pace of its key lets it begin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf

from proxy_plugin.direct.pace import Counted, KeyPace


class Stopped(Exception):
    """No call begins any more."""


class Gate:
    """Turns the pace, which only knows times, into waiting."""

    def __init__(self, pace: KeyPace, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.pace, self._now = pace, monotonic
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self.stopped = asyncio.Event()
        self.until = inf  # of the same clock: no call begins behind it, whatever else was not seen yet

    def stop(self) -> None:
        """Let nobody in any more."""
        self.stopped.set()
        self._changed.set()

    @asynccontextmanager
    async def turn(self, tokens: int) -> AsyncIterator[Counted]:
        """Wait for a turn; the call runs inside. Raises Stopped."""
        async with self._turn:
            while (pause := self.pace.wait(self._now(), tokens)) > 0:
                await self._rest(pause)
            self._check()
            call = self.pace.begin(self._now(), tokens)
        try:
            yield call
        finally:
            self.pace.end(call, self._now())
            self._changed.set()

    async def sleep(self, seconds: float) -> None:
        """Rest between two calls of a line. Raises Stopped."""
        self._check()
        try:
            async with asyncio.timeout(seconds):
                await self.stopped.wait()
        except TimeoutError:
            return
        raise Stopped

    async def _rest(self, seconds: float) -> None:
        self._check()
        self._changed.clear()
        try:
            async with asyncio.timeout(None if seconds == inf else seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _check(self) -> None:
        if self.stopped.is_set() or self._now() > self.until:
            raise Stopped
