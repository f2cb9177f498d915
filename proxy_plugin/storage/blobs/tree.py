"""A folder whose files are copies of objects: below both, the same paths name the same bytes.

What a worker has written is published file by file, side by side; what another replica has published is fetched where
it is needed. The list of a published folder is never changed, so it is asked for once.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from proxy_plugin.storage.blobs.cache import Copies
from proxy_plugin.storage.blobs.object_store import Objects
from proxy_plugin.storage.blobs.sources import FEW, SMALL_BYTES, WINDOW_BYTES, LocalSource, Source, StoredSource
from proxy_plugin.storage.space import to_the_end

P = ParamSpec("P")
T = TypeVar("T")
LISTS_KEPT = 1000
EMPTY = ".folder"  # the name of an object that stands for a folder without files: stores have no folders


class Tree:
    """The files below `root`, and the objects of `store`."""

    def __init__(self, root: Path, store: Objects, cache: Copies) -> None:
        self.root, self.store, self.cache = root, store, cache
        self._lists: OrderedDict[str, Mapping[str, int]] = OrderedDict()
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._open = WeakSet[StoredSource]()  # those that read from the store

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function of the store on one of its threads, to its end."""
        work = self.store.threads.submit(function, *args, **kwargs)
        return await to_the_end(asyncio.wrap_future(work))

    def key(self, path: Path) -> str:
        """Return the key of a file's object."""
        return path.relative_to(self.root).as_posix()

    async def publish(self, *paths: Path) -> None:
        """Return when the store has these files, and all that is in these folders. Raises StoreAway, OSError."""
        for path in paths:
            found = await asyncio.to_thread(_files, path)
            await _together(self._publish(each, size) for each, size in found.items())
            if list(found) != [path]:
                self._keep_list(self.key(path), {self.key(each): size for each, size in found.items()})
        await self._trim()

    async def _publish(self, path: Path, size: int) -> None:
        key = self.key(path)
        if path.name == EMPTY:
            await self.run(self.store.put_bytes, key, b"")
        elif not self.cache.has(key):
            await self.run(self.store.put, key, path)
            self.cache.add(key, size)

    def published(self, path: Path, size: int) -> None:
        """Note that the store has this file already."""
        self.cache.add(self.key(path), size)

    async def present(self, path: Path, size: int | None = None) -> None:
        """Have one file here. Raises FileNotFoundError, StoreAway."""
        key = self.key(path)
        while not self.cache.has(key):
            if key not in self._coming:
                # Of nobody's context: whoever asked may have gone before it is here.
                task = asyncio.create_task(self._bring(key, path, size), context=Context())
                self._coming[key] = task
                task.add_done_callback(partial(self._came, key))
            await asyncio.shield(self._coming[key])

    def _came(self, key: str, task: asyncio.Task[None]) -> None:
        del self._coming[key]
        if not task.cancelled():
            task.exception()  # asyncio would complain that nobody asked

    async def _bring(self, key: str, path: Path, size: int | None) -> None:
        self.cache.add(key, await self.run(self.store.get, key, path, size))
        await self._trim()

    async def present_all(self, path: Path, within: Path) -> bool:
        """Have a file, or all that is in a folder, here; False where the store has neither. Raises StoreAway.

        `within` is the published folder that it is in, or is: its list is asked for once.
        """
        wanted = self.key(path)
        if self.cache.has(wanted):
            return True
        found = await self.listed(self.key(within))
        mine = {key: size for key, size in found.items() if key == wanted or key.startswith(f"{wanted}/")}
        await _together(self._present(self.root / key, size) for key, size in mine.items())
        return bool(mine)

    async def _present(self, path: Path, size: int) -> None:
        if path.name == EMPTY:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            await self.present(path, size)

    async def listed(self, folder: str) -> Mapping[str, int]:
        """Return the objects of a published folder with their sizes. One that is not published has none yet."""
        if folder not in self._lists:
            found = {each.key: each.size for each in await self.run(self.store.listed, folder)}
            if not found:
                return found
            self._keep_list(folder, found)
        return self._lists[folder]

    def _keep_list(self, folder: str, found: Mapping[str, int]) -> None:
        self._lists[folder] = found
        if len(self._lists) > LISTS_KEPT:
            self._lists.popitem(last=False)

    async def remove(self, *folders: Path, but: str = "") -> None:
        """Remove the objects in these folders, except those whose names end so. Raises StoreAway."""
        for folder in folders:
            self.forget(folder, but)
            below = [each.key for each in await self.run(self.store.listed, self.key(folder))]
            await self.run(self.store.delete, [key for key in below if not (but and key.endswith(but))])

    async def remove_files(self, *paths: Path) -> None:
        """Remove the objects of these files, and count the files no more. Raises StoreAway."""
        for path in paths:
            self.forget(path)
        await self.run(self.store.delete, [self.key(path) for path in paths])

    def forget(self, path: Path, but: str = "") -> None:
        """Count a file, or what is in a folder, no more as copies: it is removed here, but what ends so."""
        self.cache.forget(self.key(path), but)
        self.forget_list(path)

    def forget_list(self, folder: Path) -> None:
        """Ask for the list of a folder, and of all in it, again."""
        key = self.key(folder)
        for each in [name for name in self._lists if name == key or name.startswith(f"{key}/")]:
            del self._lists[each]

    def open(self, path: Path) -> Source:
        """Open a file where it is: here, or in the store. Blocking. Raises FileNotFoundError, StoreAway."""
        key = self.key(path)
        if self.cache.has(key):
            try:
                return LocalSource(path)
            except FileNotFoundError:
                self.cache.forget(key)
        source = StoredSource(self.store, key, WINDOW_BYTES if len(self._open) < FEW else SMALL_BYTES)
        self._open.add(source)
        return source

    async def _trim(self) -> None:
        if self.cache.over:
            await asyncio.to_thread(self.cache.trim)


def _files(path: Path) -> dict[Path, int]:
    """Return a file, or those in a folder, with their sizes, and for each folder without any what stands for it.

    What lanes and workers call temporary is left out. Blocking.
    """
    if not path.is_dir():
        return {path: path.stat().st_size}
    found = dict[Path, int]()
    for at, folders, names in os.walk(path):
        kept = [Path(at, name) for name in names if not _temporary(name)]
        found |= {each: each.stat().st_size for each in kept} if kept or folders else {Path(at, EMPTY): 0}
    return found


def _temporary(name: str) -> bool:
    return (name.startswith(".") and not name.endswith(".note")) or name.endswith((".part", ".new"))


async def _together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Have all of it done; the first error is raised when all have ended."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
