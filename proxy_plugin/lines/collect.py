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
from proxy_plugin.lines.manifest import Assignment, Heir
from proxy_plugin.lines.row_store import ERROR, FAILED, OK, RowMeta, RowWriter
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider, Row, Usage, split_native_id
from proxy_plugin.providers.echoes import Echoes

CANCELLED, EXPIRED = "batch_cancelled", "batch_expired"
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

    `cancelled_as` is the code for rows that the provider calls cancelled; None leaves the provider's own.
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
    heirs: tuple[Heir, ...] = ()
    secrets: tuple[str, ...] = ()  # of the account, which error rows may repeat
    longest_row_bytes: int = LONGEST_ROW_BYTES
    allowance: Allowance = Allowance()  # what the reading of a row may take
    keeping: Keeping | None = None  # where whole answers are kept


class CollectFacts(msgspec.Struct, frozen=True):
    """How many native results became rows, and why others did not: another job's, unreadable.

    `usage` sums the first ok row of each line, which is the one that will count. `lines` have a row, `ran` of them one
    that does not say that the line was cancelled or expired before it ran.
    """

    rows: int
    ok: int
    failed: int
    foreign: int
    corrupt: int
    usage: Usage = Usage()
    lines: int = 0
    ran: int = 0


def collect(job: CollectJob) -> CollectFacts:
    """Write the job's rows durably into its folder. Raises OSError."""
    folder = Path(job.folder)
    empty_folder(folder)
    provider = catalog.load(job.provider)
    writer = RowWriter(folder)
    seen: Counter[str] = Counter()
    answered, known, ran, echoes = _Lines(), _Lines(), _Lines(), Echoes(job.secrets)
    assigned, keeper = Assignment(Path(job.assignment), job.heirs), Keeper(job.keeping, job.endpoint, job.mark)
    with assigned as assignment, Meter(job.allowance) as meter, keeper:
        for row in map(_believed, _native_rows(job, provider, seen, meter)):
            ordinal = _own_ordinal(row, job, assignment)
            if ordinal is None:
                seen["foreign"] += 1
                continue
            kind, meta, text = _stored(row, job.cancelled_as, echoes)
            writer.add(ordinal, job.part, kind, meta, text)
            seen["ok" if row.ok else "failed"] += 1
            seen["lines"] += known.first(ordinal)
            seen["ran"] += row.code not in WHY_NOT_RUN and ran.first(ordinal)
            if row.ok and answered.first(ordinal):
                keeper.take(ordinal, row.model, text)
                seen.update({name: getattr(row.usage, name) for name in _TOKENS} if row.usage is not None else {})
            passing("collect.row")
    writer.close()
    passing("collect.written")
    rows = seen["ok"] + seen["failed"]
    used = Usage(**{name: seen[name] for name in _TOKENS})
    counts = (seen["ok"], seen["failed"], seen["foreign"], seen["corrupt"])
    return CollectFacts(rows, *counts, used, seen["lines"], seen["ran"])


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


def _native_rows(job: CollectJob, provider: BatchProvider, seen: Counter[str], meter: Meter) -> Iterator[Row]:
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


def _own_ordinal(row: Row, job: CollectJob, assignment: Assignment) -> int | None:
    split = split_native_id(row.native_id)
    if split is None or split[0] != job.mark or assignment.part(split[1]) != job.part:
        return None
    return split[1]


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
