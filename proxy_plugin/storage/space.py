"""What the disk can still take, and how to tell that it is full; work on files that nothing cuts off half-way."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")
LOOK_SECONDS = 1.0  # between two questions to the file system
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk(NamedTuple):
    """Bytes of a file system: all, and those that are free."""

    total: int
    free: int


class Space:
    """What the disk under a folder can still take beside what is already claimed and not yet written.

    `made_again` makes the folder where it has gone.
    """

    def __init__(self, folder: Path, made_again: Callable[[], object] | None = None) -> None:
        self._folder, self._made_again = folder, made_again
        self._room = self._size = 0
        self._unwritten = 0
        self._looked = float("-inf")

    def room(self) -> int:
        """Return the unclaimed free bytes; the file system's part of it is at most a second old."""
        self._look()
        return self._room

    def size(self) -> int:
        """Return how many bytes the file system has in all."""
        self._look()
        return self._size

    def _look(self) -> None:
        moment = time.monotonic()
        if moment - self._looked >= LOOK_SECONDS:
            self._looked = moment
            self._size, free = self.disk()
            self._room = free - self._unwritten

    def disk(self) -> Disk:
        """Return what the file system says now, whoever claims of it. Blocking."""
        try:
            found = os.statvfs(self._folder)
        except FileNotFoundError:
            if self._made_again is None:
                raise
            self._made_again()
            found = os.statvfs(self._folder)
        return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    def claim(self, count: int) -> None:
        """Set `count` free bytes aside; negative gives them back."""
        self._room -= count
        self._unwritten += count

    def wrote(self, count: int) -> None:
        """Note that `count` claimed bytes are in a file: now the file system itself counts them."""
        self._unwritten -= count


def is_full(error: OSError) -> bool:
    """Tell whether the disk or a quota of the file system was the reason."""
    return error.errno in NO_SPACE


async def to_the_end(work: Awaitable[T]) -> T:
    """Await `work` to its end, however often this task is cancelled meanwhile; only then is it cancelled.

    A thread that writes cannot be stopped: whoever cleans up behind it has to wait for it.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # asyncio would complain that nobody asked
        raise cancelled
    return task.result()
