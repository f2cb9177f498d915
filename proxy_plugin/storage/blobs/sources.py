"""Bytes to read from any place of, wherever they are: an open local file, or an object of the store."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy_plugin.storage.blobs.object_store import Objects

WINDOW_BYTES = 2**20  # read from the store at once
SMALL_BYTES, FEW = 256 * 1024, 32  # the same of sources that are opened when more than a few are open
WINDOWS = 2  # kept: two cursors go through a source at most


class Source(Protocol):
    """Something open. Its methods block."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def pread(self, count: int, offset: int) -> bytes:
        """Return `count` bytes, or what there is up to the end. Raises OSError, StoreAway."""

    def close(self) -> None:
        """Let go of it."""


class LocalSource:
    """A local file; it outlives its name."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size: int | None = None

    @property
    def size(self) -> int:
        """How many bytes it had when this was asked first."""
        if self._size is None:
            self._size = os.fstat(self._descriptor).st_size
        return self._size

    def pread(self, count: int, offset: int) -> bytes:
        """Return some bytes."""
        return os.pread(self._descriptor, count, offset)

    def close(self) -> None:
        """Close the file; the last close of a removed one frees its blocks."""
        os.close(self._descriptor)


class StoredSource:
    """An object, read a window at a time. One that is deleted meanwhile ends with FileNotFoundError."""

    def __init__(self, store: Objects, key: str, window_bytes: int = WINDOW_BYTES) -> None:
        self._store, self._key, self._bytes = store, key, window_bytes
        self._windows: OrderedDict[int, memoryview] = OrderedDict()
        self.size = store.size(key)

    def pread(self, count: int, offset: int) -> bytes:
        """Return some bytes. A window that is read to its end is forgotten: a client may let us wait behind it."""
        stop, pieces = min(offset + count, self.size), list[memoryview]()
        while offset < stop:
            start = offset // self._bytes * self._bytes
            window = self._window(start)
            pieces.append(window[offset - start : stop - start])
            offset += len(pieces[-1])
            if offset == start + len(window):
                del self._windows[start]
        return b"".join(pieces)

    def _window(self, start: int) -> memoryview:
        window = self._windows.get(start)
        if window is None:
            window = self._windows[start] = self._store.read(self._key, start, min(start + self._bytes, self.size))
            if len(self._windows) > WINDOWS:
                self._windows.popitem(last=False)
        self._windows.move_to_end(start)
        return window

    def close(self) -> None:
        """Forget what was read."""
        self._windows.clear()
