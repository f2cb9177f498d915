"""Scan a long file in ranges of bytes side by side, and make one index and one set of facts of them (workers)."""

from __future__ import annotations

import codecs
import os
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import structs

from proxy_plugin.lines.duplicates import Buckets, settle
from proxy_plugin.lines.line_index import CHUNK_BYTES, RECORD, IndexWriter
from proxy_plugin.lines.ranges.independent import ranges_of
from proxy_plugin.lines.scan import (
    MAX_FAULTS,
    MAX_MODELS,
    MAX_URLS,
    Facts,
    Fault,
    Lines,
    ScanLimits,
    ScanTally,
    UrlFacts,
    first_faults,
    look,
    packed,
    repeated_ids,
)

_FIELDS = 4  # of 32 bits in a record of the index, of which the last is the line's number
_LAST = _FIELDS - 1


class ScanRange(msgspec.Struct, frozen=True):
    """The lines that begin from byte `start` to byte `stop` of `source`. `folder` is for all ranges, and is there.

    `modulus` makes hashes of ids that nobody could prepare ids for: it is drawn for each scan.
    """

    source: str
    folder: str
    n: int
    start: int
    stop: int
    limits: ScanLimits
    modulus: int

    def file(self, name: str) -> Path:
        return Path(self.folder, f"{self.n:05d}.{name}")


class RangeScan(msgspec.Struct, frozen=True):
    """What is known of a range; lines are numbered from its first one. `physical` counts blank ones too."""

    facts: Facts
    physical: int


def scan_ranges(source: Path, workers: int) -> list[tuple[int, int]]:
    """Return where ranges of about the same size begin and end; none for a file that is short, or packed. Blocking."""
    with source.open("rb", buffering=0) as stream:
        total = os.fstat(stream.fileno()).st_size
        count = ranges_of(total, workers)
        beginning = os.pread(stream.fileno(), 64, 0).removeprefix(codecs.BOM_UTF8)
        if not count or packed(beginning) is not None:
            return []
        cuts = [0, *(_line_behind(stream, total * n // count, total) for n in range(1, count)), total]
        return [(first, stop) for first, stop in pairwise(cuts) if first < stop]


def _line_behind(stream: BinaryIO, offset: int, total: int) -> int:
    """Return where the first line begins behind a byte."""
    while chunk := os.pread(stream.fileno(), CHUNK_BYTES, offset):
        if (end := chunk.find(b"\n")) >= 0:
            return offset + end + 1
        offset += len(chunk)
    return total


def scan_range(job: ScanRange) -> None:
    """Write a range's part of the index, the hashes of its ids, and what is known of it. Raises OSError."""
    ids, tally = Buckets(job.file("ids"), job.modulus), ScanTally(job.limits)
    with Path(job.source).open("rb", buffering=0) as stream:
        lines = Lines(stream.fileno(), job.limits.max_line_bytes, job.start, job.stop)
        with IndexWriter(job.file("index")) as writer:
            look(lines, tally, ids, writer)
    ids.save()
    known = RangeScan(tally.facts(job.stop - job.start, ""), lines.number)
    job.file("facts").write_bytes(msgspec.json.encode(known))


def join_scans(jobs: Sequence[ScanRange], index: str, sha256: str) -> Facts | None:
    """Write the index of the file, durable on return, and return its facts, as `scan` does.

    None where a limit for the whole file may have been passed: it is to be scanned from its beginning to its end.
    """
    found = [msgspec.json.decode(job.file("facts").read_bytes(), type=RangeScan) for job in jobs]
    numbers = list(accumulate((each.physical for each in found), initial=0))
    ordinals = list(accumulate((each.facts.lines for each in found), initial=0))
    most = jobs[0].limits.max_lines
    facts = _merged([each.facts for each in found], numbers)
    if facts is None or facts.lines > most or any(each.facts.lines == most for each in found):
        return None
    with IndexWriter(Path(index)) as writer:
        for job, before in zip(jobs, numbers, strict=False):
            for records in _numbered(job.file("index"), before):
                writer.append_all(records)
    ids = partial(Buckets.read, [(job.file("ids"), first) for job, first in zip(jobs, ordinals, strict=False)])
    with Path(jobs[0].source).open("rb", buffering=0) as stream:
        repeated, total = repeated_ids(partial(settle, ids), Path(index), stream.fileno())
    faults = tuple(first_faults([*facts.faults, *repeated]))
    count = facts.fault_count + total
    return structs.replace(facts, faults=faults, fault_count=count, repeated=total, sha256=sha256)


def _numbered(path: Path, before: int) -> Iterator[bytes]:
    """Yield the records of a range's index with the numbers that its lines have in the file."""
    with path.open("rb", buffering=0) as stream:
        while packed_records := stream.read(CHUNK_BYTES // RECORD.size * RECORD.size):
            fields = _native(array("I", packed_records))
            fields[_LAST::_FIELDS] = array("I", [number + before for number in fields[_LAST::_FIELDS]])
            yield _native(fields).tobytes()


def _native(fields: array[int]) -> array[int]:
    """Turn little-endian numbers into those of this machine, and back."""
    if sys.byteorder == "big":
        fields.byteswap()
    return fields


def _merged(parts: Sequence[Facts], before: Sequence[int]) -> Facts | None:
    """Return the facts of all ranges, but for repeated ids; `before` are how many lines of the file each has before it.

    None where one of them has more names than are told apart: in another order they might have been others.
    """
    urls, models = dict[str, UrlFacts](), Counter[str]()
    for part, lines in zip(parts, before, strict=False):
        for url, known in part.urls.items():
            own = urls.get(url, UrlFacts())
            first = (*own.first_lines, *(line + lines for line in known.first_lines))[:MAX_FAULTS]
            urls[url] = UrlFacts(own.count + known.count, first)
        models.update(part.models)
    crowded = any(part.other_urls.count or part.other_models for part in parts)
    if crowded or len(urls) > MAX_URLS or len(models) > MAX_MODELS or not any(part.lines for part in parts):
        return None
    return Facts(
        lines=sum(part.lines for part in parts),
        bytes=sum(part.bytes for part in parts),
        blank_lines=sum(part.blank_lines for part in parts),
        faults=tuple(first_faults(_shifted((part.faults for part in parts), before))),
        fault_count=sum(part.fault_count for part in parts),
        urls=urls,
        other_urls=UrlFacts(),
        models=dict(models),
        other_models=0,
        longest_line=max(part.longest_line for part in parts),
        sha256="",
        beside=tuple(_shifted((part.beside for part in parts), before))[:MAX_FAULTS],
    )


def _shifted(faults: Iterable[Iterable[Fault]], before: Sequence[int]) -> Iterator[Fault]:
    for each, lines in zip(faults, before, strict=False):
        yield from (structs.replace(fault, line=(fault.line or 0) + lines) for fault in each)
