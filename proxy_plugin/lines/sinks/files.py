"""What a split writes: files of a batch. A plan has figures in their place, `plan_count`."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path
from typing import Protocol

import msgspec

from proxy_plugin.answers.values import Answer
from proxy_plugin.ground.durable import GrowingFile, GrowingFiles, sync_folder
from proxy_plugin.lines.lane import TargetLane
from proxy_plugin.lines.manifest import (
    ASSIGNMENT,
    CACHED,
    CACHED_ROWS,
    PARTS,
    REJECTED,
    REMARKS,
    Document,
    OpenPart,
    document_name,
    entries,
)
from proxy_plugin.lines.row_store import ERROR, NOTE, OK, RowMeta, RowWriter
from proxy_plugin.providers.base import LineRejected, Native

_ENTRIES_WAITING = 16_384


class Sink(Protocol):
    """What becomes of the lines: files for a batch, figures for a plan. Neither has a say in where a line goes."""

    def document(self, n: int) -> Document:
        """Begin the document of part `n`."""

    def placed(self, part: OpenPart, ordinal: int, model: str, body: bytes, native: Native) -> None:
        """Take note of a line that its part now has; `body` is what was translated."""

    def answered(self, ordinal: int, lane: TargetLane, answer: Answer, dropped: tuple[str, ...]) -> None:
        """Take note of a line that goes nowhere, because its answer was kept."""

    def rejected(self, ordinal: int, number: int, rejection: LineRejected, meta: RowMeta) -> None:
        """Take note of a line that no part can have."""

    def finished(self) -> None:
        """Return when nothing of it can be lost any more."""


class _Nowhere:
    """The document of a part that is only counted."""

    def append(self, *pieces: bytes) -> None:
        """Write nothing."""

    def finish(self) -> str:
        """Have nothing to lose."""
        return ""


class _Hashed(GrowingFile):
    """A document of a part, hashed as it is written out: once for 64 KiB, not at each line."""

    def __init__(self, path: Path, among: GrowingFiles) -> None:
        super().__init__(path, among)
        self._hash = hashlib.sha256()

    def write_out(self, more: bytes = b"") -> None:
        self._hash.update(self._waiting)
        self._hash.update(more)
        super().write_out(more)

    def finish(self) -> str:
        """Return the hash of the document, which is durable then."""
        self.sync()
        return self._hash.hexdigest()


class Files:
    """The files of a split, in the folder of one attempt. Parts from `most` on have none: they will not be sent."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        (folder / PARTS).mkdir()
        self._files = GrowingFiles()
        self.assignment = ASSIGNMENT
        self._assignment: GrowingFile | None = None
        self._assigned = array("I")
        self._remarks = RowWriter(folder / REMARKS)
        self._answers: RowWriter | None = None

    def document(self, n: int) -> Document:
        return _Hashed(self._folder / document_name(n), self._files) if n < self._most else _Nowhere()

    def placed(self, part: OpenPart, ordinal: int, model: str, body: bytes, native: Native) -> None:  # noqa: ARG002
        self._assign(ordinal, part.n)
        if native.dropped:
            self._remarks.add(ordinal, part.n, NOTE, RowMeta(dropped=native.dropped))

    def answered(self, ordinal: int, lane: TargetLane, answer: Answer, dropped: tuple[str, ...]) -> None:
        self._assign(ordinal, CACHED)
        self._answers = self._answers or RowWriter(self._folder / CACHED_ROWS)
        spec, origin = lane.spec, answer.origin
        meta = RowMeta(model=origin.model, provider=spec.provider, slug=spec.slug, mark=origin.mark)
        self._answers.add(ordinal, CACHED, OK, meta, answer.text)
        if dropped:
            self._remarks.add(ordinal, CACHED, NOTE, RowMeta(dropped=dropped))

    def rejected(self, ordinal: int, number: int, rejection: LineRejected, meta: RowMeta) -> None:  # noqa: ARG002
        self._assign(ordinal, REJECTED)
        error = msgspec.json.encode({"code": rejection.code, "message": rejection.message})
        self._remarks.add(ordinal, REJECTED, ERROR, meta, error)

    def finished(self) -> None:
        self._write_assigned().sync()
        self._remarks.close()
        if self._answers is not None:
            self._answers.close()
        sync_folder(self._folder / PARTS)
        sync_folder(self._folder)

    def _assign(self, ordinal: int, part: int) -> None:  # noqa: ARG002 - lines come in order, and none is left out
        self._assigned.append(part)
        if len(self._assigned) >= _ENTRIES_WAITING:
            self._write_assigned()

    def _write_assigned(self) -> GrowingFile:
        file = self._assignment or self._files.file(self._folder / self.assignment)
        file.append(entries(self._assigned))
        self._assignment, self._assigned = file, array("I")
        return file
