"""Cut a part's native document into smaller ones, without the lines that are taken out (worker process).

The records are copied as they stand, but for the mark in their native ids: each piece has a mark of its own, from the
hash of its parent's mark and its lines. The same job gives the same bytes again. Memory holds one record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec

from proxy_plugin.ground.durable import HashedFile, empty_folder, sync_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.manifest import Assignment, Heir
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Framing, make_mark, native_id, split_request_id
from proxy_plugin.providers.marks import REQUEST_ID_LENGTH

_READ_BYTES = 256 * 1024
# Up to the next bracket outside strings, or the quote of a string that goes on behind what has been read. Possessive:
# backtracking would keep a mark for every escape.
_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+[{}\[\]"]', re.DOTALL)
_QUOTE, _OPENING = ord('"'), frozenset(b"{[")


class NotCuttable(ValueError):
    """The document is not what its part says, or is of a form that cannot be cut."""


class CutJob(msgspec.Struct, frozen=True):
    """`out` are lines of the document, from 1, that are taken out; the others go into `pieces` documents.

    With `pieces` 0 nothing is cut, and only the numbers of the lines in the file are looked up. `folder` is this
    attempt's own: what it holds is removed.
    """

    provider: str
    part: int
    mark: str
    lines: int
    document: str
    assignment: str
    index: str
    folder: str
    out: tuple[int, ...] = ()
    pieces: int = 0
    heirs: tuple[Heir, ...] = ()


class TakenOut(msgspec.Struct, frozen=True):
    """A line that was taken out: `number` is that of the input file, from 1. `mark` is that of a part for it alone."""

    record: int
    ordinal: int
    number: int
    mark: str


class Piece(msgspec.Struct, frozen=True):
    """One of the smaller documents, `file` is its name in the folder; `first` and `last` are ordinals."""

    mark: str
    file: str
    lines: int
    bytes: int
    sha256: str
    first: int
    last: int
    requests: int | None = None  # records, where some lines are several


class CutFacts(msgspec.Struct, frozen=True):
    """What a part was cut into, in the order of its lines."""

    out: tuple[TakenOut, ...]
    pieces: tuple[Piece, ...] = ()


def cut_document(job: CutJob) -> CutFacts:
    """Write the pieces durably into the job's folder.

    Raises NotCuttable, OSError, and BrokenIndex where the index is not that of the file.
    """
    out = _taken_out(job)
    if not job.pieces or len(out) >= job.lines:
        return CutFacts(out)
    folder = Path(job.folder)
    empty_folder(folder)
    pieces = tuple(_written(job, folder, _plans(job, out)))
    sync_folder(folder)
    passing("cut.written")
    return CutFacts(out, pieces)


def _taken_out(job: CutJob) -> tuple[TakenOut, ...]:
    wanted, found = set(job.out), list[TakenOut]()
    with Assignment(Path(job.assignment), job.heirs) as assignment, LineIndex(Path(job.index)) as index:
        for record, ordinal in enumerate(assignment.ordinals(job.part), 1):
            if record in wanted:
                mark = make_mark(job.mark, "line", str(ordinal))
                found.append(TakenOut(record, ordinal, index.record(ordinal).number, mark))
            if record > job.lines or len(found) == len(wanted):
                break
    if len(found) < len(wanted):
        raise NotCuttable("the part has fewer lines than records were named")
    return tuple(found)


class _Plan(msgspec.Struct, frozen=True):
    """Records `start` to `stop`, from 0 and exclusive, of those that stay, go into one piece."""

    start: int
    stop: int
    first: int
    last: int
    mark: str


def _plans(job: CutJob, out: Sequence[TakenOut]) -> list[_Plan]:
    """Share out the records that stay evenly.

    The ends of each share are found in a pass of their own: its mark comes from them, and stands in every record.
    """
    stay = job.lines - len(out)
    bounds = [stay * n // job.pieces for n in range(job.pieces + 1)]
    wanted = {place for start, stop in pairwise(bounds) for place in (start, stop - 1) if start < stop}
    ends = {place: ordinal for place, ordinal in enumerate(_staying(job)) if place in wanted}
    if len(ends) != len(wanted):
        raise NotCuttable("the assignment has fewer lines than the part")
    removed = ",".join(str(line.ordinal) for line in out)
    spans = [(start, stop, ends[start], ends[stop - 1]) for start, stop in pairwise(bounds) if start < stop]
    return [_Plan(*span, make_mark(job.mark, str(span[2]), str(span[3]), removed)) for span in spans]


def _staying(job: CutJob) -> Iterator[int]:
    """Yield the ordinals of the lines that are not taken out."""
    out = set(job.out)
    with Assignment(Path(job.assignment), job.heirs) as assignment:
        yield from (at for record, at in enumerate(assignment.ordinals(job.part), 1) if record not in out)


def _written(job: CutJob, folder: Path, plans: Sequence[_Plan]) -> Iterator[Piece]:
    framing, out = catalog.load(job.provider).capabilities.framing, set(job.out)
    with Path(job.document).open("rb") as source, Assignment(Path(job.assignment), job.heirs) as assignment:
        lines = _lines(assignment.ordinals(job.part), records(source, framing), job.mark)
        staying = (line for record, line in enumerate(lines, 1) if record not in out)
        for n, plan in enumerate(plans):
            yield _piece(folder / f"{n:05d}.native", plan, islice(staying, plan.stop - plan.start), job.mark, framing)
        for _ in staying:  # to the end of the document, which must be where the part's lines end
            raise NotCuttable("the document has more lines than the part")


def _lines(ordinals: Iterable[int], found: Iterator[bytes], mark: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the lines of a document with their records: a line that is several requests has one for each."""
    for ordinal in ordinals:
        held = list(islice(found, 1))
        if not held:
            raise NotCuttable("the document has fewer lines than the part")
        held += islice(found, _requests(held[0], native_id(mark, ordinal).encode()) - 1)
        yield ordinal, held
    for _ in found:
        raise NotCuttable("the document has more lines than the part")


def _requests(record: bytes, line: bytes) -> int:
    """Return how many requests the line is whose first record this is: its id says it."""
    start = record.find(line)
    asked = split_request_id(record[start : start + REQUEST_ID_LENGTH].decode(errors="replace"))
    return asked.of if start >= 0 and asked is not None else 1


def _piece(path: Path, plan: _Plan, lines: Iterable[tuple[int, list[bytes]]], mark: str, framing: Framing) -> Piece:
    count = requests = 0
    with HashedFile(path) as file:
        for ordinal, found in lines:
            count += 1
            for record in found:
                between = framing.separator if requests else framing.prefix
                file.write_line(between, _renamed(record, mark, plan.mark, ordinal))
                requests += 1
            passing("cut.row")
        file.write_line(framing.suffix)
        facts = file.finish()
    several = requests if requests > count else None
    return Piece(plan.mark, path.name, count, facts.bytes, facts.sha256, plan.first, plan.last, several)


def _renamed(record: bytes, mark: str, new: str, ordinal: int) -> bytes:
    """Return a record under the native id that it has in its new part; both are of one length."""
    known = native_id(mark, ordinal).encode()
    if known not in record:
        raise NotCuttable("a record does not carry the native id of its line")
    return record.replace(known, native_id(new, ordinal).encode())


def records(source: BinaryIO, framing: Framing, at_once: int = _READ_BYTES) -> Iterator[bytes]:
    """Yield the records of a native document, without what stands between them. Raises NotCuttable.

    A record has no line break, so it ends at the separator where that is one; else it is one JSON object or array.
    """
    text = _Text(source, at_once, whole_lines=framing.separator == b"\n")
    text.skip(framing.prefix)
    while True:
        yield text.record()
        if text.rest_is(framing.suffix):
            return
        text.skip(framing.separator)


class _Text:
    """A document, of which a window is held that grows to one record."""

    def __init__(self, source: BinaryIO, at_once: int, *, whole_lines: bool) -> None:
        self._source, self._at_once, self._whole_lines = source, at_once, whole_lines
        self._window, self._at = b"", 0

    def skip(self, expected: bytes) -> None:
        """Pass what must stand here."""
        self._fill(len(expected))
        if not self._window.startswith(expected, self._at):
            raise NotCuttable("the document does not have the framing of its lane")
        self._at += len(expected)

    def rest_is(self, suffix: bytes) -> bool:
        """Tell whether the document ends here, with the suffix."""
        self._fill(len(suffix) + 1)
        return len(self._window) - self._at == len(suffix) and self._window.endswith(suffix)

    def record(self) -> bytes:
        """Return the record that begins here."""
        while (end := self._end()) is None:
            held = len(self._window) - self._at
            if not self._fill(held + max(held, self._at_once)):
                raise NotCuttable("the document ends within a record")
        start, self._at = self._at, end
        return self._window[start:end]

    def _fill(self, size: int) -> bool:
        """Hold up to `size` bytes from here on; tell whether there were more to read."""
        missing = size - (len(self._window) - self._at)
        if missing <= 0:
            return True
        more = self._source.read(max(missing, self._at_once))
        self._window, self._at = self._window[self._at :] + more, 0
        return bool(more)

    def _end(self) -> int | None:
        """Return where the record ends, None if that has not been read yet."""
        if self._whole_lines:
            found = self._window.find(b"\n", self._at)
            return found if found >= 0 else None
        if self._window[self._at : self._at + 1] not in b"{[":  # nothing read yet counts as either
            raise NotCuttable("a record is neither an object nor an array")
        depth, at = 0, self._at
        while (bracket := _TO_BRACKET.match(self._window, at)) is not None:
            at = bracket.end()
            sign = self._window[at - 1]
            if sign == _QUOTE:
                return None
            depth += 1 if sign in _OPENING else -1
            if depth == 0:
                return at
        return None
