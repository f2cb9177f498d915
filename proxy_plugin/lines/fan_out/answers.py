"""The answers to the requests of a line, joined into the one row that the line has.

They come in any order, mixed with those of other lines, so they are kept in a row store of their own until all have
been read: memory holds the answers of one line, and 13 bytes for each of up to a million requests. Whatever their
order was, the same answers give the same row.
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from proxy_plugin.lines.fan_out.texts import entries, list_of, members, object_of, value
from proxy_plugin.lines.manifest import BLOCK
from proxy_plugin.lines.row_store import (
    ERROR,
    FAILED,
    OK,
    RowMeta,
    RowReader,
    RowWriter,
    StoredRow,
    bucket_path,
    buckets,
    spans,
)
from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.marks import RequestId

FOLDER = "requests"
NOT_JOINED, TOO_LARGE = "answers_not_joined", "answers_too_large"
_PLACES = 36**2  # of the number under which a request is stored: place and number of requests
_AT_ONCE = 2**20  # requests with an index in memory
_MOST_OBJECTS = 10**6  # in one answer: a list of so many would take 100 MB
_ODD = (ValueError, KeyError, RecursionError, msgspec.MsgspecError)
_encode = msgspec.json.Encoder().encode


class Joined(NamedTuple):
    """The row of a line, as a row store has it. `held` of its requests have a row, `ran` one that says they ran."""

    ordinal: int
    kind: int
    meta: RowMeta
    text: bytes
    held: int
    ran: int


class Joining:
    """Rows of requests of one part. `not_run`: codes of those that never ran. `missing`: the error of one without row.

    `longest`: bytes that the answers of a line may have together.
    """

    def __init__(self, folder: Path, *, not_run: frozenset[str], missing: bytes, longest: int) -> None:
        self._folder, self._not_run, self._missing, self._longest = folder / FOLDER, not_run, missing, longest
        self._writer: RowWriter | None = None

    def add(self, asked: RequestId, kind: int, meta: RowMeta, text: bytes) -> None:
        """Keep the row of one request."""
        if self._writer is None:
            self._writer = RowWriter(self._folder)
        self._writer.add(asked.ordinal, asked.place * _PLACES + asked.of, kind, meta, text)

    def joined(self) -> Iterator[Joined]:
        """Yield the row of every line that has an answer, by ordinal, and forget them. Raises OSError."""
        if self._writer is None:
            return
        self._writer.close()
        with RowReader() as reader:
            for bucket in buckets(self._folder):
                path = bucket_path(self._folder, bucket)
                for at, found in _lines(path):
                    yield self._joined(bucket * BLOCK + at, path, found, reader)
        shutil.rmtree(self._folder)

    def _joined(self, ordinal: int, path: Path, found: Sequence[_Place], reader: RowReader) -> Joined:
        held = sum(each.length > 0 for each in found)
        if sum(each.length for each in found) > self._longest:
            meta, text = _said(RowMeta(requests=len(found)), TOO_LARGE, f"The answers have over {self._longest} bytes.")
            return Joined(ordinal, ERROR, meta, text, held, held)
        rows = [reader.read(path, each.offset, each.length) if each.length else None for each in found]
        ran = sum(row is not None and row.meta.code not in self._not_run for row in rows)
        answered = [row for row in rows if row is not None and row.kind == OK]
        meta = RowMeta(model=_model(answered), usage=_used(answered), requests=len(rows))
        if len(answered) < len(rows):
            return Joined(ordinal, *_unanswered(rows, answered, meta, self._missing), held, ran)
        try:
            return Joined(ordinal, OK, meta, join([row.text for row in answered]), held, ran)
        except _ODD:
            message = "The answers to the requests of this line are not of a form that can be joined."
            return Joined(ordinal, ERROR, *_said(meta, NOT_JOINED, message), held, ran)


class _Place(NamedTuple):
    """Where the row of a request is; `length` 0: it has none."""

    offset: int
    length: int


def _lines(path: Path) -> Iterator[tuple[int, list[_Place]]]:
    """Yield the lines of a bucket with their requests; the first ok row of each counts, or else the first."""
    of = array("H", bytes(2 * BLOCK))
    for span in spans(path):
        at = span.ordinal % BLOCK
        of[at] = of[at] or span.part % _PLACES
    start = 0
    while start < BLOCK:
        stop, total = start, 0
        while stop < BLOCK and total + of[stop] <= _AT_ONCE:
            total += of[stop]
            stop += 1
        if total:
            yield from _indexed(path, of, start, stop)
        start = stop


def _indexed(path: Path, of: array[int], start: int, stop: int) -> Iterator[tuple[int, list[_Place]]]:
    bases = array("I", accumulate(of[start:stop], initial=0))
    kinds, lengths, offsets = bytearray(bases[-1]), array("I", bytes(4 * bases[-1])), array("Q", bytes(8 * bases[-1]))
    for span in spans(path):
        at, (place, requests) = span.ordinal % BLOCK, divmod(span.part, _PLACES)
        if start <= at < stop and of[at] == requests:
            slot = bases[at - start] + place
            if not kinds[slot] or (span.kind == OK and kinds[slot] != OK):
                kinds[slot], lengths[slot], offsets[slot] = span.kind, span.length, span.offset
    for at in range(start, stop):
        if of[at]:
            first, end = bases[at - start], bases[at - start + 1]
            yield at, [_Place(offsets[slot], lengths[slot]) for slot in range(first, end)]


def join(texts: Sequence[bytes]) -> bytes:
    """Return one `response` with the choices, or vectors, of all, numbered from 0, and the sum of their usage.

    The rest is the first's. Raises ValueError or KeyError for what has neither.
    """
    if any(text.count(b"{") > _MOST_OBJECTS for text in texts):
        raise ValueError("more objects than an answer has")
    responses = [members(text) for text in texts]
    bodies = [members(response["body"]) for response in responses]
    name = "data" if "data" in bodies[0] else "choices"
    found = (answer for body in bodies for answer in entries(body[name]))
    numbered = (object_of(members(answer) | {"index": b"%d" % n}) for n, answer in enumerate(found))
    body = bodies[0] | {name: list_of(numbered)}
    if told := [used for each in bodies if isinstance(used := value(each.get("usage", b"null")), dict)]:
        body["usage"] = _encode(_sum(told))
    return object_of(responses[0] | {"body": object_of(body)})


def _sum(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of all counts under their names; what is no count is the first's that has it."""
    summed = dict[str, Any]()
    for name in dict.fromkeys(name for each in found for name in each):
        given = [each[name] for each in found if each.get(name) is not None]
        if given and all(type(each) in (int, float) for each in given):
            summed[name] = sum(given)
        elif given and all(isinstance(each, dict) for each in given):
            summed[name] = _sum(given)
        else:
            summed[name] = given[0] if given else None
    return summed


def _model(answered: Sequence[StoredRow]) -> str | None:
    return answered[0].meta.model if answered else None


def _used(answered: Sequence[StoredRow]) -> Usage | None:
    """Return what all answers used, None where none says it."""
    found = [row.meta.usage for row in answered if row.meta.usage is not None]
    names = Usage.__struct_fields__
    return Usage(**{name: sum(getattr(used, name) for used in found) for name in names}) if found else None


def _unanswered(
    rows: Sequence[StoredRow | None], answered: Sequence[StoredRow], meta: RowMeta, missing: bytes
) -> tuple[int, RowMeta, bytes]:
    """Return the row of a line that lacks answers: the first error, behind how many were answered."""
    failed = [(n, row) for n, row in enumerate(rows, 1) if row is not None and row.kind != OK]
    number, row = failed[0] if failed else (rows.index(None) + 1, None)
    kind, text, code = (ERROR, missing, None) if row is None else (row.kind, row.text, row.meta.code)
    said = f"{len(answered)} of the {len(rows)} requests of this line were answered. Request {number}: "
    code = code or value(members(missing)["code"])
    with suppress(*_ODD):  # an error of no known form is told in the provider's words alone
        text = _with_words(text, said, ("body", "error") if kind == FAILED else ())
    return kind, msgspec.structs.replace(meta, code=code), text


def _with_words(text: bytes, said: str, path: tuple[str, ...]) -> bytes:
    """Return a response or an error with words before the message of the error, which is at the path."""
    parts = members(text)
    if path:
        return object_of(parts | {path[0]: _with_words(parts[path[0]], said, path[1:])})
    message = value(parts["message"])
    return object_of(parts | {"message": _encode(f"{said}{message}")})


def _said(meta: RowMeta, code: str, message: str) -> tuple[RowMeta, bytes]:
    told = msgspec.structs.replace(meta, code=code)
    return told, _encode({"code": code, "message": f"{message} They may have been paid for."})
