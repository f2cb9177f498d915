"""A collect in ranges of the results, which several workers do at once: its jobs, and how their rows are joined.

A range is a stretch of one file, cut at line breaks. Each writes its rows into a folder of its own, and what it saw of
each line, a byte. A bucket that only one range has rows for is renamed, others are copied, range after
range: so the rows of a line stand in the order of the results. Counts are added up; where two ranges have rows of the
same line, which a provider ought not to give, they are counted again from the rows.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import structs

from proxy_plugin.ground.allowance import spend
from proxy_plugin.ground.durable import sync_file, sync_folder
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.lines.collect import SEEN, SEEN_HEAD, CollectFacts, CollectJob, SeenLines
from proxy_plugin.lines.manifest import BLOCK
from proxy_plugin.lines.row_store import OK, bucket_path, buckets, rows
from proxy_plugin.providers.base import Usage

LARGE = 128 * 2**20  # bytes of results from which on they are read in ranges
RANGE = LARGE // 2
MOST = 64  # ranges, about
_AT_ONCE, _COPY_BYTES = 2**16, 2**20


class JoinRows(msgspec.Struct, frozen=True):
    """Stores in `folders`, within `folder`, that become one store there; `facts` are theirs."""

    folder: str
    folders: tuple[str, ...]
    facts: tuple[CollectFacts, ...]


def ranges_of(job: CollectJob) -> list[CollectJob]:
    """Return the jobs that do the same as one, each in a folder within its own; small results are one. Blocking."""
    paths = [Path(job.results, name) for name in job.names]
    size = sum(path.stat().st_size for path in paths)
    if size < LARGE:
        return [job]
    spans = [(path.name, span) for path in paths for span in _spans(path, max(RANGE, size // MOST))]
    return [
        structs.replace(job, names=(name,), span=span, folder=str(Path(job.folder, f"range-{n:04d}")))
        for n, (name, span) in enumerate(spans)
    ]


def _spans(path: Path, step: int) -> Iterator[tuple[int, int]]:
    """Yield where stretches of whole lines begin and end."""
    start, size = 0, path.stat().st_size
    with path.open("rb", buffering=0) as stream:
        while start < size:
            stop = min(start + step, size)
            stream.seek(stop)
            while stop < size and (block := stream.read(_AT_ONCE)):
                found = block.find(b"\n")
                stop += found + 1 if found >= 0 else len(block)
                if found >= 0:
                    break
            yield start, stop
            start = stop


def copied(folders: Sequence[str]) -> int:
    """Return how many bytes a join of these stores copies. Blocking."""
    return sum(sum(path.stat().st_size for path in paths) for paths in _by_bucket(folders).values() if len(paths) > 1)


def _by_bucket(folders: Sequence[str]) -> dict[int, list[Path]]:
    found = defaultdict[int, list[Path]](list)
    for folder in map(Path, folders):
        for bucket in buckets(folder):
            found[bucket].append(bucket_path(folder, bucket))
    return found


def join_rows(job: JoinRows) -> CollectFacts:
    """Make one durable store of several. May be done again after it was killed. Raises OSError."""
    folder = Path(job.folder)
    for bucket, paths in _by_bucket(job.folders).items():
        target = bucket_path(folder, bucket)
        if len(paths) > 1 and not target.exists():
            _copy(paths, target)
        elif not target.exists():
            paths[0].replace(target)
        passing("collect.joined")
    sync_folder(folder)
    facts = _facts(job)
    for each in job.folders:
        shutil.rmtree(each)
    return facts


def _copy(paths: Sequence[Path], target: Path) -> None:
    beside = target.with_suffix(".part")
    with beside.open("wb") as whole:
        for path in paths:
            with path.open("rb", buffering=0) as stream:
                spend(os.fstat(stream.fileno()).st_size)
                shutil.copyfileobj(stream, whole, _COPY_BYTES)  # not every kernel copies files itself
    sync_file(beside)
    beside.replace(target)


def _facts(job: JoinRows) -> CollectFacts:
    """Return the sums, where no line has rows in two stores; else what the rows say."""
    counts = SeenLines()
    if _apart(job.folders):
        counts.used = list(map(sum, zip(*(structs.astuple(each.usage) for each in job.facts), strict=True)))
        counts.lines = sum(each.lines for each in job.facts)
        counts.ran = sum(each.ran for each in job.facts)
        counts.answered = sum(each.answered for each in job.facts)
    else:
        _count(Path(job.folder), counts)
    return CollectFacts(
        rows=sum(each.rows for each in job.facts),
        ok=sum(each.ok for each in job.facts),
        failed=sum(each.failed for each in job.facts),
        foreign=sum(each.foreign for each in job.facts),
        corrupt=sum(each.corrupt for each in job.facts),
        usage=Usage(*counts.used),
        lines=counts.lines,
        ran=counts.ran,
        answered=counts.answered,
    )


def _count(folder: Path, counts: SeenLines) -> None:
    for row in rows(folder):
        block, at = divmod(row.ordinal, BLOCK)
        seen = counts.make_room(block)
        counts.note(seen, at, row.meta.code)
        if row.kind == OK:
            counts.note_answer(seen, at, row.meta.usage)


def _apart(folders: Sequence[str]) -> bool:
    """Tell whether each line was seen in one store at most."""
    places = defaultdict[int, list[tuple[Path, int]]](list)
    for path in (Path(folder, SEEN) for folder in folders):
        for block, offset in _blocks(path):
            places[block].append((path, offset))
    return all(_disjoint(each) for each in places.values() if len(each) > 1)


def _blocks(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the numbers of the blocks in a file of what was seen, and where their bytes begin."""
    with path.open("rb", buffering=0) as stream:
        while head := stream.read(SEEN_HEAD.size):
            yield SEEN_HEAD.unpack(head)[0], stream.tell()
            stream.seek(BLOCK, os.SEEK_CUR)


def _disjoint(places: Sequence[tuple[Path, int]]) -> bool:
    every = 0
    for path, offset in places:
        with path.open("rb", buffering=0) as stream:
            stream.seek(offset)
            seen = int.from_bytes(stream.read(BLOCK), "little")
        if seen & every:
            return False
        every |= seen
    return True
