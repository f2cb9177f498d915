"""What workers do for the engine: bounded by what they are given, and ended when nobody wants it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from proxy_plugin.engine.desk import Desk
from proxy_plugin.lines.scan import Fault
from proxy_plugin.storage.tables import files
from proxy_plugin.storage.tables.batches import BatchRow

T = TypeVar("T")
LOOK_SECONDS = 0.5  # between looks whether a task is still wanted
MORE_TRIES = 6  # of a task that brings home what is paid for; each has twice the time of the one before
TOO_MUCH = Fault(
    "work_budget_exceeded",
    "The work on this file takes longer than its size allows (engine.task_seconds and engine.task_seconds_per_mb). Make"
    " its lines simpler, or split the file.",
)


class Unwanted(Exception):
    """The task was ended: its batch was cancelled, its window is over, or its file is gone."""


async def while_wanted(wanted: Callable[[], Awaitable[bool]], work: Coroutine[Any, Any, T]) -> T:
    """Return what the work does; where it runs in a worker, that is ended with it. Raises Unwanted."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
            if not await wanted():
                raise Unwanted
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what several pieces of work do, in their order. The first that fails ends the others and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def a_few_together(count: int, works: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Return what many pieces of work do, at most so many at once: what else their workspace wants has its turn."""
    free = asyncio.Semaphore(count)

    async def one(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with free:
            return await work()

    return await together(map(one, works))


async def to_be_sent(desk: Desk, batch: BatchRow) -> bool:
    """Tell whether anything of the batch may still be sent."""
    row = await desk.batch(batch.id)
    return row.stopping is None and not is_late(desk, row)


def is_late(desk: Desk, batch: BatchRow) -> bool:
    """Tell whether the batch's window is over and ends it."""
    return desk.now() >= batch.expires_at and desk.route(batch).on_deadline == "cancel"


async def to_be_scanned(desk: Desk, file_id: str) -> bool:
    """Tell whether somebody may still ask for a file, or a batch waits for it."""
    row = await desk.read(files.get, file_id)
    return row is not None and row.due_at is not None


def bytes_in(folders: Iterable[str | Path]) -> int:
    """Return how many bytes the files of some folders have; those that are not there have none. Blocking."""
    return sum(each.stat().st_size for folder in map(Path, folders) if folder.is_dir() for each in folder.iterdir())
