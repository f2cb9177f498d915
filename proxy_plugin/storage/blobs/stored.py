"""Blobs that replicas share: each is an object of the store, and a copy in the data directory while it is worked on.

The data directory is scratch: it is emptied at the start, and what vanishes from it comes again from the store.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from proxy_plugin.ground import logs
from proxy_plugin.storage.blobs.cache import Copies
from proxy_plugin.storage.blobs.growing import GrowingObject, GrowingObjects
from proxy_plugin.storage.blobs.local import Blobs
from proxy_plugin.storage.blobs.object_store import Objects
from proxy_plugin.storage.blobs.sources import Source
from proxy_plugin.storage.blobs.tree import Tree
from proxy_plugin.storage.errors import StoreAway
from proxy_plugin.storage.space import Space

LOG = logging.getLogger("proxy_plugin.storage")
READERS = 32  # they wait for the store


class StoredBlobs(Blobs):
    """The blobs of `store`; at most about `cache_bytes` of copies of all that is shared are kept in `data_dir`."""

    tree: Tree

    def __init__(self, data_dir: Path, store: Objects, cache_bytes: int) -> None:
        super().__init__(data_dir)
        self.space = Space(self._root, self.make_folders)
        self._readers.shutdown()
        self._readers = ThreadPoolExecutor(READERS, "blob-read")
        self.tree = Tree(data_dir, store, Copies(data_dir, cache_bytes))
        self._streams = GrowingObjects(store)

    def close(self) -> None:
        """Wait for what is running and let the threads go. Blocking."""
        super().close()
        self._streams.close()
        self.tree.store.close()

    def temp_path(self) -> Path:
        """See `Blobs`. The folder is there: scratch may vanish."""
        if not self._temp.exists():
            self.make_folders()
        return super().temp_path()

    def adopt(self, temp: Path, name: str) -> None:
        """Give a finished file its name. Durable when it is published."""
        target = self.path(name)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temp.rename(target)

    async def publish(self, name: str) -> None:
        """Return when the store has a blob. Raises StoreAway."""
        await self.tree.publish(self.path(name))

    async def publish_index(self, name: str) -> None:
        """Return when the store has the index of a blob, if there is one. Raises StoreAway."""
        if self.index_path(name).exists():
            await self.tree.publish(self.index_path(name))

    async def present(self, name: str) -> Path:
        """Have a blob here, and return its path. Raises FileNotFoundError, StoreAway."""
        await self.tree.present(self.path(name))
        return self.path(name)

    async def present_with_index(self, name: str) -> Path:
        """Have a blob and its index here. Raises FileNotFoundError, StoreAway."""
        await self.tree.present(self.index_path(name))
        return await self.present(name)

    def held(self) -> AbstractContextManager[None]:
        """Keep copies that are used inside until this is left."""
        return self.tree.cache.held()

    def open(self, name: str) -> Source:
        """Open a blob where it is, here or in the store. Blocking. Raises FileNotFoundError, StoreAway."""
        return self.tree.open(self.path(name))

    def growing(self, name: str, path: Path) -> GrowingObject | None:
        """Begin to publish a blob whose file still grows at `path`; None where too many grow already."""
        return self._streams.begin(self.tree.key(self.path(name)), path)

    def streamed(self, name: str, path: Path) -> None:
        """Note that a blob has been published as it grew."""
        self.tree.published(self.path(name), path.stat().st_size)

    async def discard(self, name: str) -> None:
        """Remove a blob that no row names, or names any more. Where the store is away the sweep removes it later."""
        await self.write(self.remove, name)
        try:
            await self.tree.remove_files(self.path(name), self.index_path(name))
        except StoreAway as error:
            logs.event(LOG, "object_left", blob=name, error=error, level=logging.WARNING)

    async def away(self) -> str | None:
        """Return why the store cannot be used now, None where it can."""
        return await self.tree.run(self.tree.store.away)

    def sweep(self, kept: set[str]) -> int:  # noqa: ARG002
        """Remove everything here: it is scratch. Before serving only."""
        return super().sweep(set())
