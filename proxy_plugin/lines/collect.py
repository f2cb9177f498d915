"""Turn one ended job's stored results into rows by ordinal (worker process).

Only what is provably ours becomes a row: the native id carries the part's mark, and the assignment has that line in
that part. Several rows of one line are all kept; `merge` decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import msgspec

from proxy_plugin.answers.lookup import Keeper, Keeping
from proxy_plugin.ground.durable import empty_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.meter import Allowance, Meter, TooCostly
from proxy_plugin.lines.fan_out.answers import Joining
from proxy_plugin.lines.manifest import Assignment, Heir
from proxy_plugin.lines.row_store import ERROR, FAILED, OK, RowMeta, RowWriter
from proxy_plugin.lines.ways import half
from proxy_plugin.providers.base import Row, Usage, split_request_id
from proxy_plugin.providers.direct.base import PureHalf
from proxy_plugin.providers.echoes import Echoes
from proxy_plugin.providers.marks import RequestId

CANCELLED, EXPIRED, MISSING = "batch_cancelled", "batch_expired", "result_missing"
WHY_NOT_RUN = {  # OpenAI's texts, Batch API guide, 2026-06-27
    CANCELLED: "This request was not executed because the batch was cancelled.",
    EXPIRED: "This request could not be executed before the completion window expired.",
}
LONGEST_ROW_BYTES = 256 * 2**20  # a line of 2,048 embeddings with 3,072 numbers each is about 130 MB
MOST_TOKENS = 10**9  # of one line; the longest contexts are some millions
_READ_BYTES = 256 * 1024
_TOKENS = tuple(each.name for each in fields(Usage))


class CollectJob(msgspec.Struct, frozen=True):
    """`names` are files in `results`. `folder` is this attempt's own: what it holds is removed.

    `cancelled_as` is the code for rows that the provider calls cancelled; None leaves the provider's own. `missing_as`
    is the code for requests without a row, of a line that is several of which others have one.
    """

    provider: str
    endpoint: str
    part: int
    mark: str
    results: str
    names: tuple[str, ...]
    assignment: str
    folder: str
    cancelled_as: str | None = None
    missing_as: str = MISSING
    heirs: tuple[Heir, ...] = ()
    secrets: tuple[str, ...] = ()  # of the account, which error rows may repeat
    way: str = "native"  # by which the part was answered
    longest_row_bytes: int = LONGEST_ROW_BYTES
    allowance: Allowance = Allowance()  # what the reading of a row may take
    keeping: Keeping | None = None  # where whole answers are kept


class CollectFacts(msgspec.Struct, frozen=True):
    """How many native results became rows, and why others did not: another job's, unreadable.

    Those of a line that is several requests are one row. `usage` sums the first ok row of each of the `answered` lines,
    which is the one that will count. `lines`, or requests of them, have a native row, `ran` of these one that does not
    say that it was cancelled or expired before it ran.
    """

    rows: int
    ok: int
    failed: int
    foreign: int
    corrupt: int
    usage: Usage = Usage()
    lines: int = 0
    ran: int = 0
    answered: int = 0


def collect(job: CollectJob) -> CollectFacts:
    """Write the job's rows durably into its folder. Raises OSError."""
    folder = Path(job.folder)
    empty_folder(folder)
    provider = half(job.provider, job.way)
    seen: Counter[str] = Counter()
    keeper = Keeper(job.keeping, job.endpoint, job.mark)
    kept, answers, echoes = _Rows(job, seen, keeper), _answers(job), Echoes(job.secrets)
    with Assignment(Path(job.assignment), job.heirs) as assignment, Meter(job.allowance) as meter, keeper:
        for row in map(_believed, _native_rows(job, provider, seen, meter)):
            asked = _own(row, job, assignment)
            if asked is None:
                seen["foreign"] += 1
            elif asked.of > 1:
                answers.add(asked, *_stored(row, job.cancelled_as, echoes))
            else:
                kept.add(asked.ordinal, *_stored(row, job.cancelled_as, echoes))
            passing("collect.row")
        for ordinal, kind, meta, text, held, ran in answers.joined():
            kept.put(ordinal, kind, meta, text)
            seen.update(lines=held, ran=ran)
    kept.close()
    passing("collect.written")
    rows = seen["ok"] + seen["failed"]
    used = Usage(**{name: seen[name] for name in _TOKENS})
    counts = (seen["ok"], seen["failed"], seen["foreign"], seen["corrupt"])
    return CollectFacts(rows, *counts, used, seen["lines"], seen["ran"], seen["answered"])


def _answers(job: CollectJob) -> Joining:
    why = WHY_NOT_RUN.get(job.missing_as, "The provider ended the job without an answer to it.")
    missing = msgspec.json.encode({"code": job.missing_as, "message": why})
    return Joining(Path(job.folder), not_run=frozenset(WHY_NOT_RUN), missing=missing, longest=job.longest_row_bytes)


class _Rows:
    """The store of the rows of lines, and what is counted of them."""

    def __init__(self, job: CollectJob, seen: Counter[str], keeper: Keeper) -> None:
        self._part, self._seen, self._keeper = job.part, seen, keeper
        self._writer = RowWriter(Path(job.folder))
        self._answered, self._known, self._ran = _Lines(), _Lines(), _Lines()

    def add(self, ordinal: int, kind: int, meta: RowMeta, text: bytes) -> None:
        """Store what a native row says of a line."""
        self._seen["lines"] += self._known.first(ordinal)
        self._seen["ran"] += meta.code not in WHY_NOT_RUN and self._ran.first(ordinal)
        self.put(ordinal, kind, meta, text)

    def put(self, ordinal: int, kind: int, meta: RowMeta, text: bytes) -> None:
        """Store a row of a line."""
        self._writer.add(ordinal, self._part, kind, meta, text)
        self._seen["ok" if kind == OK else "failed"] += 1
        if kind == OK and self._answered.first(ordinal):
            self._seen["answered"] += 1
            self._keeper.take(ordinal, meta.model, text)
            for name in _TOKENS if meta.usage is not None else ():
                self._seen[name] += getattr(meta.usage, name)

    def close(self) -> None:
        """Make all of it durable."""
        self._writer.close()


def _believed(row: Row) -> Row:
    """Return the row without token counts that no line can have: one such number would spoil the sums of all."""
    used = row.usage
    if used is None or all(0 <= getattr(used, name) <= MOST_TOKENS for name in _TOKENS):
        return row
    return replace(row, usage=None)


class _Lines:
    """Which lines have a row of some kind: a bit each, so 5 million lines take 625 KB."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def first(self, ordinal: int) -> bool:
        """Note a row; tell whether it is the line's first."""
        at, bit = ordinal >> 3, 1 << (ordinal & 7)
        if at >= len(self._bits):
            self._bits.extend(bytes(at + 1 - len(self._bits)))
        new = not self._bits[at] & bit
        self._bits[at] |= bit
        return new


def _native_rows(job: CollectJob, provider: PureHalf, seen: Counter[str], meter: Meter) -> Iterator[Row]:
    for name in job.names:
        for line in bounded_lines(Path(job.results, name), job.longest_row_bytes):
            try:
                with meter.line(len(line or b"")):
                    row = provider.row(_present(line), name, job.endpoint)
            except (ValueError, TooCostly):
                seen["corrupt"] += 1
                continue
            if row is not None:
                yield row


def _present(line: bytes | None) -> bytes:
    if line is None:
        raise ValueError("the line is too long to be read")
    return line


def bounded_lines(path: Path, longest: int) -> Iterator[bytes | None]:
    """Yield each line without its line break; None for one of more than `longest` bytes, which is never held."""
    with path.open("rb", buffering=_READ_BYTES) as stream:
        while line := stream.readline(longest + 2):
            content = line.rstrip(b"\r\n")
            if len(content) <= longest:
                yield content
                continue
            while line and not line.endswith(b"\n"):
                line = stream.readline(_READ_BYTES)
            yield None


def _own(row: Row, job: CollectJob, assignment: Assignment) -> RequestId | None:
    asked = split_request_id(row.native_id)
    return asked if asked and asked.mark == job.mark and assignment.part(asked.ordinal) == job.part else None


def _stored(row: Row, cancelled_as: str | None, echoes: Echoes) -> tuple[int, RowMeta, bytes]:
    code, error = row.code, row.error
    if cancelled_as is not None and error is not None and code == CANCELLED:
        code, error = cancelled_as, not_run(cancelled_as)
    meta = RowMeta(code=code, model=row.model, usage=row.usage)
    if error is not None:
        return ERROR, meta, one_line(echoes.hide(error))
    answer = row.response or b"null"
    return (OK, meta, one_line(answer)) if row.ok else (FAILED, meta, one_line(echoes.hide(answer)))


def not_run(code: str) -> bytes:
    """Return the error object of a line that was cancelled or expired before it ran."""
    return msgspec.json.encode({"code": code, "message": WHY_NOT_RUN[code]})


def one_line(text: bytes) -> bytes:
    """Return a JSON text without line breaks. Within JSON they can only be white space between tokens."""
    if b"\n" in text or b"\r" in text:
        return text.replace(b"\r", b" ").replace(b"\n", b" ")
    return text
