"""Turn one ended job's stored results into rows by ordinal (worker process).

Only what is provably ours becomes a row: the native id carries the part's mark, and the assignment has that line in
that part. Several rows of one line are all kept; `merge` decides.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from operator import add
from pathlib import Path
from struct import Struct

import msgspec
from msgspec import structs

from proxy_plugin.answers.lookup import Keeper, Keeping
from proxy_plugin.ground.allowance import spend
from proxy_plugin.ground.durable import empty_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.meter import Allowance, Meter, TooCostly
from proxy_plugin.lines.fan_out.answers import Joining
from proxy_plugin.lines.manifest import BLOCK, Assignment, Heir
from proxy_plugin.lines.row_store import ERROR, FAILED, OK, RowMeta, RowWriter
from proxy_plugin.lines.ways import half
from proxy_plugin.providers.base import MARK_LENGTH, NATIVE_ID_LENGTH, Row, Usage, split_request_id
from proxy_plugin.providers.direct.base import PureHalf
from proxy_plugin.providers.echoes import Echoes

CANCELLED, EXPIRED, MISSING = "batch_cancelled", "batch_expired", "result_missing"
WHY_NOT_RUN = {  # OpenAI's texts, Batch API guide, 2026-06-27
    CANCELLED: "This request was not executed because the batch was cancelled.",
    EXPIRED: "This request could not be executed before the completion window expired.",
}
LONGEST_ROW_BYTES = 256 * 2**20  # a line of 2,048 embeddings with 3,072 numbers each is about 130 MB
MOST_TOKENS = 10**9  # of one line; the longest contexts are some millions
SEEN = "seen"  # a file beside the rows of a range: the bytes of its lines, by blocks, each behind its number
SEEN_HEAD = Struct("<I")
_READ_BYTES = 256 * 1024
_TOKENS = Usage.__struct_fields__
_KNOWN, _RAN, _ANSWERED = 1, 2, 4  # lines that have a row, one that says they ran, an answer


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
    span: tuple[int, int] | None = None  # bytes that are read of the only file; its store says what it saw of each line


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
    keeper, answers = Keeper(job.keeping, job.endpoint, job.mark), _answers(job)
    with Assignment(Path(job.assignment), job.heirs) as assignment, Meter(job.allowance) as meter, keeper:
        kept = _Rows(job, assignment, answers, keeper)
        for row in _native_rows(job, provider, kept, meter):
            kept.take(row)
            passing("collect.row")
        for ordinal, kind, meta, text, held, ran in answers.joined():
            kept.put(ordinal, kind, meta, text)
            kept.counts.lines, kept.counts.ran = kept.counts.lines + held, kept.counts.ran + ran
    kept.close()
    if job.span is not None:
        kept.counts.store(folder / SEEN)
    passing("collect.written")
    return kept.facts()


def _answers(job: CollectJob) -> Joining:
    why = WHY_NOT_RUN.get(job.missing_as, "The provider ended the job without an answer to it.")
    missing = msgspec.json.encode({"code": job.missing_as, "message": why})
    return Joining(Path(job.folder), not_run=frozenset(WHY_NOT_RUN), missing=missing, longest=job.longest_row_bytes)


class SeenLines:
    """What is counted of the rows of lines, each of which has a byte of what was seen of it, in blocks that have any.

    So memory grows with the lines of a part, not with how many come before them.
    """

    def __init__(self) -> None:
        self.blocks: dict[int, bytearray] = {}
        self.used = [0] * len(_TOKENS)
        self.lines = self.ran = self.answered = 0

    def make_room(self, block: int) -> bytearray:
        """Return the bytes of the lines of a block."""
        seen = self.blocks.get(block)
        if seen is None:
            seen = self.blocks[block] = bytearray(BLOCK)
        return seen

    def note(self, seen: bytearray, at: int, code: str | None) -> None:
        """Note a row of a line, which is at a place of the bytes of its block."""
        what = _KNOWN if code in WHY_NOT_RUN else _KNOWN | _RAN
        new = what & ~seen[at]
        seen[at] |= what
        self.lines += new & _KNOWN
        self.ran += (new & _RAN) >> 1

    def note_answer(self, seen: bytearray, at: int, usage: Usage | None) -> bool:
        """Note an answer to a line, and tell whether it is the first: that one will count."""
        if seen[at] & _ANSWERED:
            return False
        seen[at] |= _ANSWERED
        self.answered += 1
        if usage is not None:
            self.used = list(map(add, self.used, structs.astuple(usage)))
        return True

    def store(self, path: Path) -> None:
        """Write the bytes of all blocks into a file that nobody needs after a crash."""
        spend(len(self.blocks) * (SEEN_HEAD.size + BLOCK))
        with path.open("wb", buffering=0) as stream:
            for block, seen in self.blocks.items():
                stream.write(SEEN_HEAD.pack(block))
                stream.write(seen)


class _Rows:
    """The store of the rows of lines, and what is counted of them.

    `take` has one way for an answer to a line of one request, `_take_any` another for every row. Both write the same.
    """

    def __init__(self, job: CollectJob, assignment: Assignment, answers: Joining, keeper: Keeper) -> None:
        self._job, self._assignment, self._answers, self._keeper = job, assignment, answers, keeper
        self._mark, self._part, self._echoes = job.mark, job.part, Echoes(job.secrets)
        self._writer = RowWriter(Path(job.folder))
        self._block, self._parts, self._seen = -1, array("I"), bytearray()
        self.counts = SeenLines()
        self.ok = self.failed = self.foreign = self.corrupt = 0

    def take(self, row: Row) -> None:
        """Store what a native row says, if it is provably of a line of this part."""
        native, text, usage = row.native_id, row.response, row.usage
        if not row.ok or row.code is not None or not text or not (usage is None or _is_likely(usage)):
            self._take_any(row)
            return
        plain = len(native) == NATIVE_ID_LENGTH and native.isalnum() and native.isascii() and native == native.lower()
        if not plain or not native.startswith(self._mark):
            self._take_any(row)
            return
        ordinal = int(native[MARK_LENGTH:], 36)
        at = self._place(ordinal)
        if at < 0:
            self.foreign += 1
            return
        meta = RowMeta(model=row.model, usage=usage)
        text = one_line(text)
        self._writer.add(ordinal, self._part, OK, meta, text)
        self.ok += 1
        if self._seen[at] != _KNOWN | _RAN | _ANSWERED:
            self.counts.note(self._seen, at, None)
            if self.counts.note_answer(self._seen, at, usage):
                self._keeper.take(ordinal, meta.model, text)

    def _take_any(self, row: Row) -> None:
        asked = split_request_id(row.native_id)
        at = self._place(asked.ordinal) if asked is not None and asked.mark == self._mark else -1
        if asked is None or at < 0:
            self.foreign += 1
            return
        kind, meta, text = _stored(_believed(row), self._job.cancelled_as, self._echoes)
        if asked.of > 1:
            self._answers.add(asked, kind, meta, text)
            return
        self.counts.note(self._seen, at, meta.code)
        self.put(asked.ordinal, kind, meta, text)

    def _place(self, ordinal: int) -> int:
        """Return the place of a line of this part in its block, whose bytes are `_seen` now; -1 for any other."""
        block, at = divmod(ordinal, BLOCK)
        if block != self._block:
            self._block, self._parts = block, self._assignment.block(block)
            self._seen = self.counts.blocks.get(block) or bytearray()
        if at >= len(self._parts) or self._parts[at] != self._part:
            return -1
        if not self._seen:
            self._seen = self.counts.make_room(block)
        return at

    def put(self, ordinal: int, kind: int, meta: RowMeta, text: bytes) -> None:
        """Store a row of a line."""
        self._writer.add(ordinal, self._part, kind, meta, text)
        if kind != OK:
            self.failed += 1
            return
        self.ok += 1
        block, at = divmod(ordinal, BLOCK)
        if self.counts.note_answer(self.counts.make_room(block), at, meta.usage):
            self._keeper.take(ordinal, meta.model, text)

    def close(self) -> None:
        """Make all of it durable."""
        self._writer.close()

    def facts(self) -> CollectFacts:
        """Return what was counted."""
        rows, counts = (self.ok, self.failed, self.foreign, self.corrupt), self.counts
        found = (counts.lines, counts.ran, counts.answered)
        return CollectFacts(self.ok + self.failed, *rows, Usage(*counts.used), *found)


def _is_likely(used: Usage) -> bool:
    """Tell whether a line can have so many tokens: one number that is none would spoil the sums of all."""
    tokens: tuple[int, ...] = structs.astuple(used)
    return min(tokens) >= 0 and max(tokens) <= MOST_TOKENS


def _believed(row: Row) -> Row:
    """Return the row without token counts that no line can have."""
    return row if row.usage is None or _is_likely(row.usage) else structs.replace(row, usage=None)


def _native_rows(job: CollectJob, provider: PureHalf, kept: _Rows, meter: Meter) -> Iterator[Row]:
    for name in job.names:
        for line in bounded_lines(Path(job.results, name), job.longest_row_bytes, job.span):
            try:
                row = meter.run(len(line or b""), provider.row, _present(line), name, job.endpoint)
            except (ValueError, TooCostly):
                kept.corrupt += 1
                continue
            if row is not None:
                yield row


def _present(line: bytes | None) -> bytes:
    if line is None:
        raise ValueError("the line is too long to be read")
    return line


def bounded_lines(path: Path, longest: int, span: tuple[int, int] | None = None) -> Iterator[bytes | None]:
    """Yield each line without its line break; None for one of more than `longest` bytes, which is never held.

    `span`: of a stretch of the file alone.
    """
    held, size = list[bytes](), 0  # of the line that the blocks before began
    start, stop = span or (0, path.stat().st_size)
    with path.open("rb", buffering=0) as stream:
        stream.seek(start)
        while block := stream.read(min(_READ_BYTES, stop - start)):
            start += len(block)
            first, *lines = block.split(b"\n")
            held, size = [*held, first] if size <= longest else [], size + len(first)
            if lines:
                yield _bounded(b"".join(held), size, longest)
                for line in lines[:-1]:
                    yield _bounded(line, len(line), longest)
                held, size = lines[-1:], len(lines[-1])
    if size:
        yield _bounded(b"".join(held), size, longest)


def _bounded(line: bytes, size: int, longest: int) -> bytes | None:
    content = line.rstrip(b"\r")
    return content if size - len(line) + len(content) <= longest else None


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
