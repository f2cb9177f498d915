"""Work that would hold up the event loop: small jobs in a thread, large ones in a spawned process."""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

# Below this a thread is done before a process could be started (about 0.2 s).
SMALL = 256 * 1024
PROCESSES = 2

P = ParamSpec("P")
R = TypeVar("R")


class Work:
    """Runs pure functions over paths. The processes are started by the first large job and die with this one."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, size: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` elsewhere; `size` is the number of bytes that it will read."""
        if size < SMALL:
            return await asyncio.to_thread(function, *args, **kwargs)
        future = self._processes().submit(function, *args, **kwargs)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what is unfinished: nobody waits for it any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.kill()

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(PROCESSES, mp_context=spawn, initializer=_die_with_parent)
        return self._pool


def _die_with_parent() -> None:
    """Without this a worker outlives a killed parent and goes on writing."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
