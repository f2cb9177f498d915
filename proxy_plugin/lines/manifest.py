"""The durable record of a split: which line is in which part, and what each part's native document is."""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from types import TracebackType

import msgspec

from proxy_plugin.ground.durable import write_atomically
from proxy_plugin.lines.scan import Fault
from proxy_plugin.providers.base import PartFile

MANIFEST = "manifest.json"
ASSIGNMENT = "assignment"
PARTS = "parts"
REMARKS = "rejected"  # a row store: rejected lines, and the parameters that were dropped from others
REJECTED = 0xFFFFFFFF
BLOCK = 65_536  # ordinals
_ENTRY_BYTES = 4
_BLOCKS_KEPT = 16  # 4 MiB


class PartSpec(msgspec.Struct, frozen=True):
    """One native document. `first` and `last` are ordinals; `dropped` counts lines per parameter left out."""

    n: int
    slug: str
    provider: str
    endpoint: str
    model: str | None
    partition: str
    lines: int
    bytes: int
    inputs: int
    sha256: str
    mark: str
    file: str  # relative to the folder of the manifest
    first: int
    last: int
    dropped: dict[str, int] = {}

    def document(self, folder: Path) -> PartFile:
        """Return the part in the words of an adapter; `folder` is the manifest's."""
        return PartFile(
            mark=self.mark,
            path=folder / self.file,
            bytes=self.bytes,
            lines=self.lines,
            sha256=self.sha256,
            endpoint=self.endpoint,
            model=self.model,
            partition=self.partition,
        )


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a split produced: `total` lines, of which `rejected` are in no part.

    `faults`, up to 100 by line, are what fails a strict batch; there are none in a manifest on disk.
    """

    batch_id: str
    total: int
    rejected: int
    parts: tuple[PartSpec, ...]
    faults: tuple[Fault, ...] = ()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Store the manifest durably. It is the last file of a split: a folder that has one is complete."""
    write_atomically(folder / MANIFEST, msgspec.json.encode(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a finished split. Raises FileNotFoundError where a split did not finish."""
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)


def entries(parts: array[int]) -> bytes:
    """Return part numbers as they stand in the assignment file: 32 bits each, little-endian."""
    if sys.byteorder == "little":
        return parts.tobytes()
    swapped = parts[:]
    swapped.byteswap()
    return swapped.tobytes()


class Heir(msgspec.Struct, frozen=True):
    """A part that has lines of another one, `parent`, which it replaced: those from ordinal `first` to `last`.

    Where ranges of the same parent overlap, the narrower one has the line.
    """

    part: int
    parent: int
    first: int
    last: int


class Heirs:
    """Which part has a line now, of parts that were replaced after the split. The assignment is never changed."""

    def __init__(self, heirs: Iterable[Heir]) -> None:
        self._spans: dict[int, list[tuple[int, int]]] = {}  # part of the manifest -> (first ordinal, who has it on)
        root = dict[int, int]()
        # Parents have lower numbers than their heirs; of one parent the narrower is served first, and keeps its lines.
        for heir in sorted(heirs, key=lambda each: (each.parent, each.last - each.first)):
            top = root[heir.part] = root.get(heir.parent, heir.parent)
            self._spans[top] = _inherited(self._spans.get(top, [(0, top)]), heir)

    def put_into(self, parts: array[int], start: int) -> None:
        """Replace parts in a block of the assignment, whose first ordinal is `start`, by those that have the lines."""
        for top in self._spans.keys() & set(parts) if self._spans else ():
            spans = self._spans[top]
            for at, part in enumerate(parts):
                if part == top:
                    parts[at] = spans[bisect_right(spans, start + at, key=itemgetter(0)) - 1][1]


def _inherited(spans: list[tuple[int, int]], heir: Heir) -> list[tuple[int, int]]:
    """Give the heir what its parent still has of its range."""
    found, ends = list[tuple[int, int]](), [first for first, _ in spans[1:]]
    for (first, part), end in zip(spans, [*ends, REJECTED + 1], strict=True):
        low, high = max(first, heir.first), min(end, heir.last + 1)
        if part != heir.parent or low >= high:
            found.append((first, part))
            continue
        found += [(first, part)] if first < low else []
        found.append((low, heir.part))
        found += [(high, part)] if high < end else []
    return found


class Assignment:
    """The part of every ordinal, read in blocks of 65,536 of which a few are kept."""

    def __init__(self, path: Path, heirs: Iterable[Heir] = ()) -> None:
        self._heirs = Heirs(heirs)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._length = os.fstat(self._descriptor).st_size // _ENTRY_BYTES
        self.block: Callable[[int], array[int]] = lru_cache(_BLOCKS_KEPT)(self._read)

    def __len__(self) -> int:
        return self._length

    def part(self, ordinal: int) -> int | None:
        """Return the number of the line's part; None for a rejected line and for an ordinal beyond the batch."""
        if not 0 <= ordinal < self._length:
            return None
        part = self.block(ordinal // BLOCK)[ordinal % BLOCK]
        return None if part == REJECTED else part

    def ordinals(self, part: int) -> Iterator[int]:
        """Yield the ordinals of a part's lines, ascending, which is their order in its document."""
        for number in range(-(-self._length // BLOCK)):
            block = self.block(number)
            if part in block:
                yield from (number * BLOCK + at for at, each in enumerate(block) if each == part)

    def __enter__(self) -> Assignment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._descriptor)

    def _read(self, number: int) -> array[int]:
        parts = array("I")
        parts.frombytes(os.pread(self._descriptor, BLOCK * _ENTRY_BYTES, number * BLOCK * _ENTRY_BYTES))
        if sys.byteorder == "big":
            parts.byteswap()
        self._heirs.put_into(parts, number * BLOCK)
        return parts
