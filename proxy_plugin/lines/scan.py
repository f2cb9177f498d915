"""The scan of an uploaded batch file: envelope facts, line index, duplicate custom_ids. Runs in a worker process.

Constant memory: one chunk of the file, or one line where that is longer, and tallies with fixed limits. Everything
that a scan leaves behind can be made again, so an attempt that dies costs only its time.
"""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from proxy_plugin.lines.duplicates import Duplicate, DuplicateIds, Duplicates
from proxy_plugin.lines.envelope import OTHER_URL, EnvelopeFault, decode_envelope, lacking
from proxy_plugin.lines.line_index import CHUNK_BYTES, IndexWriter, LineIndex

_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
)
MAX_FAULTS = 100  # as many as a batch's `errors` shows
MAX_URLS = 64
MAX_MODELS = 1_000
_BEGINNING = 4  # bytes, behind a byte-order mark at most
_MAX_NAME_CHARACTERS = 512  # a longer url or model is counted, not kept


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with the file, as an entry of a batch's `errors`. `line` is 1-based; None: the whole file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class UrlFacts(msgspec.Struct, frozen=True):
    """How many lines have a url, and the numbers of the first 100 of them."""

    count: int = 0
    first_lines: tuple[int, ...] = ()


class ScanLimits(msgspec.Struct, frozen=True):
    """`max_line_bytes` counts a line without its ending, blank or not; `max_lines` counts lines that are not blank."""

    max_line_bytes: int
    max_lines: int


class Facts(msgspec.Struct, frozen=True):
    """What a scan found. `lines` are those in the index: all that are not blank, faulty ones too.

    `urls`, `models` and their catch-alls count the lines without fault of their own. `faults` are the first 100 by
    line; `fault_count` counts all, `repeated` the lines whose custom_id an earlier one has. Lengths are bytes, without
    line endings. `sha256` and `bytes` are the whole file's. `beside` are the first 100 bodies that lack what every
    request of their url needs: told beside other faults, as on their own they may get it from a config.
    """

    lines: int
    bytes: int
    blank_lines: int
    faults: tuple[Fault, ...]
    fault_count: int
    urls: dict[str, UrlFacts]
    other_urls: UrlFacts  # beyond 64 different ones, or longer than 512 characters
    models: dict[str, int]
    other_models: int  # lines beyond 1,000 different models, or whose model is longer than 512 characters
    longest_line: int
    sha256: str
    repeated: int = 0
    beside: tuple[Fault, ...] = ()


def scan(source: str, index: str, scratch: str, limits: ScanLimits, sha256: str | None = None) -> Facts:
    """Read the file at `source` once, write its line index to `index` (durable on return) and return the facts.

    `scratch` is a folder for temporary files, made and removed again if it is missing. `sha256` is that of the file,
    where it is known. What the user did wrong is a fault in the result; only OSError is raised.
    """
    with Path(source).open("rb", buffering=0) as stream, DuplicateIds(Path(scratch)) as ids:
        tally = ScanTally(limits)
        with IndexWriter(Path(index)) as writer:
            look(Lines(stream.fileno(), limits.max_line_bytes), tally, ids, writer)
        if not tally.lines and not tally.fault_count:
            tally.fault(Fault("empty_file", "The file holds no request; write one JSON object per line."))
        duplicates = repeated_ids(ids.settle, Path(index), stream.fileno())
        known = sha256 or hashlib.file_digest(stream, "sha256").hexdigest()
        return tally.facts(os.fstat(stream.fileno()).st_size, known, duplicates)


class Ids(Protocol):
    """Where ids are noted."""

    def add(self, ordinal: int, custom_id: str) -> None:
        """Note the id of a line."""


def look(lines: Lines, tally: ScanTally, ids: Ids, writer: IndexWriter) -> None:
    """Look at every line once, up to the limit of a file."""
    most, append, line = tally.limits.max_lines, writer.append, tally.line
    for number, offset, length, content in lines:
        if number == 1 and offset < _BEGINNING and (fault := packed(content or b"")) is not None:
            tally.fault(fault)
            break
        if content is not None and (not content or content.isspace()):
            tally.blank_lines += 1
        elif tally.lines == most:
            tally.fault(_too_many(tally.limits, number))
            break
        else:
            append(offset, length, number)
            line(number, length, content, ids)


def endpoint_faults(facts: Facts, *endpoints: str) -> list[Fault]:
    """Return a fault for every line whose url is none of the batch's endpoints: the first 100 by line."""
    wrong = [entry.first_lines for url, entry in facts.urls.items() if url not in endpoints]
    lines = [line for lines in (*wrong, facts.other_urls.first_lines) for line in lines]
    return first_faults(Fault("invalid_url", OTHER_URL, "url", line) for line in lines)


def first_faults(faults: Iterable[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: fault.line or 0)[:MAX_FAULTS]


def packed(beginning: bytes) -> Fault | None:
    """Return the one fault of a file that some program has packed; its lines would be a hundred riddles."""
    kind = next((kind for magic, kind in _PACKED if beginning.startswith(magic)), None)
    if kind is None:
        return None
    remedy = "" if kind != "gzip" else ", or pack the whole request and say so with the header Content-Encoding: gzip"
    message = f"The file is packed ({kind}), and batch files are not unpacked; upload the .jsonl file itself{remedy}."
    return Fault("invalid_json_line", message, None, 1)


def _too_many(limits: ScanLimits, number: int) -> Fault:
    message = f"The file has more than {limits.max_lines} requests, the limit for one file; split it into several."
    return Fault("too_many_tasks", message, None, number)


def _too_long(limits: ScanLimits) -> EnvelopeFault:
    message = f"The line is longer than the limit of {limits.max_line_bytes} bytes; shorten or split the request."
    return EnvelopeFault("line_too_long", message, None)


class Lines:
    """The physical lines of a file that begin from `start` to `stop`, exclusive, which are where lines begin.

    A UTF-8 byte-order mark is no part of the first.
    """

    def __init__(self, descriptor: int, limit: int, start: int = 0, stop: int | None = None) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._start, self._stop = start, stop
        self.number = 0  # of the last line, the first being 1

    def __iter__(self) -> Iterator[tuple[int, int, int, bytes | None]]:
        """Yield (number, offset, length, content), without its newline and one carriage return before that
        or at the end of the file. Content None: longer than the limit.

        A line that lies across chunks is read again on its own, once its end is known: nothing is ever buffered.
        """
        marked = self._start == 0 and os.pread(self._descriptor, 3, 0) == codecs.BOM_UTF8
        begun, at = self._start + len(codecs.BOM_UTF8) * marked, self._start
        while chunk := os.pread(self._descriptor, self._size(at), at):
            position, find = max(begun - at, 0), chunk.find
            while (end := find(b"\n", position)) >= 0:
                self.number += 1
                content = chunk[position:end] if begun >= at else self._content(begun, at + end)
                yield self._line(self.number, begun, at + end - begun, content)
                position = end + 1
                begun = at + position
            at += len(chunk)
        if begun < at:
            self.number += 1
            yield self._line(self.number, begun, at - begun, self._content(begun, at))

    def _size(self, at: int) -> int:
        return CHUNK_BYTES if self._stop is None else min(CHUNK_BYTES, self._stop - at)

    def _line(self, number: int, begun: int, length: int, content: bytes | None) -> tuple[int, int, int, bytes | None]:
        last = os.pread(self._descriptor, 1, begun + length - 1) if content is None else content[-1:]
        if last == b"\r":
            length -= 1
        return number, begun, length, None if content is None or length > self._limit else content[:length]

    def _content(self, begun: int, end: int) -> bytes | None:
        within = end - begun <= self._limit + 1  # one more for a carriage return
        return os.pread(self._descriptor, end - begun, begun) if within else None


class ScanTally:
    """The facts so far."""

    def __init__(self, limits: ScanLimits) -> None:
        self.limits = limits
        self.lines = self.blank_lines = 0
        self._longest = 0
        self._faults: list[Fault] = []
        self._beside: list[Fault] = []
        self.fault_count = 0
        self._urls: dict[str, _UrlTally] = {}
        self._other_urls = _UrlTally()
        self._models: dict[str, int] = {}
        self._other_models = 0

    def line(self, number: int, length: int, content: bytes | None, ids: Ids) -> None:
        """Count the line of the next ordinal."""
        self._longest = max(self._longest, length)
        try:
            if content is None:
                raise _too_long(self.limits)
            envelope = decode_envelope(content)
        except EnvelopeFault as fault:
            self.fault(Fault(fault.code, fault.message, fault.param, number))
            if fault.lacking is not None:
                self._lacks(fault.lacking, number)
        else:
            if envelope.lacks:
                self._lacks(envelope.url, number)
            ids.add(self.lines, envelope.custom_id)
            entry = self._urls.get(envelope.url)
            if entry is None:
                entry = self._new_url(envelope.url)
            entry.add(number)
            if envelope.model in self._models:
                self._models[envelope.model] += 1
            else:
                self._new_model(envelope.model)
        self.lines += 1

    def _lacks(self, url: str, number: int) -> None:
        if len(self._beside) < MAX_FAULTS:
            fault = lacking(url)
            self._beside.append(Fault(fault.code, fault.message, fault.param, number))

    def fault(self, fault: Fault) -> None:
        """Count a fault; they come in the order of the file."""
        self.fault_count += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(fault)

    def facts(self, size: int, sha256: str, duplicates: tuple[list[Fault], int] = ([], 0)) -> Facts:
        """Return the finished facts, the faults of the single lines merged with the duplicates."""
        repeated, total = duplicates
        return Facts(
            lines=self.lines,
            bytes=size,
            blank_lines=self.blank_lines,
            faults=tuple(first_faults([*self._faults, *repeated])),
            fault_count=self.fault_count + total,
            urls={url: entry.facts() for url, entry in self._urls.items()},
            other_urls=self._other_urls.facts(),
            models=self._models,
            other_models=self._other_models,
            longest_line=self._longest,
            sha256=sha256,
            repeated=total,
            beside=tuple(self._beside),
        )

    def _new_url(self, url: str) -> _UrlTally:
        room = len(self._urls) < MAX_URLS and len(url) <= _MAX_NAME_CHARACTERS
        return self._urls.setdefault(url, _UrlTally()) if room else self._other_urls

    def _new_model(self, model: str) -> None:
        if len(self._models) < MAX_MODELS and len(model) <= _MAX_NAME_CHARACTERS:
            self._models[model] = 1
        else:
            self._other_models += 1


class _UrlTally:
    def __init__(self) -> None:
        self._count = 0
        self._first_lines: list[int] = []

    def add(self, number: int) -> None:
        self._count += 1
        if self._count <= MAX_FAULTS:
            self._first_lines.append(number)

    def facts(self) -> UrlFacts:
        return UrlFacts(self._count, tuple(self._first_lines))


def repeated_ids(
    settle: Callable[[Callable[[int], str]], Duplicates], index: Path, source: int
) -> tuple[list[Fault], int]:
    """Return the faults of repeated ids, and how many there are in all."""
    with LineIndex(index) as lines:
        found = settle(lambda ordinal: decode_envelope(lines.read_line(source, ordinal)).custom_id)
        return [_repeated(lines, each) for each in found.reported], found.total


def _repeated(lines: LineIndex, found: Duplicate) -> Fault:
    first, number = lines.record(found.first).number, lines.record(found.ordinal).number
    # OpenAI's sentences, UNVERIFIED: no capture that is known has more than their code.
    message = (
        "The custom_id for this request is a duplicate of another request. The custom_id parameter must be unique for "
        f"each request in a batch; line {first} has it first."
    )
    return Fault("duplicate_custom_id", message, "custom_id", number)
