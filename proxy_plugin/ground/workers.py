"""Spawned worker processes for CPU work. Functions take paths and return small facts.

Spawned, never forked: a forked worker keeps the listening socket and a restart fails with EADDRINUSE. A worker leaves
within 0.1 s of the gateway's death (it watches its parent), and runs at a lower priority than the event loop. Pebble
is used because a crashed worker fails its one task there; `concurrent.futures` loses the whole pool.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

from proxy_plugin.ground.environment import forget_secrets

P = ParamSpec("P")
T = TypeVar("T")
TRIES = 3  # a task whose worker died is run again twice
NICENESS = 5


class WorkerDied(Exception):
    """The worker was killed or crashed in every try of this task."""


def default_count() -> int:
    """Return how many workers suit this machine: its cores, at most four."""
    return max(1, min(4, len(os.sched_getaffinity(0))))


def _enter() -> None:
    """Prepare a worker: lower priority, nothing that others can read, no secrets, gone when the gateway is."""
    os.umask(0o077)
    forget_secrets()
    with suppress(OSError):
        os.nice(NICENESS)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


class Workers:
    """A pool that starts on first use and leaves after `idle_seconds` without work."""

    def __init__(self, count: int | None = None, *, idle_seconds: float = 20.0) -> None:
        self.count = count or default_count()
        self._idle_seconds = idle_seconds
        self._pool: ProcessPool | None = None
        self._starting = asyncio.Lock()
        self._running = 0
        self._leave: asyncio.TimerHandle | None = None

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a module-level function in a worker. Raises what it raises, or WorkerDied after three dead workers."""
        self._enter_task()
        try:
            for _ in range(TRIES):
                with suppress(ProcessExpired):
                    pool = await self._living_pool()
                    future = pool.schedule(function, args=list(args), kwargs=dict(kwargs))
                    result: T = await asyncio.wrap_future(future)
                    return result
            raise WorkerDied(f"{function.__name__}: the worker died {TRIES} times")
        finally:
            self._leave_task()

    async def close(self) -> None:
        """Stop all workers; tasks that still run are killed."""
        if self._leave is not None:
            self._leave.cancel()
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(_stop, pool)

    async def _living_pool(self) -> ProcessPool:
        async with self._starting:
            if self._pool is None or not self._pool.active:
                self._pool = await asyncio.to_thread(_started, self.count)
            return self._pool

    def _enter_task(self) -> None:
        self._running += 1
        if self._leave is not None:
            self._leave.cancel()
            self._leave = None

    def _leave_task(self) -> None:
        self._running -= 1
        if not self._running:
            self._leave = asyncio.get_running_loop().call_later(self._idle_seconds, self._retire)

    def _retire(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            threading.Thread(target=_stop, args=(pool,), daemon=True).start()


def _started(count: int) -> ProcessPool:
    """Spawn a pool. On a thread: it takes 23 to 47 ms, which the event loop has not got."""
    pool = ProcessPool(max_workers=count, context=multiprocessing.get_context("spawn"), initializer=_enter)
    assert pool.active, "asking is what starts a pool"
    return pool


def _stop(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
