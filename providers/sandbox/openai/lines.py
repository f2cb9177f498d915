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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from proxy_plugin.providers.sandbox.answers import POISON, Style, UnknownMarker, markers, poison, user_text
from proxy_plugin.providers.sandbox.openai.bodies import error_body, input_count, response_body

RAN_WELL, RAN_BADLY, NOT_RUN = range(3)

# offset of the row, its length, length of its head (up to the custom_id), length of a stranger's row that follows it,
# input and output tokens, flags, outcome
_RECORD = struct.Struct("<QIIIIIBB")
_IN_ERRORS, _MISSING, _DUPLICATE = 1, 2, 4

CANCELLED = ("batch_cancelled", "This request was not executed because the batch was cancelled.")
EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
TIMED_OUT = ("request_timeout", "The model did not answer in time.")


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing wrong with an input file, as in `batch.errors.data[]`; `line` is 1-based."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class _Bad(Exception):
    def __init__(self, code: str, message: str, param: str | None = None, line: int | None = None) -> None:
        self.problem = Problem(code, message, param, line)
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What `examine` needs to know. `seed` shuffles, `identity` makes row ids, `created` is in Unix seconds."""

    source: Path
    folder: Path
    endpoint: str
    identity: str
    created: int
    seed: int
    max_lines: int
    max_embedding_inputs: int
    unknown_models: frozenset[str]
    style: Style


@dataclass(frozen=True, slots=True)
class Examined:
    """`outcomes` has one byte a line, in the order in which they run: RAN_WELL, RAN_BADLY or NOT_RUN."""

    problem: Problem | None = None
    model: str | None = None
    input_tokens: int = 0
    outcomes: bytes = b""

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


@dataclass(slots=True)
class _Seen:
    """What one line leaves behind for the judgement of the next."""

    ids: set[str] = field(default_factory=set)
    model: str | None = None
    embedding_inputs: int = 0


def examine(task: Assignment) -> Examined:
    """Validate and answer every line of `task.source`. A vanished file is a `Problem`, as are all faults of lines."""
    task.folder.mkdir(parents=True, exist_ok=True)
    try:
        return _examine(task)
    except FileNotFoundError:
        return Examined(problem=no_such_file())
    except _Bad as bad:
        return Examined(problem=bad.problem)


def no_such_file() -> Problem:
    """Unknown, deleted, foreign and wrong-purpose files are told apart by nobody (reference page, table)."""
    return Problem("invalid_request", "The input file could not be found or cannot be used for a batch.", "file_id")


def _examine(task: Assignment) -> Examined:
    seen = _Seen()
    records: list[bytes] = []
    offset = tokens = 0
    with task.source.open("rb") as lines, (task.folder / "rows").open("wb") as rows:
        for number, raw in enumerate(lines, 1):
            line = _checked(raw, number, seen, task)
            row = _run(line, f"{task.identity}{number:x}", task)
            records.append(row.record(offset))
            tokens += row.input_tokens
            offset += rows.write(row.head + row.tail + row.stranger)
    if not records:
        raise _Bad("empty_file", "The input file is empty. Please ensure that the batch contains requests.")
    order = random.Random(task.seed)
    order.shuffle(records)
    (task.folder / "index").write_bytes(b"".join(records))
    return Examined(None, seen.model, tokens, bytes(record[-1] for record in records))


# Validation: the first bad line ends it (reference page, "Validation errors").


def _checked(raw: bytes, number: int, seen: _Seen, task: Assignment) -> dict[str, Any]:
    if number > task.max_lines:
        raise _Bad("too_many_tasks", f"The batch has more than {task.max_lines} requests.")
    line = _parsed(raw, number)
    _check_envelope(line, number, seen, task.endpoint)
    _check_body(line["body"], number, seen, task)
    if b"[[sandbox:poison" in raw and (way := poison(task.endpoint, line["body"])):
        raise _Bad("invalid_request", POISON, "body.messages", None if way == "silent" else number)
    return line


def _parsed(raw: bytes, number: int) -> dict[str, Any]:
    """The standard library reads what orjson refuses or alters: lone surrogates, integers beyond 64 bits."""
    try:
        line = json.loads(raw.decode(), parse_constant=_not_json)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        raise _Bad("invalid_json_line", "This line is not parseable as valid JSON.", None, number)
    return line


def _not_json(word: str) -> None:
    raise ValueError(word)


def _check_envelope(line: dict[str, Any], number: int, seen: _Seen, endpoint: str) -> None:
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if line.get(name) in (None, ""):
            raise _Bad("missing_required_parameter", f"Missing required parameter: '{name}'.", name, number)
        if not isinstance(line[name], kind):
            raise _Bad("invalid_request", f"Invalid type for '{name}'.", name, number)
        if name == "custom_id":
            _check_unique(line[name], number, seen)
    if line["method"] != "POST":
        raise _Bad("invalid_request", "The method of a batch request must be POST.", "method", number)
    if line["url"] != endpoint:
        message = "The URL provided for this request does not match the batch endpoint."
        raise _Bad("invalid_url", message, "url", number)


def _check_unique(custom_id: str, number: int, seen: _Seen) -> None:
    if custom_id in seen.ids:
        message = "The custom_id for this request is a duplicate of another request."
        raise _Bad("duplicate_custom_id", message, "custom_id", number)
    seen.ids.add(custom_id)


def _check_body(body: dict[str, Any], number: int, seen: _Seen, task: Assignment) -> None:
    model = body.get("model", "omni-moderation-latest" if task.endpoint == "/v1/moderations" else None)
    if not isinstance(model, str) or not model:
        raise _Bad("invalid_request", "The model of this request is missing.", "body.model", number)
    if seen.model is not None and model != seen.model:
        message = "The model of this request differs from the other requests of the batch."
        raise _Bad("mismatched_model", message, "body.model", number)
    if model == "no-such-model" or model in task.unknown_models:
        message = "The provided model does not exist or is not supported by the Batch API."
        raise _Bad("model_not_found", message, "body.model", number)
    if body.get("stream"):
        raise _Bad("streaming_unsupported", "Streaming is not supported in the Batch API.", "body.stream", number)
    seen.model = model
    if task.endpoint == "/v1/embeddings":
        seen.embedding_inputs += input_count(body)
        if seen.embedding_inputs > task.max_embedding_inputs:
            message = f"The batch has more than {task.max_embedding_inputs} embedding inputs."
            raise _Bad("too_many_tasks", message, "body.input", number)


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
        wanted = markers(user_text(task.endpoint, line["body"]))
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
    if not 200 <= status < 300:
        failure = error_body(status, f"The line asked the sandbox for an error {status}.")
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
