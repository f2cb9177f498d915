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
from typing import NamedTuple

import msgspec

from proxy_plugin.ground.durable import empty_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.meter import Meter
from proxy_plugin.lines.choosing.choice import Choice, Continuation, Misrouted, Pick, Unplaced
from proxy_plugin.lines.envelope import Envelope, decode_envelope
from proxy_plugin.lines.lane import TargetLane
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.manifest import ASSIGNMENT, BLOCK, REJECTED, Assignment, Heir, PartSpec
from proxy_plugin.lines.row_store import FAILED, NOTE, OK, RowReader, Span, bucket_path, spans
from proxy_plugin.lines.sinks.files import Files
from proxy_plugin.lines.split import Cut, SplitJob
from proxy_plugin.lines.ways import DIRECT
from proxy_plugin.providers.base import LineRejected, make_mark

TOO_LATE = "too_late_for_a_job"
NO_TARGET = "no_target"
_UNTOLD = 400  # what counts as the status of a job that was refused without one


class Parent(msgspec.Struct, frozen=True):
    """A part whose failed lines go on; `assignment` tells which lines it has, `rows` is where their rows are, if any.

    `refused`: that is how it ended, with this HTTP status where one is known. `uncalled`: no line is to blame for that,
    as it was about their number or the time: they are called at the same target where that may be.
    """

    part: int
    assignment: str
    rows: str | None = None
    refused: bool = False
    status: int | None = None
    uncalled: bool = False


class RescueJob(msgspec.Struct, frozen=True):
    """`split` is what the split of the batch was told, but for its folder, which is this attempt's own.

    `then` numbers the continuation, `first` the first new part. `native`: jobs may still be begun.
    """

    split: SplitJob
    parents: tuple[Parent, ...]
    then: int
    first: int
    heirs: tuple[Heir, ...] = ()
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
    with LineIndex(Path(job.split.index)) as index, meter, cut.kept:
        for lines in _failed(job):
            cut.take_all(lines, index)
    parts = cut.finish().parts
    passing("rescue.written")
    return RescueFacts(parts, dict(cut.went), files.assignment, dict(sorted(cut.stayed.items())))


class _Failure(NamedTuple):
    """How a line failed: in which part, and with which HTTP status, None where it has no answer."""

    parent: Parent
    status: int | None


_Lines = dict[int, _Failure]
"""Lines of one block that failed, by ordinal, ascending."""


def _failed(job: RescueJob) -> Iterator[_Lines]:
    """Yield the lines that failed, by blocks that have any."""
    theirs = defaultdict[str, dict[int, Parent]](dict)
    for parent in job.parents:
        theirs[parent.assignment][parent.part] = parent
    with ExitStack() as stack, RowReader() as reader:
        files = [(stack.enter_context(Assignment(Path(name), job.heirs)), each) for name, each in theirs.items()]
        for number in sorted({number for assignment, _ in files for number in assignment.blocks}):
            lines: _Lines = {}
            for assignment, parents in files:
                for ordinal, part in enumerate(assignment.block(number), number * BLOCK):
                    if part in parents:
                        lines[ordinal] = _silent(parents[part])
            for parent in job.parents:
                _read_rows(lines, parent, number, reader)
            if lines:
                yield dict(sorted(lines.items()))


def _silent(parent: Parent) -> _Failure:
    """Return how a line failed of which nothing came."""
    told = parent.refused and not parent.uncalled
    return _Failure(parent, (parent.status or _UNTOLD) if told else None)


def _read_rows(lines: _Lines, parent: Parent, number: int, reader: RowReader) -> None:
    """Take lines of a part out that have an answer, and note how the others failed."""
    path = None if parent.rows is None else bucket_path(Path(parent.rows), number)
    if path is None or not path.exists():
        return
    told = dict[int, Span]()
    for span in spans(path):
        if span.kind != NOTE and (span.ordinal not in told or (span.kind == OK and told[span.ordinal].kind != OK)):
            told[span.ordinal] = span
    for ordinal, found in told.items():
        if found.kind == OK:
            lines.pop(ordinal, None)
        elif found.kind == FAILED and ordinal in lines:  # else it never ran, which has no status
            text = reader.read(path, found.offset, found.length).text
            lines[ordinal] = _Failure(parent, _status(text).status_code)


class _Response(msgspec.Struct, frozen=True):
    status_code: int


_status = msgspec.json.Decoder(_Response).decode


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

    def take_all(self, lines: _Lines, index: LineIndex) -> None:
        """Put the lines of a block into parts, or count them as staying."""
        source, ordinals = Path(self._job.source), list(lines)
        for ordinal, number, line in index.lines(source, ordinals[0], ordinals[-1] + 1):
            failure = lines.get(ordinal)
            further = None if failure is None else self._chooser.goes_on(self._rescue.then, failure.status)
            if failure is None or further is None:
                continue
            refused = self._go_on(ordinal, number, decode_envelope(line), failure, further)
            if refused is None:
                self.went[failure.parent.part] += 1
            else:
                self.stayed[refused] += 1
            passing("rescue.row")

    def _go_on(
        self, ordinal: int, number: int, envelope: Envelope, failure: _Failure, further: Continuation
    ) -> str | None:
        """Put a line into a part of the first target that can have it; return the code of the first refusal if none."""
        first: str | None = None
        for pick in self._picks(failure, further):
            found = self._try_all(pick, ordinal, number, envelope)
            if not isinstance(found, Unplaced):
                return None
            first = first or found.rejection.code
        return first or NO_TARGET

    def _picks(self, failure: _Failure, further: Continuation) -> Iterator[Pick]:
        """Yield what chooses for a line: the target itself, to be called, for one that could not be in a job of it."""
        waited = failure.parent.uncalled or (failure.status is None and not self._rescue.native)
        if waited and further.itself is not None:
            yield self._called(further.itself)
        if not (failure.parent.uncalled and further.again):
            yield self._by_its_way(further.pick)

    def _by_its_way(self, pick: Pick) -> Pick:
        return pick if self._rescue.native else self._called(pick)

    def _called(self, pick: Pick) -> Pick:
        """Return the same pick for ordinary calls, which refuses lines of targets that may not be called."""

        def called(line: Envelope) -> Choice:
            choice = pick(line)._replace(way=DIRECT)
            if self._chooser.spec(choice).way != DIRECT:
                refusal = Misrouted("The target may not be called.", TOO_LATE, strict=False)
                refusal.then = choice.then
                raise refusal
            return choice

        return called

    def _further(self, refused: Unplaced, tried: set[int]) -> Pick | None:
        pick = super()._further(refused, tried)
        return None if pick is None else self._by_its_way(pick)

    def _check_room(self, number: int) -> None:  # noqa: ARG002
        if self._next >= self._job.max_jobs:
            raise LineRejected("The batch may have no further job.", code="too_many_jobs")

    def _mark(self, lane: TargetLane, first: int) -> str:
        facts = (self._job.source_sha256, str(self._next), lane.spec.slug, str(first), "from", self._parents)
        return make_mark(self._job.batch_id, *facts)
