"""Where a batch keeps its working files: one folder a batch, one folder an attempt.

    data_dir/batches/BATCH/split-ATTEMPT/...           the manifest and the native documents
    data_dir/batches/BATCH/media/...                   pictures that its lines name by URL, until none can be sent again
    data_dir/batches/BATCH/results-PART-ATTEMPT/...    native result files of a part
    data_dir/batches/BATCH/rows-PART-ATTEMPT/...       the same as rows by ordinal
    data_dir/batches/BATCH/rescue-PART-ATTEMPT/...     native documents of lines that go on, and which lines those are
    data_dir/batches/BATCH/late-rows-PART-ATTEMPT/...  rows that a job shows in a last look before the merge
    data_dir/batches/BATCH/repeats                     of a retry: which of its lines are equal to others of its batch
    data_dir/batches/BATCH/merge-ATTEMPT/...           output, errors and ledger before they are published
    data_dir/batches/BATCH/ledger.jsonl                what is left when the batch has ended

An attempt is named after the gateway's start and a counter, so a worker of an earlier life never writes into the
folder of a later one.

Where replicas share batches, what a row names is published first, under the same path, and fetched where it is needed
(`tree`). Names that all attempts share would be written twice there: a ledger is then named after a result file of its
merge, and pictures are the same whoever fetches them. What is not published goes with its machine.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from proxy_plugin.ground import logs
from proxy_plugin.ground.durable import sync_folder
from proxy_plugin.storage.blobs.sources import LocalSource, Source
from proxy_plugin.storage.errors import StoreAway

if TYPE_CHECKING:
    from proxy_plugin.storage.blobs.tree import Tree

LOG = logging.getLogger("proxy_plugin.storage")
LEDGER = "ledger.jsonl"
RESULTS, ROWS = "results", "rows"
WEIGHTS = {RESULTS: 3, ROWS: 2}  # how often their bytes count: they are yet to become rows, and lines of a result file


class BatchFolders:
    """The folders below `data_dir/batches`. `tree` has what replicas share of them."""

    def __init__(self, data_dir: Path, tree: Tree | None = None) -> None:
        self._root = data_dir / "batches"
        self._tree = tree
        self._boot = secrets.token_hex(4)
        self._count = itertools.count(1)

    def folder(self, batch_id: str) -> Path:
        """Return the folder of a batch."""
        return self._root / batch_id

    def ledger(self, batch_id: str, of: str | None = None) -> Path:
        """Return the path of an ended batch's ledger; `of` is the first result file that came with it."""
        return self.folder(batch_id) / (LEDGER if self._tree is None or of is None else f"{of}.{LEDGER}")

    def media(self, batch_id: str) -> Path:
        """Return the folder of the pictures that are fetched for a batch; all attempts share it."""
        return self.folder(batch_id) / "media"

    def clear_media(self, batch_id: str) -> None:
        """Remove the pictures. Blocking."""
        _remove(self.media(batch_id))

    def new(self, batch_id: str, what: str) -> Path:
        """Return the path of a new, not yet existing folder for one attempt at `what`."""
        return self.folder(batch_id) / f"{what}-{self._boot}-{next(self._count)}"

    def adopt(self, batch_id: str, path: Path, name: str) -> None:
        """Move a durable file into the folder of a batch that is not there yet. Blocking."""
        folder = self.folder(batch_id)
        folder.mkdir(mode=0o700, parents=True)
        path.replace(folder / name)
        for each in (folder, folder.parent):
            sync_folder(each)

    def clear_ended(self, batch_id: str) -> None:
        """Remove everything but the ledger. Blocking."""
        for each in self._entries(self.folder(batch_id)):
            if not each.name.endswith(LEDGER):
                _remove(each)

    def remove(self, batch_id: str) -> None:
        """Remove the batch's folder with all that is in it. Blocking."""
        _remove(self.folder(batch_id))

    def weight(self, batch_id: str) -> int:
        """Return how many bytes of its workspace's share a batch takes by what is in its folder. Blocking."""
        entries = self._entries(self.folder(batch_id))
        return sum(size_of(each) * WEIGHTS.get(each.name.partition("-")[0], 1) for each in entries)

    def kept(self) -> list[str]:
        """Return the ids of the batches that have a folder. Blocking."""
        return [each.name for each in self._entries(self._root)]

    def clear_others(self, keep: Path, what: str) -> None:
        """Remove the attempts at `what` that are not `keep`. Blocking."""
        for each in self._entries(keep.parent):
            if each.name.startswith(f"{what}-") and each != keep:
                _remove(each)

    def sweep(self, live: set[str]) -> None:
        """Remove what ended batches left when the gateway was killed. Blocking."""
        for each in self._entries(self._root):
            if each.name not in live:
                self.clear_ended(each.name)
                with suppress(OSError):  # has a ledger; what is empty is of a retry that was never stored
                    each.rmdir()

    # ---- what replicas share ----

    async def publish(self, folder: Path) -> None:
        """Make an attempt's folder, whose files are durable, fit to be named by a row. Raises StoreAway, OSError."""
        if self._tree is None:
            await asyncio.to_thread(publish_folder, folder)
        else:
            await self._tree.publish(folder)

    async def share(self, *paths: Path) -> None:
        """Publish what is durable here, name and all. Raises StoreAway, OSError."""
        if self._tree is not None:
            await self._tree.publish(*paths)

    async def present(self, batch_id: str, *names: str | Path) -> None:
        """Have published files and folders here, each within a folder of the batch; what was not published stays away.

        Names are within the batch's folder, or whole paths. Raises StoreAway.
        """
        if self._tree is not None:
            home = self.folder(batch_id)
            paths = dict.fromkeys(home / name for name in names)
            within = [home / path.relative_to(home).parts[0] for path in paths]
            await asyncio.gather(*map(self._tree.present_all, paths, within))

    async def present_file(self, path: Path) -> None:
        """Have a file of a batch here, if there is one. Raises StoreAway."""
        if self._tree is not None:
            with suppress(FileNotFoundError):
                await self._tree.present(path)

    async def present_media(self, batch_id: str) -> None:
        """Have the pictures here that others have fetched by now. Raises StoreAway."""
        if self._tree is not None:
            self._tree.forget_list(self.media(batch_id))
            await self.present(batch_id, self.media(batch_id))

    def open(self, path: Path) -> Source:
        """Open a file of a batch where it is. Blocking. Raises FileNotFoundError, StoreAway."""
        return LocalSource(path) if self._tree is None else self._tree.open(path)

    async def drop_media(self, batch_id: str) -> None:
        """Remove the pictures, everywhere."""
        await asyncio.to_thread(self.clear_media, batch_id)
        await self._unshare([self.media(batch_id)])

    async def drop_ended(self, batch_id: str) -> None:
        """Remove everything of a batch but its ledger, everywhere."""
        await asyncio.to_thread(self.clear_ended, batch_id)
        await self._unshare([self.folder(batch_id)], but=LEDGER)

    async def drop(self, path: Path) -> None:
        """Remove a folder within a batch's, everywhere."""
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        await self._unshare([path])

    async def drop_all(self, batch_id: str) -> None:
        """Remove a batch's folder with all that is in it, everywhere."""
        await asyncio.to_thread(self.remove, batch_id)
        await self._unshare([self.folder(batch_id)])

    def forget_ended(self, batch_id: str) -> None:
        """Remove here what another replica has ended, but the ledger. Blocking."""
        if self._tree is not None:
            self._tree.forget(self.folder(batch_id), but=LEDGER)
        self.clear_ended(batch_id)

    def holding(self, name: str) -> list[Path]:
        """Return the folders within batches' that hold a file of this name. Blocking."""
        return [path.parent for path in self._root.glob(f"*/*/{name}")]

    def empty(self) -> None:
        """Remove all that is here. Blocking."""
        _remove(self._root)

    async def _unshare(self, paths: Iterable[Path], but: str = "") -> None:
        """Remove what was published. Where the store is away, the sweep does it when the batch has ended."""
        if self._tree is None:
            return
        try:
            await self._tree.remove(*paths, but=but)
        except StoreAway as error:
            logs.event(LOG, "objects_left", error=error, level=logging.WARNING)

    @staticmethod
    def _entries(folder: Path) -> list[Path]:
        return list(folder.iterdir()) if folder.is_dir() else []


def publish_folder(folder: Path) -> None:
    """Make the name of an attempt's folder durable. Blocking."""
    for each in (folder.parent, folder.parent.parent):
        sync_folder(each)


def size_of(path: Path) -> int:
    """Return how many bytes a file has, or all files in a folder. What vanishes meanwhile has none. Blocking."""
    found = [path] if path.is_file() else (Path(at, name) for at, _, names in os.walk(path) for name in names)
    return sum(map(_size, found))


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
