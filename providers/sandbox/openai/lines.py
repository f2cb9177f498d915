"""The lines of an OpenAI batch: validation, execution and result files. Runs in worker threads and processes.

`examine` reads an input file once: it validates every line as OpenAI does and, while the line is at hand, writes its
result row to `rows` and a fixed-width record to `index`. `assemble` then only copies rows, in the order in which the
lines "ran": a seeded shuffle, so that neither full nor partial results ever come in input order.
"""

import hashlib
import json
import os
import random
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from proxy_plugin.providers.sandbox.answers import UnknownMarker, markers, user_text
from proxy_plugin.providers.sandbox.openai.bodies import error_body, response_body
from proxy_plugin.providers.sandbox.openai.validation import (
    Assignment,
    Bad,
    Problem,
    Seen,
    checked,
    no_such_file,
    numbered,
)

RAN_WELL, RAN_BADLY, NOT_RUN = range(3)

# offset of the row, its length, length of its head (up to the custom_id), length of a stranger's row that follows it,
# input and output tokens, flags, outcome
_RECORD = struct.Struct("<QIIIIIBB")
_IN_ERRORS, _MISSING, _DUPLICATE = 1, 2, 4

CANCELLED = ("batch_cancelled", "This request was not executed because the batch was cancelled.")
EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
TIMED_OUT = ("request_timeout", "The model did not answer in time.")


@dataclass(frozen=True, slots=True)
class Examined:
    """`outcomes` has one byte a line, in the order in which they run: RAN_WELL, RAN_BADLY or NOT_RUN.

    `noted` are problems of lines that failed by themselves.
    """

    problem: Problem | None = None
    model: str | None = None
    input_tokens: int = 0
    outcomes: bytes = b""
    noted: tuple[Problem, ...] = ()

    def ran(self, done: int) -> int:
        """How many of the first `done` lines the model really saw."""
        return done - self.outcomes.count(NOT_RUN, 0, done)

    def failed(self, done: int) -> int:
        return done - self.outcomes.count(RAN_WELL, 0, done)


@dataclass(frozen=True, slots=True)
class Assembled:
    """Sizes in bytes of the two result files (0: not written) and the usage of the lines that ran well."""

    output_bytes: int
    error_bytes: int
    input_tokens: int
    output_tokens: int


def examine(task: Assignment) -> Examined:
    """Validate and answer every line of `task.source`. A vanished file is a `Problem`, as are all faults of lines."""
    task.folder.mkdir(parents=True, exist_ok=True)
    try:
        return _examine(task)
    except FileNotFoundError:
        return Examined(problem=no_such_file())
    except Bad as bad:
        return Examined(problem=numbered(bad.problem, task.differs))


def _examine(task: Assignment) -> Examined:
    seen = Seen()
    records: list[bytes] = []
    noted: list[Problem] = []
    offset = tokens = 0
    with task.source.open("rb") as lines, (task.folder / "rows").open("wb") as rows:
        for number, raw in enumerate(lines, 1):
            try:
                row = _run(checked(raw, number, seen, task), f"{task.identity}{number:x}", task)
            except Bad as bad:
                if not task.differs.bad_lines_alone or bad.problem.code == "too_many_tasks":
                    raise
                noted.append(numbered(bad.problem, task.differs))
                row = _refused(raw, f"{task.identity}{number:x}", bad.problem)
            records.append(row.record(offset))
            tokens += row.input_tokens
            offset += rows.write(row.head + row.tail + row.stranger)
    if not records:
        raise Bad("empty_file", "The input file is empty. Please ensure that the batch contains requests.")
    order = random.Random(task.seed)
    order.shuffle(records)
    (task.folder / "index").write_bytes(b"".join(records))
    return Examined(None, seen.model, tokens, bytes(record[-1] for record in records), tuple(noted))


# Execution.


@dataclass(slots=True)
class _Row:
    head: bytes  # {"id":...,"custom_id":...
    tail: bytes  # ,"response":...}\n
    stranger: bytes = b""  # a whole row
    outcome: int = RAN_WELL
    flags: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def record(self, offset: int) -> bytes:
        lengths = len(self.head) + len(self.tail), len(self.head), len(self.stranger)
        return _RECORD.pack(offset, *lengths, self.input_tokens, self.output_tokens, self.flags, self.outcome)


def _run(line: dict[str, Any], identity: str, task: Assignment) -> _Row:
    head = _head(identity, line["custom_id"])
    try:
        wanted = markers(user_text(task.endpoint, line["body"]), task.style)
    except UnknownMarker as wrong:
        body = error_body(400, f"The sandbox knows no marker {wrong}.", code="unknown_sandbox_marker")
        return _failed(head, _answered(400, identity, body))
    row = _outcome(line["body"], wanted, head, identity, task)
    row.flags |= ("missing" in wanted) * _MISSING | ("duplicate" in wanted) * _DUPLICATE
    if "foreign" in wanted:
        row.stranger = _head(f"stranger{identity}", wanted["foreign"] or f"stranger-{identity}") + row.tail
    return row


def _head(identity: str, custom_id: str) -> bytes:
    return b'{"id":"batch_req_%s","custom_id":%s' % (identity.encode(), _dumps(custom_id))


def _refused(raw: bytes, identity: str, problem: Problem) -> _Row:
    """The row of a line that is no good, where that fails the line alone. Its shape is UNVERIFIED."""
    try:
        line = json.loads(raw)
    except ValueError:
        line = None
    custom_id = line.get("custom_id") if isinstance(line, dict) else None
    head = _head(identity, custom_id if isinstance(custom_id, str) else "")
    return _failed(head, _unanswered(problem.code, problem.message), NOT_RUN)


def _failed(head: bytes, tail: bytes, outcome: int = RAN_BADLY) -> _Row:
    return _Row(head, tail, outcome=outcome, flags=_IN_ERRORS)


def _outcome(body: dict[str, Any], wanted: dict[str, str], head: bytes, identity: str, task: Assignment) -> _Row:
    if "expire" in wanted:
        return _failed(head, _unanswered(*EXPIRED), NOT_RUN)
    if "timeout" in wanted:
        return _failed(head, _unanswered(*TIMED_OUT))
    status = int(wanted.get("error", 200))
    if status == 0:
        # Users report such rows, counted as completed (reference page, "Output and error files").
        return _Row(head, _answered(0, identity, {}))
    if task.differs.streams_fail and {"stream", "stream_options"} & body.keys():
        status = 500
    if not 200 <= status < 300:
        failure = error_body(status, f"The line asked the sandbox for an error {status}.")
        if task.differs.error_rows == "error":
            plain = {"code": str(status), "message": failure["error"]["message"], "param": None, "type": None}
            return _failed(head, b',"response":null,"error":%s}\n' % _dumps(plain))
        return _failed(head, _answered(status, identity, failure))
    made, given, spent = response_body(task.endpoint, body, identity=identity, created=task.created, style=task.style)
    return _Row(head, _answered(status, identity, made), input_tokens=given, output_tokens=spent)


def _answered(status: int, identity: str, body: dict[str, Any]) -> bytes:
    wrapped = b',"response":{"status_code":%d,"request_id":"req_%s","body":%s},"error":null}\n'
    return wrapped % (status, hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest().encode(), _dumps(body))


def _unanswered(code: str, message: str) -> bytes:
    return b',"response":null,"error":%s}\n' % _dumps({"code": code, "message": message})


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()


# Result files.


def assemble(folder: Path, done: int, lost: int, reason: tuple[str, str], output: Path, errors: Path) -> Assembled:
    """Write the result files of the batch in `folder`.

    The first `done` lines of the running order ran; of these the first `lost` are in no file (a live surprise after
    a cancel). The others get an error row with `reason`, a code and a message. An empty file is not left behind.
    """
    with ExitStack() as stack:
        rows = stack.enter_context((folder / "rows").open("rb"))
        out, bad = (stack.enter_context(path.open("wb")) for path in (output, errors))
        tokens_in, tokens_out = _copy_rows(_records(folder, 0, done), lost, rows, out, bad)
        ending = _unanswered(*reason)
        for record in _records(folder, done, None):
            bad.write(os.pread(rows.fileno(), record.head_length, record.offset) + ending)
    sizes = [path.stat().st_size for path in (output, errors)]
    for path, size in zip((output, errors), sizes, strict=True):
        if size == 0:
            path.unlink()
    return Assembled(sizes[0], sizes[1], tokens_in, tokens_out)


@dataclass(frozen=True, slots=True)
class _Record:
    offset: int
    length: int
    head_length: int
    stranger_length: int
    input_tokens: int
    output_tokens: int
    flags: int
    outcome: int


def _records(folder: Path, start: int, end: int | None) -> Iterator[_Record]:
    index = (folder / "index").read_bytes()  # 30 bytes a line, 1.5 MB for the largest batch
    stop = len(index) if end is None else end * _RECORD.size
    for fields in _RECORD.iter_unpack(memoryview(index)[start * _RECORD.size : stop]):
        yield _Record(*fields)


def _copy_rows(records: Iterable[_Record], lost: int, rows: BinaryIO, out: BinaryIO, bad: BinaryIO) -> tuple[int, int]:
    tokens_in = tokens_out = 0
    again: list[tuple[BinaryIO, _Record]] = []
    for number, record in enumerate(records):
        tokens_in, tokens_out = tokens_in + record.input_tokens, tokens_out + record.output_tokens
        if number < lost or record.flags & _MISSING:
            continue
        target = bad if record.flags & _IN_ERRORS else out
        target.write(os.pread(rows.fileno(), record.length, record.offset))
        out.write(os.pread(rows.fileno(), record.stranger_length, record.offset + record.length))
        if record.flags & _DUPLICATE:
            again.append((target, record))
    for target, record in again:
        target.write(os.pread(rows.fileno(), record.length, record.offset))
    return tokens_in, tokens_out
