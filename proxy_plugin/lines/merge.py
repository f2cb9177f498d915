"""Give every line of a batch exactly one row, in input order (worker process).

Each bucket of 65,536 ordinals is read twice: first the headers of all its rows, to choose one for each line, then the
lines of the source with their chosen rows. The choice costs 29 bytes a line of one bucket, so memory does not grow with
the batch. No time and no chance enters a row: merging again gives the same bytes.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from pathlib import Path

import msgspec

from proxy_plugin.answers.keys import KeyReader
from proxy_plugin.costs.tally import Spent, Tally, total
from proxy_plugin.ground.durable import FileFacts, HashedFile, empty_folder, sync_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.unbroken import unbroken, unbroken_pieces
from proxy_plugin.lines.envelope import decode_envelope
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.manifest import BLOCK, CACHED, REJECTED, Assignment, Heir
from proxy_plugin.lines.row_store import NOTE, OK, RowReader, Span, StoredRow, bucket_path, buckets, spans
from proxy_plugin.lines.verdicts import Decided, Fate, SourceLine, Verdict, Verdicts
from proxy_plugin.providers.base import Usage, native_id

OUTPUT, ERRORS, LEDGER = "output.jsonl", "error.jsonl", "ledger.jsonl"
_MODELS_NAMED = 2
_BUFFER_BYTES = 256 * 1024


class MergeJob(msgspec.Struct, frozen=True):
    """`rows` maps parts to the folders that `collect` wrote, `fates` has every part but those that `heirs` replaced.

    `folder` is this attempt's own: what it holds is removed.
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


class MergeFacts(msgspec.Struct, frozen=True):
    """`completed` rows are in the output file, `failed` in the error file. `usage` sums the completed rows.

    `spent` are the same sums by part and model, with what they cost.
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

    Raises OSError, TruncatedRows, and ValueError where the job's files do not belong together.
    """
    folder = Path(job.folder)
    empty_folder(folder)
    with (
        HashedFile(folder / OUTPUT) as output,
        HashedFile(folder / ERRORS) as error,
        HashedFile(folder / LEDGER) as ledger,
        KeyReader(job.keys) as keys,
    ):
        merged, stores = _Merged(Verdicts(job.fates), output, error, ledger), _Stores(job)
        for line, row, note in _answered(job, stores):
            merged.add(line, row, note, keys.repeat(line.ordinal))
            passing("merge.row")
        facts = merged.facts(stores.superseded)
    sync_folder(folder)
    if facts.completed + facts.failed != job.total:
        raise ValueError(f"{facts.completed + facts.failed} rows were merged for {job.total} lines")
    passing("merge.written")
    return facts


def merge_so_far(job: MergeJob, path: str) -> int:
    """Write the rows that are final into one new file, in input order; return its size in bytes.

    Final are the rows of rejected lines and of the parts in `fates`. They are those that `merge` will write, byte for
    byte. Nothing is durable, and `folder` is left alone. Raises like `merge`.
    """
    verdicts, ended = Verdicts(job.fates), {REJECTED, CACHED, *job.fates}
    with Path(path).open("wb", buffering=_BUFFER_BYTES) as file:
        for line, row, _ in _answered(job, _Stores(job), ended):
            decided = verdicts.of(line, row)
            file.writelines(_output_row(line, decided.fate.mark, decided.verdict))
        return file.tell()


_Answered = tuple[SourceLine, StoredRow | None, StoredRow | None]


def _answered(job: MergeJob, stores: _Stores, wanted: Container[int] | None = None) -> Iterator[_Answered]:
    """Yield every line of the wanted parts, None for all, with the row that counts and what the split noted."""
    assigned = Assignment(Path(job.assignment), job.heirs)
    with LineIndex(Path(job.index)) as index, assigned as assignment, RowReader() as reader:
        if not len(index) == len(assignment) == job.total:
            raise ValueError(f"{len(index)} lines, {len(assignment)} of them assigned, where {job.total} are due")
        for start in range(0, job.total, BLOCK):
            stop = min(start + BLOCK, job.total)
            chosen = _Chosen(stores, start, stop)
            parts = assignment.block(start // BLOCK)
            if wanted is not None and not any(part in wanted for part in set(parts)):
                continue
            for ordinal, number, line in index.lines(Path(job.source), start, stop):
                part = parts[ordinal - start]
                if wanted is None or part in wanted:
                    envelope = decode_envelope(line)
                    where = SourceLine(ordinal, number, envelope.custom_id_json, envelope.model, part)
                    yield where, *chosen.rows(reader, ordinal - start)


class _Stores:
    """All row stores of a batch, in the order in which their rows count, and which of them have rows in a bucket."""

    def __init__(self, job: MergeJob) -> None:
        named = [(REJECTED, job.rejected), *sorted(job.rows.items())]
        named += [] if job.cached is None else [(CACHED, job.cached)]
        self.parts = [part for part, _ in named]
        self.folders = [Path(folder) for _, folder in named]
        self.superseded = 0  # rows met so far that do not count
        self.of_bucket: dict[int, list[int]] = defaultdict(list)
        for store, folder in enumerate(self.folders):
            for bucket in buckets(folder):
                self.of_bucket[bucket].append(store)


class _Spans:
    """Where at most one row of each line of a bucket is."""

    def __init__(self, count: int) -> None:
        self.stores = array("i", [-1]) * count
        self.offsets = array("Q", [0]) * count
        self.lengths = array("I", [0]) * count

    def put(self, at: int, store: int, span: Span) -> None:
        self.stores[at], self.offsets[at], self.lengths[at] = store, span.offset, span.length


class _Chosen:
    """The row that counts of every line from `start` to `stop`: the first ok row, or else the first."""

    def __init__(self, stores: _Stores, start: int, stop: int) -> None:
        bucket = start // BLOCK
        self._parts, self._stores = stores.parts, stores
        self._paths = {store: bucket_path(stores.folders[store], bucket) for store in stores.of_bucket[bucket]}
        self._answers, self._notes = _Spans(stop - start), _Spans(stop - start)
        self._kinds = bytearray(stop - start)
        for store, path in self._paths.items():
            for span in spans(path):
                if not start <= span.ordinal < stop or not self._belongs(store, span):
                    raise ValueError(f"the rows of part {self._parts[store]} hold a row of another part or batch")
                self._consider(span.ordinal - start, store, span)

    def rows(self, reader: RowReader, at: int) -> tuple[StoredRow | None, StoredRow | None]:
        """Return the row that counts and what the split noted of the line."""
        return self._read(reader, self._answers, at), self._read(reader, self._notes, at)

    def _belongs(self, store: int, span: Span) -> bool:
        return span.kind == NOTE or span.part == self._parts[store]

    def _consider(self, at: int, store: int, span: Span) -> None:
        if span.kind == NOTE:
            self._notes.put(at, store, span)
            return
        known = self._kinds[at]
        if known:
            self._stores.superseded += 1
        if not known or (span.kind == OK and known != OK):
            self._kinds[at] = span.kind
            self._answers.put(at, store, span)

    def _read(self, reader: RowReader, kept: _Spans, at: int) -> StoredRow | None:
        store = kept.stores[at]
        if store < 0:
            return None
        return reader.read(self._paths[store], kept.offsets[at], kept.lengths[at])


class _LedgerLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    line: int
    custom_id: msgspec.Raw
    provider: str
    virtual_key: str
    model: str
    job: str | None = None
    attempt: int | None = None
    outcome: str
    cached: bool = False
    code: str | None = None
    usage: Usage | None = None
    cost: float | None = None  # US dollars
    dropped: tuple[str, ...] | None = None
    part: int | None = None
    refused_together: int | None = None  # lines of the part, where the provider refused it for one of them at least
    repeat: int = 0  # equal lines that came before, where answers are kept


_encode = msgspec.json.Encoder().encode


class _Merged:
    """The three files and the sums over their rows."""

    def __init__(self, verdicts: Verdicts, output: HashedFile, error: HashedFile, ledger: HashedFile) -> None:
        self._verdicts, self._output, self._error, self._ledger = verdicts, output, error, ledger
        self._outcomes: Counter[str] = Counter()
        self._tally = Tally()
        self._models: dict[str, None] = {}

    def add(self, line: SourceLine, row: StoredRow | None, note: StoredRow | None, repeat: int = 0) -> None:
        """Write the line's row and its ledger line."""
        decided = self._verdicts.of(line, row)
        file = self._output if decided.ok else self._error
        file.write_line(*_output_row(line, decided.fate.mark, decided.verdict))
        cost = self._count(row.part, decided) if decided.ok and row is not None else None
        self._write_ledger(line, decided, cost, note.meta.dropped if note is not None else None, repeat)
        self._outcomes[decided.verdict.outcome] += 1

    def facts(self, superseded: int) -> MergeFacts:
        """Finish the files durably and return what they hold."""
        output, error, ledger = self._output.finish(), self._error.finish(), self._ledger.finish()
        spent = self._tally.spent()
        return MergeFacts(
            total=ledger.lines,
            completed=output.lines,
            failed=error.lines,
            usage=total(spent).usage,
            models=tuple(self._models),
            output=output,
            error=error,
            ledger=ledger,
            outcomes=dict(sorted(self._outcomes.items())),
            superseded=superseded,
            spent=spent,
        )

    def _write_ledger(
        self, line: SourceLine, decided: Decided, cost: float | None, dropped: tuple[str, ...] | None, repeat: int
    ) -> None:
        fate, verdict, meta, _ = decided
        said = _LedgerLine(
            line=line.number,
            custom_id=msgspec.Raw(line.custom_id),
            provider=fate.provider,
            virtual_key=fate.slug,
            model=meta.model or fate.model or line.model,
            job=fate.job,
            attempt=fate.attempt or None,
            outcome=verdict.outcome,
            cached=line.part == CACHED,
            code=verdict.code,
            usage=meta.usage,
            cost=cost,
            dropped=dropped,
            part=line.part if fate.refused_together else None,
            refused_together=fate.refused_together,
            repeat=repeat,
        )
        self._ledger.write_line(unbroken(_encode(said)) + b"\n")

    def _count(self, part: int, decided: Decided) -> float | None:
        fate, meta = decided.fate, decided.meta
        if meta.model is not None and len(self._models) < _MODELS_NAMED:
            self._models[meta.model] = None
        if part == CACHED:
            return 0.0
        return self._tally.add(part, fate.provider, fate.model, meta.model, meta.usage)


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
