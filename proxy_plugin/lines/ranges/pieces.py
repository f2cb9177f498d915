"""Translate a range of a file's lines, of which nothing is known but their numbers (worker process).

Which part a line is in depends on the lines before it. So the records of each range are written side by side, by what
they have in common, under a mark that stands for all; how large they are is what `parts` are cut by afterwards.
"""

from __future__ import annotations

from array import array
from pathlib import Path

import msgspec

from proxy_plugin.ground.allowance import spend
from proxy_plugin.ground.durable import GrowingFile, empty_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.meter import Meter
from proxy_plugin.lines.envelope import decode_scanned
from proxy_plugin.lines.lane import Group, TargetLane
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.manifest import OpenPart, document_name, native_or_direct
from proxy_plugin.lines.ranges.independent import RANGES
from proxy_plugin.lines.sinks.files import Files
from proxy_plugin.lines.split import Cut, SplitJob
from proxy_plugin.providers.base import Native, make_mark

FACTS = "facts.json"
MOST_PIECES = 256  # of a range: two files each, and all ranges have their own


class RangeJob(msgspec.Struct, frozen=True):
    """Lines `start` to `stop`, exclusive, of the file of `split`: the range `n`."""

    split: SplitJob
    n: int
    start: int
    stop: int

    @property
    def folder(self) -> str:
        """The path of the range's own folder; what it holds is removed."""
        return range_folder(self.split, self.n)


class PieceFacts(msgspec.Struct, frozen=True):
    """What the lines of one document of a range have in common, and how many there are. Limits are those of a part."""

    slug: str
    provider: str
    endpoint: str
    model: str | None
    goes_on: int | None
    way: str
    partition: str
    lines: int
    max_lines: int | None
    max_bytes: int | None
    max_inputs: int | None

    @property
    def key(self) -> tuple[object, ...]:
        """What lines have in common that may share a part."""
        return self.slug, self.endpoint, self.model, self.goes_on, self.way, self.partition


class RangeFacts(msgspec.Struct, frozen=True):
    """What is known of a range. `bytes` are those of the bodies, as the route has made them."""

    pieces: tuple[PieceFacts, ...]
    lines: int
    rejected: int
    bytes: int
    routed: bool  # whether any line has a target


def range_folder(split: SplitJob, n: int) -> str:
    """Return the path of the folder of a range."""
    return f"{split.folder}/{RANGES}/{n:05d}"


def stand_in(split: SplitJob) -> str:
    """Return the mark that stands for those of all parts. Its hash is of an id that no writer of the file knew."""
    return make_mark(split.batch_id, split.source_sha256, RANGES)


class InOrder(Exception):
    """What becomes of a line depends on others, or fails the batch: all lines are to be taken in their order."""


def translate_range(job: RangeJob) -> None:
    """Write the records of a range and what is known of them. Raises InOrder, and what `split` raises."""
    empty_folder(Path(job.folder))
    meter = Meter(job.split.allowance)
    files = _RangeFiles(Path(job.folder), MOST_PIECES)
    cut = _Pieces(job, files, meter)
    with LineIndex(Path(job.split.index)) as index, meter:
        for ordinal, number, line in index.lines(Path(job.split.source), job.start, job.stop):
            cut.take(ordinal, number, decode_scanned(line))
            passing("split.row")
            if cut.faults:
                raise InOrder
    files.finished()
    store(Path(job.folder, FACTS), msgspec.json.encode(cut.facts()))


def store(path: Path, data: bytes) -> None:
    """Write a file that nobody needs after a crash."""
    spend(len(data))
    path.write_bytes(data)


class _Records(GrowingFile):
    """The records of a piece. What is made of them is hashed."""

    def finish(self) -> str:
        self.write_out()
        return ""


class _RangeFiles(Files):
    """Documents and remarks of a range. Nothing is durable: what a crash leaves is never read."""

    def document(self, n: int) -> _Records:
        return _Records(self._folder / document_name(n), self._files)

    def _assign(self, ordinal: int, part: int) -> None:
        """Leave the parts to those that know them."""

    def finished(self) -> None:
        self._remarks.close()


class _Piece(OpenPart):
    """The records of a range that may share a part."""

    def __init__(self, n: int, mark: str, lane: TargetLane, group: Group, partition: str, file: _Records) -> None:
        super().__init__(n, mark, lane, model=group[2], partition=partition, document=file, goes_on=group[3])
        self._file, self._name = file, mark.encode()
        self._separator = lane.provider.capabilities.framing.separator
        self._ordinals, self._sizes, self._each = array("I"), array("I"), array("I")

    def takes(self, native: Native) -> bool:  # noqa: ARG002 - parts are cut of it afterwards
        return True

    def add(self, ordinal: int, native: Native) -> None:
        """Append the record, and what follows it in a document. Raises InOrder where its mark cannot be replaced."""
        data = native.data
        if self._name not in data:
            raise InOrder
        self._file.append(data, self._separator)
        self._ordinals.append(ordinal)
        self._sizes.append(len(data))
        self._each.append(native.inputs)

    def finish(self, folder: Path) -> PieceFacts:
        self._file.finish()
        columns = (self._ordinals, self._sizes, self._each)
        store(Path(folder, columns_name(self.n)), b"".join(each.tobytes() for each in columns))
        spec = self.lane.spec
        return PieceFacts(
            slug=spec.slug,
            provider=spec.provider,
            endpoint=self.lane.endpoint,
            model=self._model,
            goes_on=self._goes_on,
            way=native_or_direct(spec.way),
            partition=self.partition,
            lines=len(self._ordinals),
            max_lines=spec.max_lines,
            max_bytes=spec.max_bytes,
            max_inputs=spec.max_inputs,
        )


def columns_name(n: int) -> str:
    return f"{document_name(n)}.columns"


class Columns:
    """What is known of each record of a piece: ordinals, bytes without what follows it, inputs."""

    def __init__(self, path: Path) -> None:
        numbers = array("I", path.read_bytes())
        each = len(numbers) // 3
        self.ordinals, self.sizes, self.inputs = numbers[:each], numbers[each : 2 * each], numbers[2 * each :]


class _Pieces(Cut):
    """Puts the lines of a range into pieces, which take every line."""

    def __init__(self, job: RangeJob, files: _RangeFiles, meter: Meter) -> None:
        super().__init__(job.split, files, meter, before=job.start)
        self._files, self._folder, self._start = files, Path(job.folder), job.start
        self._stand_in = stand_in(job.split)

    def facts(self) -> RangeFacts:
        pieces = tuple(piece.finish(self._folder) for piece in self._open.values() if isinstance(piece, _Piece))
        return RangeFacts(
            pieces=pieces,
            lines=self.total - self._start,
            rejected=self.rejected,
            bytes=self._grown.bytes,
            routed=self._routed,
        )

    def _part_for(self, native: Native, lane: TargetLane, group: Group, ordinal: int, number: int) -> OpenPart:  # noqa: ARG002
        key = (group, native.partition)
        part = self._open.get(key)
        if part is None:
            if self._next >= MOST_PIECES:
                raise InOrder
            part = _Piece(self._next, self._stand_in, lane, group, native.partition, self._files.document(self._next))
            self._open[key] = part
            self._next += 1
        elif part.lane is not lane and _limits(part.lane) != _limits(lane):
            raise InOrder
        return part

    def _mark(self, lane: TargetLane, first: int) -> str:  # noqa: ARG002
        return self._stand_in


def _limits(lane: TargetLane) -> tuple[object, ...]:
    spec = lane.spec
    return spec.provider, spec.max_lines, spec.max_bytes, spec.max_inputs
