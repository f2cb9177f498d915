"""Spawned worker processes for CPU work. Functions take paths and return small facts.

Spawned, never forked: a forked worker keeps the listening socket and a restart fails with EADDRINUSE. A worker leaves
within 0.1 s of the gateway's death (it watches its parent), and runs at a lower priority than the event loop. Pebble
is used because a crashed worker fails its one task there; `concurrent.futures` loses the whole pool.

No task is without bounds. It has so many seconds of CPU, which the kernel counts and ends it by, wherever it hangs;
and some times that of the clock, for one that waits. Workspaces take turns, and one alone never has all workers.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

from proxy_plugin.ground.environment import forget_secrets
from proxy_plugin.ground.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")
TRIES = 3  # a task whose worker died is run again twice
NICENESS = 5
PATIENCE = 8  # seconds of the clock for each of CPU: other tasks and a slow disk take the rest


class WorkerDied(Exception):
    """The worker was killed or crashed in every try of this task."""


class OutOfBudget(Exception):
    """The task has used up what it may; doing it again would use up as much."""


class Terms(NamedTuple):
    """Whose task it is, and how many seconds of CPU it may take."""

    workspace: str
    seconds: float


def default_count() -> int:
    """Return how many workers suit this machine: its cores, at most four."""
    return max(1, min(4, len(os.sched_getaffinity(0))))


def enter(leaving: Callable[[], None] | None = None) -> None:
    """Prepare a worker: lower priority, nothing that others can read, no secrets, gone when the gateway is.

    `leaving` is called then, on a thread.
    """
    os.umask(0o077)
    forget_secrets()
    with suppress(OSError):
        os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, args=(leaving,), daemon=True).start()


def _leave_with_parent(leaving: Callable[[], None] | None) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    if leaving is not None:
        leaving()
    os._exit(1)


def _bounded(seconds: float, function: Callable[..., T], args: Sequence[Any], kwargs: Mapping[str, Any]) -> T:
    """Run a function in a worker that the kernel ends (SIGXCPU) after so many further seconds of CPU."""
    used, (_, hard) = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(used.ru_utime + used.ru_stime + max(seconds, 1.0))
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    try:
        return function(*args, **kwargs)
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


class Workers:
    """A pool that starts on first use and leaves after `idle_seconds` without work.

    `shared`: by several workspaces, so none may have all of them at once. With one worker in all they take turns.
    """

    def __init__(self, count: int | None = None, *, shared: bool = True, idle_seconds: float = 20.0) -> None:
        self.count = count or default_count()
        self.each = max(1, self.count - shared)  # of them that one workspace may have at once
        self._turns = Turns(self.count, self.each)
        self._idle_seconds = idle_seconds
        self._pool: ProcessPool | None = None
        self._starting = asyncio.Lock()
        self._running = 0
        self._leave: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> int:
        """How many tasks have a worker now."""
        return self._running

    async def run(self, terms: Terms, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a module-level function in a worker, when it is the workspace's turn. A cancelled task is killed.

        Raises what the function raises, OutOfBudget, or WorkerDied after three dead workers.
        """
        async with self._turns.turn(terms.workspace):
            self._enter_task()
            try:
                return await self._tried(terms.seconds, function, args, kwargs)
            finally:
                self._leave_task()

    async def _tried(self, seconds: float, function: Callable[..., T], args: Sequence[Any], kwargs: Any) -> T:
        for _ in range(TRIES):
            limit = asyncio.timeout(seconds * PATIENCE)
            try:
                async with limit:
                    pool = await self._living_pool()
                    future = pool.schedule(_bounded, args=[seconds, function, args, kwargs])
                    result: T = await asyncio.wrap_future(future)
                    return result
            except ProcessExpired as expired:
                if expired.exitcode == -signal.SIGXCPU:
                    raise OutOfBudget(f"{seconds:.2g} s of CPU in a worker were not enough") from None
            except TimeoutError:
                if not limit.expired():  # the function's own
                    raise
                raise OutOfBudget(f"{seconds * PATIENCE:.2g} s in a worker were not enough") from None
        raise WorkerDied(f"the worker died {TRIES} times")

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
    pool = ProcessPool(max_workers=count, context=multiprocessing.get_context("spawn"), initializer=enter)
    assert pool.active, "asking is what starts a pool"
    return pool


def _stop(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
