"""Put lines that failed in parts of a batch into new parts, where the route says that they go on (worker process).

The failed lines are those of the parts, by the assignments, without an ok row. They are read from the source again and
translated for the next target, as the split does it; a target that cannot have a line is passed over, as nothing has
been sent. The same job gives the same bytes again. Memory holds the rows' places of one block of 65,536 lines.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from proxy_plugin.ground.durable import empty_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.meter import Meter
from proxy_plugin.lines.choose import Choice
from proxy_plugin.lines.envelope import Envelope, decode_envelope
from proxy_plugin.lines.lane import TargetLane
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.manifest import ASSIGNMENT, BLOCK, REJECTED, Assignment, Heir, PartSpec
from proxy_plugin.lines.row_store import FAILED, NOTE, OK, RowReader, Span, bucket_path, spans
from proxy_plugin.lines.split import Cut, Files, SplitJob
from proxy_plugin.providers.base import LineRejected, make_mark

DIRECT = "direct"
_UNTOLD = 400  # what counts as the status of a job that was refused without one


class Parent(msgspec.Struct, frozen=True):
    """A part whose failed lines go on; `assignment` tells which lines it has, `rows` is where their rows are, if any.

    `refused`: that is how it ended, with this HTTP status where one is known. `cured`: that was not about its lines but
    about their number, whatever the route says of statuses.
    """

    part: int
    assignment: str
    rows: str | None = None
    refused: bool = False
    status: int | None = None
    cured: bool = False


class RescueJob(msgspec.Struct, frozen=True):
    """`split` is what the split of the batch was told, but for its folder, which is this attempt's own.

    `then` numbers the continuation, `first` the first new part. `codes`: HTTP statuses with which lines go on where the
    continuation names none; none at all: any. `callable`: targets by number that may be asked by ordinary calls;
    `native`: jobs may still be begun.
    """

    split: SplitJob
    parents: tuple[Parent, ...]
    then: int
    first: int
    heirs: tuple[Heir, ...] = ()
    codes: tuple[int, ...] = ()
    callable: tuple[int, ...] = ()
    native: bool = True

    @property
    def folder(self) -> str:
        """The folder that is written into."""
        return self.split.folder


class RescueFacts(msgspec.Struct, frozen=True):
    """The new parts, in the order of their numbers, whose lines `assignment`, a file in the folder, tells.

    `went` counts the lines of each parent that are in them, `stayed` by error code those that no target can have.
    """

    parts: tuple[PartSpec, ...] = ()
    went: dict[int, int] = {}
    assignment: str = ""
    stayed: dict[str, int] = {}


def rescue(job: RescueJob) -> RescueFacts:
    """Write the new parts durably into the job's folder.

    Raises OSError, ValueError where the job's files do not belong together, and BrokenIndex.
    """
    folder = Path(job.folder)
    empty_folder(folder)
    files, meter = _Sparse(folder, job.split.max_jobs), Meter(job.split.allowance)
    cut = _Onward(job, files, meter)
    with LineIndex(Path(job.split.index)) as index, meter:
        for lines in _failed(job, cut.codes):
            cut.take_all(lines, index)
    parts = cut.finish().parts
    passing("rescue.written")
    return RescueFacts(parts, dict(cut.went), files.assignment, dict(sorted(cut.stayed.items())))


_Lines = dict[int, int]
"""Lines of one block by ordinal, ascending, each with the part in which it failed."""


def _failed(job: RescueJob, codes: frozenset[int]) -> Iterator[_Lines]:
    """Yield the lines that go on, by blocks that have any."""
    theirs = defaultdict[str, set[int]](set)
    for parent in job.parents:
        theirs[parent.assignment].add(parent.part)
    with ExitStack() as stack, RowReader() as reader:
        files = {stack.enter_context(Assignment(Path(name), job.heirs)): parts for name, parts in theirs.items()}
        for number in sorted({number for assignment in files for number in assignment.blocks}):
            lines: _Lines = {}
            for assignment, parts in files.items():
                found = enumerate(assignment.block(number), number * BLOCK)
                lines |= {ordinal: part for ordinal, part in found if part in parts}
            for parent in job.parents:
                _leave_out(lines, parent, number, codes, reader)
            if lines:
                yield dict(sorted(lines.items()))


def _leave_out(lines: _Lines, parent: Parent, number: int, codes: frozenset[int], reader: RowReader) -> None:
    """Take lines of a parent out that have an answer, or have failed in a way for which they do not go on."""
    told = dict[int, Span]()
    path = None if parent.rows is None else bucket_path(Path(parent.rows), number)
    for span in spans(path) if path is not None and path.exists() else ():
        if span.kind != NOTE and (span.ordinal not in told or (span.kind == OK and told[span.ordinal].kind != OK)):
            told[span.ordinal] = span
    silent_stay = parent.refused and not parent.cured and codes and (parent.status or _UNTOLD) not in codes
    for ordinal in [ordinal for ordinal, part in lines.items() if part == parent.part]:
        found = told.get(ordinal)
        if silent_stay if found is None else _stays(found, path, codes, reader):
            del lines[ordinal]


class _Response(msgspec.Struct, frozen=True):
    status_code: int


_status = msgspec.json.Decoder(_Response).decode


def _stays(found: Span, path: Path | None, codes: frozenset[int], reader: RowReader) -> bool:
    """Tell whether a line with this row does not go on. One that never ran has no status, and does."""
    if found.kind == OK or found.kind != FAILED or not codes:
        return found.kind == OK
    assert path is not None
    return _status(reader.read(path, found.offset, found.length).text).status_code not in codes


class _Sparse(Files):
    """The files of a rescue. Its assignment begins with a block, and has entries of lines that did not go on."""

    _due: int | None = None  # the ordinal of the next entry

    def _assign(self, ordinal: int, part: int) -> None:
        if self._due is None:
            self._due = ordinal // BLOCK * BLOCK
            self.assignment = f"{ASSIGNMENT}.{self._due}"
        for left_out in range(self._due, ordinal):
            super()._assign(left_out, REJECTED)
        super()._assign(ordinal, part)
        self._due = ordinal + 1


class _Onward(Cut):
    """Cuts lines that go on into parts."""

    def __init__(self, job: RescueJob, sink: Files, meter: Meter) -> None:
        super().__init__(job.split, sink, meter)
        self._rescue, self._next = job, job.first
        self._parents = ",".join(str(parent.part) for parent in job.parents)
        self.went: Counter[int] = Counter()
        self.stayed: Counter[str] = Counter()

    @property
    def codes(self) -> frozenset[int]:
        """HTTP statuses with which lines go on; none: any."""
        return frozenset(self._chooser.continuations[self._rescue.then].codes or self._rescue.codes)

    def take_all(self, lines: _Lines, index: LineIndex) -> None:
        """Put the lines of a block into parts, or count them as staying."""
        source, ordinals = Path(self._job.source), list(lines)
        for ordinal, number, line in index.lines(source, ordinals[0], ordinals[-1] + 1):
            part = lines.get(ordinal)
            if part is not None:
                code = self._go_on(ordinal, number, decode_envelope(line))
                if code is None:
                    self.went[part] += 1
                else:
                    self.stayed[code] += 1
                passing("rescue.row")

    def _go_on(self, ordinal: int, number: int, envelope: Envelope) -> str | None:
        """Put a line into a part of the first target that can have it; return the code of the first refusal if none."""
        then: int | None = self._rescue.then
        tried, refused = set[int](), "no_target"
        while then is not None and then not in tried:
            tried.add(then)
            choice: Choice | None = None
            try:
                choice = self._chooser.continuations[then].pick(envelope)
                if (way := self._way(then, choice)) is not None:
                    self._place(ordinal, number, envelope, choice, self._lanes.lane(choice, envelope.url, way))
                    return None
            except LineRejected as rejection:
                refused = rejection.code if len(tried) == 1 else refused
            then = None if choice is None else choice.then
        return refused

    def _way(self, then: int, choice: Choice) -> str | None:
        """Return by which way a target is asked; None where it cannot be, as no job is begun any more."""
        way = self._chooser.continuations[then].way or self._chooser.spec(choice).way
        if self._rescue.native or way == DIRECT:
            return way
        return DIRECT if choice.target in self._rescue.callable else None

    def _check_room(self, number: int) -> None:  # noqa: ARG002
        if self._next >= self._job.max_jobs:
            raise LineRejected("The batch may have no further job.", code="too_many_jobs")

    def _mark(self, lane: TargetLane, first: int) -> str:
        facts = (self._job.source_sha256, str(self._next), lane.spec.slug, str(first), "from", self._parents)
        return make_mark(self._job.batch_id, *facts)
