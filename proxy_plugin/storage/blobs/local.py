"""Immutable named bytes in local files.

    data_dir/files/SH/NAME          the bytes; SH are the last two characters of the name
    data_dir/files/SH/NAME.index    what can be made again from them (the line index)
    data_dir/tmp/...                on the way; emptied at every start

A blob exists before the row that names it and goes after it, so a crash leaves at most bytes that nobody names; the
sweep at the start removes them. What blocks is called through `write` and `read`.

What replicas need beside (`publish`, `present`, `held`) does nothing here: the bytes are durable and local by then.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from proxy_plugin.ground.durable import sync_folder
from proxy_plugin.storage.blobs.sources import LocalSource, Source
from proxy_plugin.storage.space import Space, to_the_end

if TYPE_CHECKING:
    from proxy_plugin.storage.blobs.growing import GrowingObject
    from proxy_plugin.storage.blobs.tree import Tree

P = ParamSpec("P")
T = TypeVar("T")
WRITERS = 4  # with 8 on 2 cores the event loop waited twice as long for its turn
READERS = 8  # of their own: a throttled disk under uploads must not stop downloads
STREAMED_BYTES = 256 * 1024
_HELD_ANYWAY: AbstractContextManager[None] = nullcontext()
_NAME = re.compile(r"[A-Za-z0-9_-]{3,128}")


class Blobs:
    """The blobs of one data directory. `space` knows how much the disk under it can take.

    `tree` has what replicas share; None where this gateway is one of its own.
    """

    tree: Tree | None = None

    def __init__(self, data_dir: Path) -> None:
        self._root, self._temp = data_dir / "files", data_dir / "tmp"
        self._data_dir = data_dir
        self.make_folders()
        self.space = Space(self._root)
        self._writers = ThreadPoolExecutor(WRITERS, "blob-write")
        self._readers = ThreadPoolExecutor(READERS, "blob-read")

    def make_folders(self) -> None:
        """Have the folders that blobs are in. Blocking."""
        self._data_dir.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self._data_dir, self._root, self._temp):
            folder.mkdir(mode=0o700, exist_ok=True)

    async def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function that changes files on a thread, to its end even if this task is cancelled."""
        return await to_the_end(_submit(self._writers, function, *args, **kwargs))

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function that reads files on a thread, to its end even if this task is cancelled."""
        return await to_the_end(_submit(self._readers, function, *args, **kwargs))

    def close(self) -> None:
        """Wait for what is running and let the threads go. Blocking."""
        self._writers.shutdown()
        self._readers.shutdown()

    def temp_path(self) -> Path:
        """Return a path that nothing has yet, on the blobs' own file system."""
        return self._temp / secrets.token_hex(16)

    def path(self, name: str) -> Path:
        """Return where the blob of this name is, or will be. Raises ValueError for a name no blob can have."""
        if not _NAME.fullmatch(name):
            raise ValueError("not a name of a blob")
        return self._root / name[-2:] / name

    def index_path(self, name: str) -> Path:
        """Return where the line index of this blob is, or will be."""
        return self.path(name).with_suffix(".index")

    def adopt(self, temp: Path, name: str) -> None:
        """Give a finished file, whose content the caller has synced, its name. Durable on return."""
        target = self.path(name)
        if not target.parent.exists():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._root)
        temp.rename(target)
        sync_folder(target.parent)

    def remove(self, name: str) -> None:
        """Remove a blob that no row names any more, and its index. Open downloads of it go on."""
        self.index_path(name).unlink(missing_ok=True)
        self.path(name).unlink(missing_ok=True)

    async def discard(self, name: str) -> None:
        """Remove a blob that no row names, or names any more."""
        await self.write(self.remove, name)

    # ---- what differs where replicas share the bytes ----

    async def publish(self, name: str) -> None:
        """Return when a blob that was adopted may be named by a row. Raises StoreAway."""

    async def publish_index(self, name: str) -> None:
        """Return when the index of a blob may be told of, if it has one. Raises StoreAway."""

    async def present(self, name: str) -> Path:
        """Have a blob here, and return its path. Raises FileNotFoundError where that is told already, StoreAway."""
        return self.path(name)

    async def present_with_index(self, name: str) -> Path:
        """Have a blob and its index here. Raises what `present` raises."""
        return self.path(name)

    def held(self) -> AbstractContextManager[None]:
        """Keep what is present, or becomes so, inside, until this is left."""
        return _HELD_ANYWAY

    def open(self, name: str) -> Source:
        """Open a blob where it is. Blocking. Raises FileNotFoundError, StoreAway."""
        return LocalSource(self.path(name))

    async def stream(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield some bytes of a blob, a block at a time. Raises FileNotFoundError, StoreAway."""
        source = await self.read(self.open, name)
        try:
            while start < stop and (block := await self.read(source.pread, min(STREAMED_BYTES, stop - start), start)):
                yield block
                start += len(block)
        finally:
            await self.read(source.close)

    def growing(self, name: str, path: Path) -> GrowingObject | None:  # noqa: ARG002
        """Begin to publish a blob whose file still grows at `path`; None where that is done at its end."""
        return None

    def streamed(self, name: str, path: Path) -> None:
        """Note that a blob whose file is still at `path` has been published as it grew."""

    async def away(self) -> str | None:
        """Return why bytes cannot be kept or read now, None where they can."""
        return None

    # ---- at the start ----

    def sweep(self, kept: set[str]) -> int:
        """Remove everything temporary and every blob not in `kept`; return how many blobs. Before serving only."""
        for entry in self._temp.iterdir():
            _remove(entry)
        orphans = [path for path in self._entries() if path.name.partition(".")[0] not in kept]
        for path in orphans:
            _remove(path)
        return sum(not path.suffix for path in orphans)

    def _entries(self) -> Iterator[Path]:
        for shard in self._root.iterdir():
            if shard.is_dir():
                yield from shard.iterdir()


def _submit(pool: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    return asyncio.wrap_future(pool.submit(function, *args, **kwargs))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
