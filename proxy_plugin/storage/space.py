"""What the disk can still take, and how to tell that it is full; work on files that nothing cuts off half-way."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
LOOK_SECONDS = 1.0  # between two questions to the file system
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class Space:
    """What the disk under a folder can still take beside what is already claimed and not yet written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
            disk = os.statvfs(self._folder)
            self._room = disk.f_bavail * disk.f_frsize - self._unwritten
            self._size = disk.f_blocks * disk.f_frsize

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
