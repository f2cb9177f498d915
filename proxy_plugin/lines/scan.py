"""The scan of an uploaded batch file: envelope facts, line index, duplicate custom_ids. Runs in a worker process.

Constant memory: one chunk of the file, or one line where that is longer, and tallies with fixed limits. Everything
that a scan leaves behind can be made again, so an attempt that dies costs only its time.
"""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from proxy_plugin.lines.duplicates import Duplicate, DuplicateIds
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


def scan(source: str, index: str, scratch: str, limits: ScanLimits) -> Facts:
    """Read the file at `source` once, write its line index to `index` (durable on return) and return the facts.

    `scratch` is a folder for temporary files, made and removed again if it is missing. What the user did wrong is a
    fault in the result; only OSError is raised.
    """
    with Path(source).open("rb", buffering=0) as stream, DuplicateIds(Path(scratch)) as ids:
        lines = _Lines(stream.fileno(), limits.max_line_bytes)
        tally = _Tally(limits)
        with IndexWriter(Path(index)) as writer:
            for number, offset, length, content in lines:
                if number == 1 and (fault := _packed(content or b"")) is not None:
                    tally.fault(fault)
                    break
                if content is not None and (not content or content.isspace()):
                    tally.blank_lines += 1
                elif tally.lines == limits.max_lines:
                    tally.fault(_too_many(limits, number))
                    break
                else:
                    writer.append(offset, length, number)
                    tally.line(number, length, content, ids)
        duplicates = _duplicates(ids, Path(index), stream.fileno())
        return tally.facts(lines, duplicates)


def endpoint_faults(facts: Facts, *endpoints: str) -> list[Fault]:
    """Return a fault for every line whose url is none of the batch's endpoints: the first 100 by line."""
    wrong = [entry.first_lines for url, entry in facts.urls.items() if url not in endpoints]
    lines = [line for lines in (*wrong, facts.other_urls.first_lines) for line in lines]
    return _first(Fault("invalid_url", OTHER_URL, "url", line) for line in lines)


def _first(faults: Iterable[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: fault.line or 0)[:MAX_FAULTS]


def _packed(beginning: bytes) -> Fault | None:
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


class _Lines:
    """The physical lines of a file, from its start; a UTF-8 byte-order mark is no part of the first."""

    def __init__(self, descriptor: int, limit: int) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._hash = hashlib.sha256()
        self.bytes = 0  # read so far

    def __iter__(self) -> Iterator[tuple[int, int, int, bytes | None]]:
        """Yield (number, offset, length, content), without its newline and one carriage return before that
        or at the end of the file. Content None: longer than the limit.

        A line that lies across chunks is read again on its own, once its end is known: nothing is ever buffered.
        """
        begun = len(codecs.BOM_UTF8) if os.pread(self._descriptor, 3, 0) == codecs.BOM_UTF8 else 0
        number = 0
        for at, chunk in self._chunks():
            position = max(begun - at, 0)
            while (end := chunk.find(b"\n", position)) >= 0:
                number += 1
                content = chunk[position:end] if begun >= at else self._content(begun, at + end)
                yield self._line(number, begun, at + end - begun, content)
                position = end + 1
                begun = at + position
        if begun < self.bytes:
            yield self._line(number + 1, begun, self.bytes - begun, self._content(begun, self.bytes))

    def sha256(self) -> str:
        """Return the hash of the whole file, also where the lines were not read to the end."""
        for _ in self._chunks():
            pass
        return self._hash.hexdigest()

    def _line(self, number: int, begun: int, length: int, content: bytes | None) -> tuple[int, int, int, bytes | None]:
        last = os.pread(self._descriptor, 1, begun + length - 1) if content is None else content[-1:]
        if last == b"\r":
            length -= 1
        return number, begun, length, None if content is None or length > self._limit else content[:length]

    def _content(self, begun: int, end: int) -> bytes | None:
        within = end - begun <= self._limit + 1  # one more for a carriage return
        return os.pread(self._descriptor, end - begun, begun) if within else None

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        while chunk := os.pread(self._descriptor, CHUNK_BYTES, self.bytes):
            at = self.bytes
            self._hash.update(chunk)
            self.bytes += len(chunk)
            yield at, chunk


class _Tally:
    """The facts so far."""

    def __init__(self, limits: ScanLimits) -> None:
        self._limits = limits
        self.lines = self.blank_lines = 0
        self._longest = 0
        self._faults: list[Fault] = []
        self._beside: list[Fault] = []
        self._fault_count = 0
        self._urls: dict[str, _UrlTally] = {}
        self._other_urls = _UrlTally()
        self._models: dict[str, int] = {}
        self._other_models = 0

    def line(self, number: int, length: int, content: bytes | None, ids: DuplicateIds) -> None:
        """Count the line of the next ordinal."""
        self._longest = max(self._longest, length)
        try:
            if content is None:
                raise _too_long(self._limits)
            envelope = decode_envelope(content)
        except EnvelopeFault as fault:
            self.fault(Fault(fault.code, fault.message, fault.param, number))
            if fault.lacking is not None:
                self._lacks(fault.lacking, number)
        else:
            if envelope.lacks:
                self._lacks(envelope.url, number)
            ids.add(self.lines, envelope.custom_id)
            self._count_url(envelope.url, number)
            self._count_model(envelope.model)
        self.lines += 1

    def _lacks(self, url: str, number: int) -> None:
        if len(self._beside) < MAX_FAULTS:
            fault = lacking(url)
            self._beside.append(Fault(fault.code, fault.message, fault.param, number))

    def fault(self, fault: Fault) -> None:
        """Count a fault; they come in the order of the file."""
        self._fault_count += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(fault)

    def facts(self, lines: _Lines, duplicates: tuple[list[Fault], int]) -> Facts:
        """Return the finished facts, the faults of the single lines merged with the duplicates."""
        if not self.lines and not self._fault_count:
            self.fault(Fault("empty_file", "The file holds no request; write one JSON object per line."))
        repeated, total = duplicates
        sha256 = lines.sha256()
        return Facts(
            lines=self.lines,
            bytes=lines.bytes,
            blank_lines=self.blank_lines,
            faults=tuple(_first([*self._faults, *repeated])),
            fault_count=self._fault_count + total,
            urls={url: entry.facts() for url, entry in self._urls.items()},
            other_urls=self._other_urls.facts(),
            models=self._models,
            other_models=self._other_models,
            longest_line=self._longest,
            sha256=sha256,
            repeated=total,
            beside=tuple(self._beside),
        )

    def _count_url(self, url: str, number: int) -> None:
        entry = self._urls.get(url)
        if entry is None:
            room = len(self._urls) < MAX_URLS and len(url) <= _MAX_NAME_CHARACTERS
            entry = self._urls.setdefault(url, _UrlTally()) if room else self._other_urls
        entry.add(number)

    def _count_model(self, model: str) -> None:
        count = self._models.get(model, 0)
        if count or (len(self._models) < MAX_MODELS and len(model) <= _MAX_NAME_CHARACTERS):
            self._models[model] = count + 1
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


def _duplicates(ids: DuplicateIds, index: Path, source: int) -> tuple[list[Fault], int]:
    """Return the faults of repeated ids, and how many there are in all."""
    with LineIndex(index) as lines:
        found = ids.settle(lambda ordinal: decode_envelope(lines.read_line(source, ordinal)).custom_id)
        return [_repeated(lines, each) for each in found.reported], found.total


def _repeated(lines: LineIndex, found: Duplicate) -> Fault:
    first, number = lines.record(found.first).number, lines.record(found.ordinal).number
    # OpenAI's sentences, UNVERIFIED: no capture that is known has more than their code.
    message = (
        "The custom_id for this request is a duplicate of another request. The custom_id parameter must be unique for "
        f"each request in a batch; line {first} has it first."
    )
    return Fault("duplicate_custom_id", message, "custom_id", number)
