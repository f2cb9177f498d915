"""Cut the pieces of all ranges into parts, as if their lines had come one after the other (worker process).

Lines are looked at by the piece and by what limits a part: sums of their sizes tell in one step how many of them one
still takes. The documents themselves are not touched.
"""

from __future__ import annotations

import shutil
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter
from pathlib import Path

import msgspec

from proxy_plugin.ground.durable import GrowingFiles
from proxy_plugin.lines.manifest import ASSIGNMENT, PARTS, REJECTED, REMARKS, PartSpec, document_name, entries
from proxy_plugin.lines.ranges.independent import RANGES
from proxy_plugin.lines.ranges.pieces import (
    FACTS,
    Columns,
    InOrder,
    PieceFacts,
    RangeFacts,
    columns_name,
    range_folder,
    store,
)
from proxy_plugin.lines.row_store import NOTE, RowWriter, rows
from proxy_plugin.lines.split import SplitJob
from proxy_plugin.lines.ways import half
from proxy_plugin.providers.base import Framing, make_mark

PLAN = "plan.json"


class Stretch(msgspec.Struct, frozen=True):
    """Bytes of a piece, each record with the separator behind it: a part has some of them one after the other."""

    file: str  # relative to the folder of the split
    start: int
    bytes: int


class PlannedPart(msgspec.Struct, frozen=True):
    """A part as the manifest will tell it, but for its hash, and what its document is made of."""

    spec: PartSpec
    stretches: tuple[Stretch, ...]


class PlannedSplit(msgspec.Struct, frozen=True):
    """What a split comes to; on disk before the documents are made."""

    total: int
    rejected: int
    parts: tuple[PlannedPart, ...]


class PartsJob(msgspec.Struct, frozen=True):
    """`starts` are the first ordinals of the ranges, which cover the file."""

    split: SplitJob
    starts: tuple[int, ...]

    @property
    def folder(self) -> str:
        """The path of the folder of the split."""
        return self.split.folder


def plan_parts(job: PartsJob) -> tuple[int, ...]:
    """Write assignment, remarks and the plan; return how many bytes each part's document will have.

    Raises OSError, and InOrder where a rule for all lines together may have changed what became of one.
    """
    facts = [_facts(job.split, n) for n in range(len(job.starts))]
    grown = job.split.growth is not None and sum(each.bytes for each in facts) > job.split.growth.file
    if grown or not any(each.routed for each in facts):
        raise InOrder
    open_parts, closed = dict[tuple[object, ...], _Part](), list[_Part]()
    for n, each in enumerate(facts):
        for piece, known in enumerate(each.pieces):
            closed += _taken(job.split, n, piece, known, open_parts)
    found = sorted([*closed, *open_parts.values()], key=attrgetter("first"))
    if len(found) > job.split.max_jobs:
        raise InOrder
    Path(job.folder, PARTS).mkdir(exist_ok=True)
    dropped = _assign(job, facts, found)
    parts = tuple(_planned(job.split, n, part, dropped[n]) for n, part in enumerate(found))
    plan = PlannedSplit(sum(each.lines for each in facts), sum(each.rejected for each in facts), parts)
    store(Path(job.folder, RANGES, PLAN), msgspec.json.encode(plan))
    return tuple(part.spec.bytes for part in parts)


def read_plan(split: SplitJob) -> PlannedSplit:
    return msgspec.json.decode(Path(split.folder, RANGES, PLAN).read_bytes(), type=PlannedSplit)


def _facts(split: SplitJob, n: int) -> RangeFacts:
    return msgspec.json.decode(Path(range_folder(split, n), FACTS).read_bytes(), type=RangeFacts)


@dataclass
class _Part:
    """A part that still takes lines, or had its share of them. `spans` are places in pieces: range, piece, from, to."""

    known: PieceFacts
    framing: Framing
    first: int
    last: int
    bytes: int
    lines: int = 0
    inputs: int = 0
    spans: list[tuple[int, int, int, int]] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)


class _Sums:
    """Sums over the records of a piece: how many fit into what is left."""

    def __init__(self, columns: Columns, separator: int) -> None:
        self.bytes = array("Q", accumulate(columns.sizes, initial=0))
        self.inputs = array("Q", accumulate(columns.inputs, initial=0))
        self._separator = separator

    def until(self, at: int) -> int:
        """Return how many bytes the records before have, separators included."""
        return self.bytes[at] + at * self._separator

    def fitting(self, part: _Part, at: int) -> int:
        """Return the place up to which records from `at` on fit into a part, as `OpenPart.takes` has it."""
        known, most = part.known, len(self.bytes) - 1
        if known.max_lines is not None:
            most = min(most, at + known.max_lines - part.lines)
        if known.max_inputs is not None:
            most = min(most, bisect_right(self.inputs, known.max_inputs - part.inputs + self.inputs[at]) - 1)
        if known.max_bytes is not None:
            room = known.max_bytes - part.bytes + self.until(at)
            most = min(most, bisect_right(range(len(self.bytes)), room, key=self.until) - 1)
        return max(most, at)


def _taken(
    split: SplitJob, n: int, piece: int, known: PieceFacts, open_parts: dict[tuple[object, ...], _Part]
) -> Iterator[_Part]:
    """Put the records of a piece into the part that is open for them and into new ones; yield those that are full."""
    folder, framing = Path(range_folder(split, n)), half(known.provider, known.way).capabilities.framing
    columns = Columns(folder / columns_name(piece))
    sums, at = _Sums(columns, len(framing.separator)), 0
    file = f"{RANGES}/{folder.name}/{document_name(piece)}"
    while at < known.lines:
        part = open_parts.get(known.key)
        end = at if part is None else sums.fitting(part, at)
        if part is None or end == at:
            if part is not None:
                yield part
            part = open_parts[known.key] = _opened(known, framing, columns.ordinals[at])
            end = max(sums.fitting(part, at), at + 1)
        begun, stopped = sums.until(at), sums.until(end)
        part.lines += end - at
        part.bytes += stopped - begun
        part.inputs += sums.inputs[end] - sums.inputs[at]
        part.last = columns.ordinals[end - 1]
        part.spans.append((n, piece, at, end))
        part.stretches.append(Stretch(file, begun, stopped - begun))
        at = end


def _opened(known: PieceFacts, framing: Framing, first: int) -> _Part:
    """Return a part without lines: the first one has no separator before it, so it begins with less than nothing."""
    empty = len(framing.prefix) + len(framing.suffix) - len(framing.separator)
    return _Part(known, framing, first, first, empty)


def _assign(job: PartsJob, facts: Sequence[RangeFacts], parts: Sequence[_Part]) -> list[Counter[str]]:
    """Write which part every line is in, and the remarks; return what was dropped from the lines of each part."""
    dropped = [Counter[str]() for _ in parts]
    spans = dict[int, list[tuple[int, int, int, int]]]()
    for number, part in enumerate(parts):
        for n, piece, at, end in part.spans:
            spans.setdefault(n, []).append((number, piece, at, end))
    folder = Path(job.folder)
    (folder / ASSIGNMENT).unlink(missing_ok=True)  # of a worker that died
    shutil.rmtree(folder / REMARKS, ignore_errors=True)
    assignment, remarks = GrowingFiles().file(folder / ASSIGNMENT), RowWriter(folder / REMARKS)
    for n, start in enumerate(job.starts):
        own = _assigned(Path(range_folder(job.split, n)), start, facts[n].lines, spans.get(n, []))
        assignment.append(entries(own))
        for row in rows(Path(range_folder(job.split, n), REMARKS)):
            number = own[row.ordinal - start]
            remarks.add(row.ordinal, number, row.kind, row.meta, row.text)
            if row.kind == NOTE:
                dropped[number].update(row.meta.dropped or ())
    assignment.sync()
    remarks.close()
    return dropped


def _assigned(folder: Path, start: int, lines: int, spans: Sequence[tuple[int, int, int, int]]) -> array[int]:
    """Return the parts of a range's lines."""
    parts = array("I", [REJECTED]) * lines
    columns: dict[int, array[int]] = {}
    for number, piece, at, end in spans:
        if piece not in columns:
            columns[piece] = Columns(folder / columns_name(piece)).ordinals
        ordinals = columns[piece][at:end]
        first, last = ordinals[0] - start, ordinals[-1] - start
        if last - first == end - at - 1:
            parts[first : last + 1] = array("I", [number]) * (end - at)
            continue
        for ordinal in ordinals:
            parts[ordinal - start] = number
    return parts


def _planned(split: SplitJob, n: int, part: _Part, dropped: Counter[str]) -> PlannedPart:
    known = part.known
    spec = PartSpec(
        n=n,
        slug=known.slug,
        provider=known.provider,
        endpoint=known.endpoint,
        model=known.model,
        partition=known.partition,
        lines=part.lines,
        bytes=part.bytes,
        inputs=part.inputs,
        sha256="",
        mark=make_mark(split.batch_id, split.source_sha256, str(n), known.slug, str(part.first)),
        file=document_name(n),
        first=part.first,
        last=part.last,
        dropped=dict(sorted(dropped.items())),
        way=known.way,
        goes_on=known.goes_on,
    )
    return PlannedPart(spec, tuple(part.stretches))
