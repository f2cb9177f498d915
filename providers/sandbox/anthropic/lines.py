"""The requests of a message batch: judged, answered, written as results. Runs in worker threads and processes.

`examine` reads the body of a create once, for what refuses it as a whole, and notes where each request stands.
`answer_all` answers each of them into `rows`, with a fixed-width record in `index`. `assemble` then only copies rows,
in the order in which the requests "ran": a seeded shuffle, so that no results, full or partial, come in input order.
"""

import json
import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from proxy_plugin.providers.sandbox.answers import Style, UnknownMarker, markers, user_text
from proxy_plugin.providers.sandbox.anthropic.envelope import EnvelopeError, elements, parsed
from proxy_plugin.providers.sandbox.anthropic.errors import error_body, error_type
from proxy_plugin.providers.sandbox.anthropic.messages import ENDPOINT, empty_message, message
from proxy_plugin.providers.sandbox.anthropic.params import ParamsError, Rules, check_params
from proxy_plugin.providers.sandbox.anthropic.turns import check_turns

SUCCEEDED, ERRORED, EXPIRED, CANCELED = range(4)
MARK = 10  # characters of a prefix that all custom_ids of a batch may share

_PLACE = struct.Struct("<QI")  # offset and length of a request in the body
# offset of the row, its length, length of its head (up to the custom_id), length of a stranger's row that follows it,
# flags, outcome
_RECORD = struct.Struct("<QIIIBB")
_MISSING, _DUPLICATE = 1, 2


@dataclass(frozen=True, slots=True)
class Examined:
    """Why the batch is refused (status and message), or what it holds: requests, and the mark in its custom_ids."""

    problem: tuple[int, str] | None = None
    lines: int = 0
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What `answer_all` needs to know. `seed` shuffles, `identity` makes ids."""

    folder: Path
    identity: str
    seed: int
    style: Style
    rules: Rules


def body_path(folder: Path) -> Path:
    return folder / "body"


def results_path(folder: Path) -> Path:
    return folder / "results"


def examine(folder: Path, most: int) -> Examined:
    """Judge the body in `folder` as a create call does."""
    lines, mark = 0, None
    try:
        with body_path(folder).open("rb") as body, (folder / "places").open("wb") as places:
            for lines, element in enumerate(elements(body, most), 1):
                places.write(_PLACE.pack(element.offset, element.length))
                prefix = element.custom_id[:MARK]
                mark = prefix if lines == 1 or prefix == mark else None
    except EnvelopeError as wrong:
        return Examined((wrong.status, str(wrong)))
    return Examined(None, lines, mark if mark and len(mark) == MARK else None)


def answer_all(task: Assignment) -> bytes:
    """Answer every request; the outcomes in the order in which they run. Leaves no body behind."""
    records: list[bytes] = []
    offset = 0
    folder = task.folder
    with body_path(folder).open("rb") as body, (folder / "rows").open("wb") as rows:
        for number, (place, length) in enumerate(_PLACE.iter_unpack((folder / "places").read_bytes())):
            row = _run(parsed(os.pread(body.fileno(), length, place)), f"{task.identity}{number:x}", task)
            records.append(row.record(offset))
            offset += rows.write(row.head + row.tail + row.stranger)
    random.Random(task.seed).shuffle(records)
    (folder / "index").write_bytes(b"".join(records))
    body_path(folder).unlink()
    (folder / "places").unlink()
    return bytes(record[-1] for record in records)


# One request.


@dataclass(slots=True)
class _Row:
    head: bytes  # {"custom_id":...
    tail: bytes  # ,"result":...}\n
    outcome: int = SUCCEEDED
    stranger: bytes = b""  # a whole row
    flags: int = 0

    def record(self, offset: int) -> bytes:
        lengths = len(self.head) + len(self.tail), len(self.head), len(self.stranger)
        return _RECORD.pack(offset, *lengths, self.flags, self.outcome)


def _run(request: dict[str, Any], identity: str, task: Assignment) -> _Row:
    head, params = _head(request["custom_id"]), request["params"]
    try:
        check_params(params, task.rules)
        check_turns(params, task.rules)
        wanted = markers(user_text(ENDPOINT, params), task.style)
    except ParamsError as wrong:
        return _Row(head, _errored(wrong.kind, str(wrong)), ERRORED)
    except UnknownMarker as unknown:
        return _Row(head, _errored("invalid_request_error", f"The sandbox knows no marker {unknown}."), ERRORED)
    row = _outcome(params, wanted, head, identity, task)
    row.flags = ("missing" in wanted) * _MISSING | ("duplicate" in wanted) * _DUPLICATE
    if "foreign" in wanted:
        row.stranger = _head(wanted["foreign"] or f"stranger-{identity}") + row.tail
    return row


def _outcome(params: dict[str, Any], wanted: dict[str, str], head: bytes, identity: str, task: Assignment) -> _Row:
    if "expire" in wanted:
        return _Row(head, UNANSWERED[EXPIRED], EXPIRED)
    if "timeout" in wanted:
        return _Row(head, _errored("timeout_error", "The model did not answer in time."), ERRORED)
    status = int(wanted.get("error", 200))
    if status == 0:
        return _Row(head, _succeeded(empty_message(params, identity)))
    if not 200 <= status < 300:
        return _Row(
            head, _errored(error_type(status), f"The request asked the sandbox for an error {status}."), ERRORED
        )
    return _Row(head, _succeeded(message(params, identity, task.style)))


def _head(custom_id: str) -> bytes:
    return b'{"custom_id":%s' % _dumps(custom_id)


def _succeeded(answer: dict[str, Any]) -> bytes:
    return b',"result":%s}\n' % _dumps({"type": "succeeded", "message": answer})


def _errored(kind: str, what: str) -> bytes:
    """The error is nested twice, and its `details` are there and empty (reference page, "Result lines")."""
    error = error_body(kind, what, None)
    error["error"]["details"] = {}
    return b',"result":%s}\n' % _dumps({"type": "errored", "error": error})


UNANSWERED = {
    outcome: b',"result":%s}\n' % orjson.dumps({"type": word})
    for outcome, word in ((EXPIRED, "expired"), (CANCELED, "canceled"))
}


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates, integers beyond 64 bits
        return json.dumps(value).encode()


# Results.


def assemble(folder: Path, done: int, rest: int) -> int:
    """Write the results of the batch in `folder`: the first `done` that ran, all others with the outcome `rest`.

    Returns their size in bytes and leaves nothing but them behind.
    """
    with (folder / "rows").open("rb") as rows, results_path(folder).open("wb") as results:
        again: list[tuple[int, int]] = []
        for number, record in enumerate(_records(folder)):
            offset, length, head, stranger, flags, _ = record
            if number >= done:
                results.write(os.pread(rows.fileno(), head, offset) + UNANSWERED[rest])
            elif not flags & _MISSING:
                results.write(os.pread(rows.fileno(), length + stranger, offset))
                again += [(length, offset)] if flags & _DUPLICATE else []
        _copy(rows, again, results)
    for name in ("rows", "index"):
        (folder / name).unlink()
    return results_path(folder).stat().st_size


def _records(folder: Path) -> Iterator[tuple[int, ...]]:
    index = (folder / "index").read_bytes()  # 22 bytes a request, 2.2 MB for the largest batch
    return _RECORD.iter_unpack(index)


def _copy(rows: BinaryIO, pieces: list[tuple[int, int]], results: BinaryIO) -> None:
    for length, offset in pieces:
        results.write(os.pread(rows.fileno(), length, offset))
