"""The durable record of a split: which line is in which part, and what each part's native document is."""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Protocol

import msgspec

from proxy_plugin.ground.durable import write_atomically
from proxy_plugin.lines.fan_out.requests import requests_of
from proxy_plugin.lines.lane import TargetLane
from proxy_plugin.lines.scan import Fault
from proxy_plugin.lines.ways import DIRECT, NATIVE
from proxy_plugin.providers.base import Framing, Native, PartFile

MANIFEST = "manifest.json"
ASSIGNMENT = "assignment"
PARTS = "parts"
REMARKS = "rejected"  # a row store: rejected lines, and the parameters that were dropped from others
CACHED_ROWS = "cached"  # a row store: answers that were at hand
REJECTED, CACHED = 0xFFFFFFFF, 0xFFFFFFFE
BLOCK = 65_536  # ordinals
_ENTRY_BYTES = 4
_BLOCKS_KEPT = 16  # 4 MiB
_UNBOUNDED = sys.maxsize
_MOST_FANNED_OUT = 2**20  # requests of a part beyond its lines: those that are joined have an index in memory


def _none() -> dict[str, int]:
    return {}  # not `dict` itself: msgspec would leave out what is empty, which manifests have always told


class PartSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One native document. `first` and `last` are ordinals; `dropped` counts lines per parameter left out.

    `goes_on` numbers what is chosen of where lines go that fail (`Choice.then`), None: nowhere. `requests` is how many
    records it has, where some of its lines are several requests.
    """

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
    dropped: dict[str, int] = msgspec.field(default_factory=_none)
    way: str = NATIVE
    goes_on: int | None = None
    requests: int | None = None

    def document(self, folder: Path) -> PartFile:
        """Return the part in the words of an adapter; `folder` is the manifest's."""
        return PartFile(
            mark=self.mark,
            path=folder / self.file,
            bytes=self.bytes,
            lines=self.requests or self.lines,
            sha256=self.sha256,
            endpoint=self.endpoint,
            model=self.model,
            partition=self.partition,
        )


class Document(Protocol):
    """The native document of one part, while it grows."""

    def append(self, *pieces: bytes) -> None:
        """Add bytes to the end."""

    def finish(self) -> str:
        """Complete the document, and return its sha256 where it is kept."""


class OpenPart:
    """A part that still takes lines."""

    def __init__(
        self,
        n: int,
        mark: str,
        lane: TargetLane,
        *,
        model: str | None,
        partition: str,
        document: Document,
        goes_on: int | None = None,
    ) -> None:
        self.n, self.mark, self.lane, self._goes_on = n, mark, lane, goes_on
        self._model, self.partition, self._document = model, partition, document
        self.closed = False
        self._first = self._last = -1
        self._lines = self._requests = self._inputs = 0
        self._framing: Framing = lane.provider.capabilities.framing
        self._bytes = len(self._framing.prefix) + len(self._framing.suffix)
        spec = lane.spec
        limits = (spec.max_lines, spec.max_bytes, spec.max_inputs)
        self._most_lines, self._most_bytes, self._most_inputs = (_UNBOUNDED if n is None else n for n in limits)
        self._dropped: Counter[str] = Counter()

    def takes(self, native: Native) -> bool:
        """Tell whether the document stays within the lane's limits with this line."""
        requests = self._requests + requests_of(native)
        return (
            requests <= self._most_lines
            and requests - self._lines <= _MOST_FANNED_OUT
            and self._bytes + len(self._framing.separator) + len(native.data) <= self._most_bytes
            and self._inputs + native.inputs <= self._most_inputs
        )

    def add(self, ordinal: int, native: Native) -> None:
        """Append the line to the document."""
        if self._lines:
            self._document.append(self._framing.separator, native.data)
            self._bytes += len(self._framing.separator)
        else:
            self._document.append(self._framing.prefix, native.data)
            self._first = ordinal
        self._bytes += len(native.data)
        self._lines += 1
        self._requests += requests_of(native)
        self._inputs += native.inputs
        self._last = ordinal
        if native.dropped:
            self._dropped.update(native.dropped)

    def close(self) -> PartSpec:
        """Complete the document durably and return its facts."""
        self.closed = True
        self._document.append(self._framing.suffix)
        sha256 = self._document.finish()
        return PartSpec(
            n=self.n,
            slug=self.lane.spec.slug,
            provider=self.lane.spec.provider,
            endpoint=self.lane.endpoint,
            model=self._model,
            partition=self.partition,
            lines=self._lines,
            requests=self._requests if self._requests > self._lines else None,
            bytes=self._bytes,
            inputs=self._inputs,
            sha256=sha256,
            mark=self.mark,
            file=document_name(self.n),
            first=self._first,
            last=self._last,
            dropped=dict(sorted(self._dropped.items())),
            way=native_or_direct(self.lane.spec.way),
            goes_on=self._goes_on,
        )


def native_or_direct(way: str) -> str:
    """Return an equal text, as a manifest has it: msgspec leaves out the default by that very object alone."""
    return DIRECT if way == DIRECT else NATIVE


def document_name(n: int) -> str:
    return f"{PARTS}/{n:05d}.native"


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a split produced: `total` lines, of which `rejected` and `cached` are in no part.

    `cached` lines were answered at once, with `cached_bytes`; `missed` were looked up in vain.
    `faults`, up to 100 by line, are what fails a strict batch; there are none in a manifest on disk.
    """

    batch_id: str
    total: int
    rejected: int
    parts: tuple[PartSpec, ...]
    faults: tuple[Fault, ...] = ()
    cached: int = 0
    cached_bytes: int = 0
    missed: int = 0


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
    """The part of every ordinal, read in blocks of 65,536 of which a few are kept.

    That of a rescue, `assignment.131072`, begins with the first ordinal of a block.
    """

    def __init__(self, path: Path, heirs: Iterable[Heir] = (), kept: int = _BLOCKS_KEPT) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._first = int(path.suffix[1:] or 0)
        self._length = self._first + os.fstat(self._descriptor).st_size // _ENTRY_BYTES
        # Not of a method: what holds itself keeps its blocks until the garbage collector looks, many tasks later.
        read = partial(_read_block, self._descriptor, self.blocks, self._first, Heirs(heirs))
        self.block: Callable[[int], array[int]] = lru_cache(kept)(read)

    def __len__(self) -> int:
        return self._length

    def part(self, ordinal: int) -> int | None:
        """Return the number of the line's part; None for a line that is in none and for an ordinal beyond the batch."""
        if not self._first <= ordinal < self._length:
            return None
        part = self.block(ordinal // BLOCK)[ordinal % BLOCK]
        return None if part >= CACHED else part

    @property
    def blocks(self) -> range:
        """The numbers of the blocks that have entries."""
        return range(self._first // BLOCK, -(-self._length // BLOCK))

    def ordinals(self, part: int) -> Iterator[int]:
        """Yield the ordinals of a part's lines, ascending, which is their order in its document."""
        for number in self.blocks:
            block = self.block(number)
            if part in block:
                yield from (number * BLOCK + at for at, each in enumerate(block) if each == part)

    def __enter__(self) -> Assignment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._descriptor)


def _read_block(descriptor: int, blocks: range, first: int, heirs: Heirs, number: int) -> array[int]:
    """Return the parts of a block of an assignment that begins with ordinal `first`; none where it has no entries."""
    parts = array("I")
    if number in blocks:
        at = (number * BLOCK - first) * _ENTRY_BYTES
        parts.frombytes(os.pread(descriptor, BLOCK * _ENTRY_BYTES, at))
    if sys.byteorder == "big":
        parts.byteswap()
    heirs.put_into(parts, number * BLOCK)
    return parts
