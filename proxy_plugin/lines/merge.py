"""Give every line of a batch exactly one row, in input order (worker process).

Each bucket of 65,536 ordinals is read twice: first the headers of all its rows, to choose one for each line, then the
lines of the source with their chosen rows. The choice costs 29 bytes a line of one bucket, and some 300 a line that
went on to another part, so memory does not grow with the batch. No time and no chance enters a row: merging again gives
the same bytes.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from proxy_plugin.answers.keys import KeyReader
from proxy_plugin.costs.tally import Spent, Tally, added_up, total
from proxy_plugin.ground.durable import FileFacts, HashedFile, empty_folder, sync_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.unbroken import unbroken, unbroken_pieces
from proxy_plugin.lines.envelope import decode_envelope
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.manifest import BLOCK, CACHED, REJECTED, Assignment, Heir
from proxy_plugin.lines.merging.ledger import LedgerLine
from proxy_plugin.lines.merging.ordinary import Ordinary
from proxy_plugin.lines.onward.told import ChosenRows, Onward, Stores, Told, onward_of
from proxy_plugin.lines.row_store import RowReader
from proxy_plugin.lines.verdicts import SUCCEEDED, SUPERSEDED, Decided, Fate, SourceLine, Verdict, Verdicts
from proxy_plugin.providers.base import Usage, native_id

OUTPUT, ERRORS, LEDGER = "output.jsonl", "error.jsonl", "ledger.jsonl"
MODELS_NAMED = 2
_BUFFER_BYTES = 256 * 1024


class RescueFiles(msgspec.Struct, frozen=True):
    """What a rescue wrote: which lines went on to which parts, and what it noted of them."""

    assignment: str
    remarks: str


class MergeJob(msgspec.Struct, frozen=True):
    """`rows` maps parts to the folders that `collect` wrote, `fates` has every part but those that `heirs` replaced.

    `rescues` are the folders and assignments of lines that went on, in the order in which they did, `late` more rows of
    parts whose lines had gone on when they were found. `folder` is this attempt's own: what it holds is removed.
    `ordinals` are the first of a range of whole blocks of lines, and the one behind its last; None: all lines.
    """

    batch_id: str
    source: str
    index: str
    total: int
    assignment: str
    rejected: str
    rows: dict[int, str]
    fates: dict[int, Fate]
    folder: str
    heirs: tuple[Heir, ...] = ()
    cached: str | None = None  # the folder of the answers that were at hand
    keys: str | None = None  # of kept answers, and how many equal lines came before each
    rescues: tuple[RescueFiles, ...] = ()
    late: dict[int, str] = {}
    ordinals: tuple[int, int] | None = None


class MergeFacts(msgspec.Struct, frozen=True):
    """`completed` rows are in the output file, `failed` in the error file. `usage` sums the completed rows.

    `spent` are the same sums by part and model, with what they cost, and with answers that are paid and do not count.
    `models` names up to two that answered; `outcomes` counts lines; `superseded` counts rows that did not count.
    """

    total: int
    completed: int
    failed: int
    usage: Usage
    models: tuple[str, ...]
    output: FileFacts
    error: FileFacts
    ledger: FileFacts
    outcomes: dict[str, int]
    superseded: int
    spent: tuple[Spent, ...] = ()


def merge(job: MergeJob) -> MergeFacts:
    """Write output, error and ledger file durably into the job's folder; their rows sum up to `total`.

    Those of a range of lines are neither hashed nor synced: they are joined to others, or made again.

    Raises OSError, TruncatedRows, and ValueError where the job's files do not belong together.
    """
    folder, whole = Path(job.folder), job.ordinals is None
    empty_folder(folder)
    with (
        HashedFile(folder / OUTPUT, whole=whole) as output,
        HashedFile(folder / ERRORS, whole=whole) as error,
        HashedFile(folder / LEDGER, whole=whole) as ledger,
        KeyReader(job.keys) as keys,
    ):
        merged, stores = _Merged(job.fates, output, error, ledger, _repeats(job, keys)), _stores(job)
        for block in _blocks(job, stores):
            merged.add_all(block)
        facts = merged.facts(stores.superseded)
    sync_folder(folder)
    first, stop = _span(job)
    if facts.completed + facts.failed != stop - first:
        raise ValueError(f"{facts.completed + facts.failed} rows were merged for {stop - first} lines")
    passing("merge.written")
    return facts


def merge_so_far(job: MergeJob, path: str) -> int:
    """Write the rows that are final into one new file, in input order; return its size in bytes.

    Final are the rows of rejected lines and of lines whose last part is in `fates`. They are those that `merge` will
    write, byte for byte. Nothing is durable, and `folder` is left alone. Raises like `merge`.
    """
    verdicts, ended = Verdicts(job.fates), {REJECTED, CACHED, *job.fates}
    with Path(path).open("wb", buffering=_BUFFER_BYTES) as file:
        for line, told in _answered(job, ended):
            decided = verdicts.of(line._replace(part=told.part), told.row)
            file.writelines(_output_row(line, decided.fate.mark, decided.verdict))
        return file.tell()


def _repeats(job: MergeJob, keys: KeyReader) -> Callable[[int], int] | None:
    """Return what tells how many equal lines came before one; None where no answers are kept."""
    return keys.repeat if job.keys is not None and Path(job.keys).exists() else None


def _span(job: MergeJob) -> tuple[int, int]:
    return job.ordinals or (0, job.total)


def _stores(job: MergeJob) -> Stores:
    remarks = (job.rejected, *(each.remarks for each in job.rescues))
    rows = job.rows if job.cached is None else {**job.rows, CACHED: job.cached}
    return Stores(remarks, rows, job.late)


class _Block(NamedTuple):
    """Lines of the source, with their places from the first of the block on, and what is told of them."""

    lines: Iterator[tuple[int, int, bytes]]
    start: int
    parts: array[int]
    onward: Mapping[int, Sequence[Onward]]
    chosen: ChosenRows
    reader: RowReader

    def line(self, ordinal: int, number: int, line: bytes) -> tuple[SourceLine, Told]:
        """Return a line and what is told of it."""
        at, envelope = ordinal - self.start, decode_envelope(line)
        where = SourceLine(ordinal, number, envelope.custom_id_json, envelope.model, self.parts[at])
        return where, self.chosen.told(self.reader, at, self.parts[at])


def _blocks(job: MergeJob, stores: Stores, wanted: Container[int] | None = None) -> Iterator[_Block]:
    """Yield every block that has a line whose last part is a wanted one; None: all."""
    with ExitStack() as stack:
        index, reader = stack.enter_context(LineIndex(Path(job.index))), stack.enter_context(RowReader())
        assignment = stack.enter_context(Assignment(Path(job.assignment), job.heirs))
        rescued = [stack.enter_context(Assignment(Path(each.assignment), job.heirs, kept=1)) for each in job.rescues]
        if not len(index) == len(assignment) == job.total:
            raise ValueError(f"{len(index)} lines, {len(assignment)} of them assigned, where {job.total} are due")
        first, last = _span(job)
        for start in range(first, last, BLOCK):
            stop = min(start + BLOCK, last)
            parts = assignment.block(start // BLOCK)
            onward = onward_of(rescued, start // BLOCK)
            if wanted is None or any(part in wanted for part in _last(parts, onward)):
                chosen = ChosenRows(stores, start, stop, onward)
                yield _Block(index.lines(Path(job.source), start, stop), start, parts, onward, chosen, reader)


def _answered(job: MergeJob, wanted: Container[int]) -> Iterator[tuple[SourceLine, Told]]:
    """Yield every line whose last part is a wanted one, with what is told of it."""
    for block in _blocks(job, _stores(job), wanted):
        for ordinal, number, line in block.lines:
            at = ordinal - block.start
            if (block.onward[at][-1].part if at in block.onward else block.parts[at]) in wanted:
                yield block.line(ordinal, number, line)


def _last(parts: Iterable[int], onward: Mapping[int, Sequence[Onward]]) -> set[int]:
    return {each[-1].part for each in onward.values()}.union(parts)


class _Models:
    """The first models that answered."""

    def __init__(self) -> None:
        self.named: dict[str, None] = {}

    def name(self, model: str | None) -> None:
        if model is not None and len(self.named) < MODELS_NAMED:
            self.named[model] = None


class _Merged:
    """The three files and the sums over their rows."""

    def __init__(
        self,
        fates: Mapping[int, Fate],
        output: HashedFile,
        error: HashedFile,
        ledger: HashedFile,
        repeats: Callable[[int], int] | None,
    ) -> None:
        self._verdicts, self._output, self._error, self._ledger = Verdicts(fates), output, error, ledger
        self._repeats = repeats
        self._outcomes: Counter[str] = Counter()
        self._tally, self._paid = Tally(), Tally()  # answers that count, and others
        self._models = _Models()  # an object of its own: no method of this one, which would hold itself by it
        self._ordinary = Ordinary(fates, (output, ledger), self._tally, self._models.name, repeats)

    def add_all(self, block: _Block) -> None:
        """Write what is to be written of each line of a block."""
        ordinary = self._ordinary
        ordinary.begin(block.chosen, block.onward, block.reader)
        for ordinal, number, line in block.lines:
            if not ordinary.add(ordinal, ordinal - block.start, number, line):
                self.add(*block.line(ordinal, number, line), self._repeats(ordinal) if self._repeats else 0)
            passing("merge.row")

    def add(self, line: SourceLine, told: Told, repeat: int = 0) -> None:
        """Write the line's row, and a ledger line for each part that had it, that of the row last."""
        for each in told.before:
            self._superseded(line, each)
        decided = self._verdicts.of(line._replace(part=told.part), told.row)
        file = self._output if decided.ok else self._error
        file.write_line(*_output_row(line, decided.fate.mark, decided.verdict))
        cost = self._count(told.part, decided) if decided.ok else None
        self._write_ledger(line, decided, cost, told, repeat=repeat)
        self._outcomes[decided.verdict.outcome] += 1

    def _superseded(self, line: SourceLine, told: Told) -> None:
        """Note what a part says of a line for which another one counts. Its answer is paid for."""
        decided = self._verdicts.of(line._replace(part=told.part), told.row)
        cost = self._paid.add(*_answer_of(told.part, decided)) if decided.ok else None
        if decided.ok:
            decided = decided._replace(verdict=decided.verdict._replace(outcome=SUPERSEDED))
        self._write_ledger(line, decided, cost, told, counts=False)

    def facts(self, superseded: int) -> MergeFacts:
        """Finish the files durably and return what they hold."""
        output, error, ledger = self._output.finish(), self._error.finish(), self._ledger.finish()
        spent = self._tally.spent()
        self._outcomes.update({SUCCEEDED: self._ordinary.written} if self._ordinary.written else {})
        return MergeFacts(
            total=self._outcomes.total(),
            completed=output.lines,
            failed=error.lines,
            usage=total(spent).usage,
            models=tuple(self._models.named),
            output=output,
            error=error,
            ledger=ledger,
            outcomes=dict(sorted(self._outcomes.items())),
            superseded=superseded,
            spent=added_up([spent, self._paid.spent()]),
        )

    def _write_ledger(
        self,
        line: SourceLine,
        decided: Decided,
        cost: float | None,
        told: Told,
        *,
        counts: bool = True,
        repeat: int = 0,
    ) -> None:
        fate, verdict, meta, _ = decided
        said = LedgerLine(
            line=line.number,
            custom_id=msgspec.Raw(line.custom_id),
            provider=fate.provider,
            virtual_key=fate.slug,
            model=meta.model or fate.model or line.model,
            job=fate.job,
            attempt=fate.attempt or None,
            outcome=verdict.outcome,
            cached=told.part == CACHED,
            code=verdict.code,
            requests=meta.requests,
            usage=meta.usage,
            cost=cost,
            dropped=told.note.meta.dropped if told.note is not None else None,
            part=told.part if fate.refused_together else None,
            refused_together=fate.refused_together,
            repeat=repeat,
            counts=counts,
        )
        self._ledger.write_line(said.text())

    def _count(self, part: int, decided: Decided) -> float | None:
        meta = decided.meta
        self._models.name(meta.model)
        if part == CACHED:
            return 0.0
        return self._tally.add(*_answer_of(part, decided))


def _answer_of(part: int, decided: Decided) -> tuple[int, str, str | None, str | None, Usage | None, str]:
    fate, meta = decided.fate, decided.meta
    return part, fate.provider, fate.model, meta.model, meta.usage, fate.way


def _output_row(line: SourceLine, mark: str, verdict: Verdict) -> tuple[bytes, ...]:
    """Return the pieces of OpenAI's output row, one line to every reader; a large piece is not copied as a whole."""
    return (
        b'{"id":"batch_req_',
        native_id(mark, line.ordinal).encode(),
        b'","custom_id":',
        unbroken(line.custom_id),
        b',"response":',
        *unbroken_pieces(verdict.response),
        b',"error":',
        *unbroken_pieces(verdict.error),
        b"}\n",
    )
