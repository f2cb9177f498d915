"""An object that is written while its file still grows, so that an upload is in the store when its last byte is here.

A thread reads the file behind the one that writes it: bytes are in memory as long as one piece is on its way. Only then
an upload has one of the places that all share, so clients that send little by little take none from those that do not.
Where the store does not take it, nothing is lost: the file is published as a whole in the end, with patience.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from io import FileIO
from pathlib import Path

from proxy_plugin.storage.blobs.object_store import Objects
from proxy_plugin.storage.errors import StoreAway

STREAMS = 100  # at once, each with a thread that waits; others are published at their ends
PLACES = 4  # pieces on their way, 6 MB of memory each
PIECE_BYTES = 5 * 2**20  # the least that S3 takes
FROM_BYTES = 2 * PIECE_BYTES  # shorter files are published in one request
MOST_BYTES = 9_000 * PIECE_BYTES  # longer ones need larger pieces
BLOCK_BYTES = 256 * 1024


class _Abandoned(Exception):
    """The upload was given up: the pieces go."""


class GrowingObjects:
    """Lends the threads, and the places."""

    def __init__(self, store: Objects) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(STREAMS, "object-stream")
        self._places = threading.BoundedSemaphore(PLACES)
        self._running = 0

    def begin(self, key: str, path: Path) -> GrowingObject | None:
        """Begin to write an object; None where too many are being written. To be called by the event loop."""
        if self._running >= STREAMS:
            return None
        self._running += 1
        growing = GrowingObject(self._store, key, path, self._places)
        growing.start(self._threads)
        growing.ended.add_done_callback(self._ended)
        return growing

    def _ended(self, _: asyncio.Future[bool]) -> None:
        self._running -= 1

    def close(self) -> None:
        """Wait for what is running and let the threads go. Blocking."""
        self._threads.shutdown()


class GrowingObject:
    """One of them. `ended` tells whether the whole object is there."""

    ended: asyncio.Future[bool]

    def __init__(self, store: Objects, key: str, path: Path, places: threading.BoundedSemaphore) -> None:
        self._store, self._key, self._path, self._places = store, key, path, places
        self._change = threading.Condition()
        self._size, self._whole, self._given_up = 0, False, False
        self._wanted = 0  # the size that the thread waits for

    def start(self, threads: ThreadPoolExecutor) -> None:
        """Begin, on a thread."""
        running: Future[bool] = threads.submit(self._put)
        self.ended = asyncio.wrap_future(running)

    def grew(self, size: int) -> None:
        """Note that the file has so many bytes now."""
        with self._change:
            self._size = size
            if size >= self._wanted:
                self._change.notify()

    async def finish(self) -> bool:
        """Return when the last byte has been taken: whether the object is whole."""
        with self._change:
            self._whole = True
            self._change.notify()
        return await asyncio.shield(self.ended)

    async def give_up(self) -> None:
        """Take back what was sent, unless the object is whole."""
        with self._change:
            self._given_up = True
            self._change.notify()
        await asyncio.shield(self.ended)

    # ---- on the thread ----

    def _put(self) -> bool:
        with suppress(StoreAway, OSError, _Abandoned), ExitStack() as place, closing(self._blocks(place)) as blocks:
            self._store.put_blocks(self._key, blocks, PIECE_BYTES)
            return True
        return False

    def _blocks(self, place: ExitStack) -> Generator[bytes]:
        """Yield the file piece by piece, each when all of it is here; in `place` is one until the store has the piece.

        With each goes a byte of the next one: for more the store asks when it has taken the piece before.
        """
        end = 0
        with self._path.open("rb", buffering=0) as file:
            while True:
                end += PIECE_BYTES
                size = self._grown_to(end + 1)
                place.enter_context(self._places)
                yield from _read(file, min(size, end))
                if size <= end:
                    return
                yield file.read(1)
                place.close()

    def _grown_to(self, wanted: int) -> int:
        """Return `wanted` once the file has so many bytes, or the size of a whole one that has fewer."""
        with self._change:
            self._wanted = wanted
            self._change.wait_for(lambda: self._size >= wanted or self._whole or self._given_up)
            if self._given_up:
                raise _Abandoned
            return min(self._size, wanted)


def _read(file: FileIO, end: int) -> Iterator[bytes]:
    while (left := end - file.tell()) > 0:
        yield file.read(min(BLOCK_BYTES, left))
