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
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from proxy_plugin.ground.durable import sync_folder

LEDGER = "ledger.jsonl"
RESULTS, ROWS = "results", "rows"
WEIGHTS = {RESULTS: 3, ROWS: 2}  # how often their bytes count: they are yet to become rows, and lines of a result file


class BatchFolders:
    """The folders below `data_dir/batches`."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "batches"
        self._boot = secrets.token_hex(4)
        self._count = itertools.count(1)

    def folder(self, batch_id: str) -> Path:
        """Return the folder of a batch."""
        return self._root / batch_id

    def ledger(self, batch_id: str) -> Path:
        """Return the path of an ended batch's ledger."""
        return self.folder(batch_id) / LEDGER

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
            if each.name != LEDGER:
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

    @staticmethod
    def _entries(folder: Path) -> list[Path]:
        return list(folder.iterdir()) if folder.is_dir() else []


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
