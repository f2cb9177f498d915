"""A merge in ranges of lines, which several workers do at once: its jobs, and how what they wrote is joined.

A range is a few blocks of ordinals. Each writes its stretch of the three files into a folder of its own. A stretch is
then appended to the first, and hashed on the way: its bytes are in memory for that, so writing them costs no more than
having the kernel copy them. What is appended is removed, so the disk holds one stretch more than without ranges.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import structs

from proxy_plugin.costs.tally import added_up
from proxy_plugin.ground.durable import FileFacts, sync_folder, write_all
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.manifest import BLOCK
from proxy_plugin.lines.merge import MODELS_NAMED, MergeFacts, MergeJob
from proxy_plugin.lines.row_store import bucket_path
from proxy_plugin.providers.base import Usage

MOST = 64  # ranges of a batch
_AT_ONCE = 2**20


class JoinJob(msgspec.Struct, frozen=True):
    """`stretches` of the file `name` are in folders in `folder`, where it is to stand. Sizes are in bytes."""

    folder: str
    name: str
    stretches: tuple[tuple[str, int], ...]  # folder and size, in order

    @property
    def appended(self) -> int:
        """How many bytes are written behind the first stretch."""
        return sum(size for _, size in self.stretches[1:])


class Weight(msgspec.Struct, frozen=True):
    """Bytes that the merge of a range reads of the source, and of rows, and how many lines it has."""

    source: int
    rows: int
    lines: int


def ranges_of(job: MergeJob) -> list[MergeJob]:
    """Return the jobs that do the same as one, each in a folder within that of the one; a small batch is one range."""
    blocks = -(-job.total // BLOCK)
    step = -(-blocks // MOST) * BLOCK
    spans = [(first, min(first + step, job.total)) for first in range(0, job.total, step or 1)]
    return [
        structs.replace(job, ordinals=span, folder=str(Path(job.folder, f"{n:04d}"))) for n, span in enumerate(spans)
    ]


def weight_of(job: MergeJob) -> Weight:
    """Return what a range weighs. Blocking."""
    first, stop = job.ordinals or (0, job.total)
    folders = [job.rejected, *job.rows.values(), *job.late.values(), *([job.cached] if job.cached else [])]
    folders += [each.remarks for each in job.rescues]
    paths = (bucket_path(Path(each), bucket) for each in folders for bucket in range(first // BLOCK, -(-stop // BLOCK)))
    rows = sum(path.stat().st_size for path in paths if path.exists())
    with LineIndex(Path(job.index)) as index:
        begin, end = index.record(first), index.record(stop - 1)
    return Weight(end.offset + end.length - begin.offset, rows, stop - first)


def join_jobs(job: MergeJob, jobs: Sequence[MergeJob], found: Sequence[MergeFacts]) -> list[JoinJob]:
    """Return the jobs that join what ranges wrote: output, errors, ledger."""
    files = zip(*((each.output, each.error, each.ledger) for each in found), strict=True)
    return [
        JoinJob(
            job.folder,
            stretches[0].name,
            tuple((each.folder, stretch.bytes) for each, stretch in zip(jobs, stretches, strict=True)),
        )
        for stretches in files
    ]


def join(job: JoinJob) -> FileFacts:
    """Make one durable file of the stretches of a file; its folder is still to be synced. Raises OSError, ValueError.

    May be done again after it was killed: what is not there any more is in the file.
    """
    target = Path(job.folder, job.name)
    (first, done), *others = ((Path(folder, job.name), size) for folder, size in job.stretches)
    if not target.exists():
        first.replace(target)
    while others and not others[0][0].exists():
        done += others.pop(0)[1]
    digest, lines = hashlib.sha256(), 0
    with target.open("r+b", buffering=0) as file:
        file.truncate(done)
        for piece in _pieces(target):
            digest.update(piece)
            lines += piece.count(b"\n")
        file.seek(done)
        for path, _ in others:
            for piece in _pieces(path):
                write_all(file.fileno(), piece)
                digest.update(piece)
                lines += piece.count(b"\n")
            path.unlink()
            passing("merge.joined")
        os.fsync(file.fileno())
        size = file.tell()
    if size != job.appended + job.stretches[0][1]:
        raise ValueError(f"{job.name} has {size} bytes, and its stretches had others")
    return FileFacts(job.name, size, lines, digest.hexdigest())


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(_AT_ONCE):
            yield piece


def joined(job: MergeJob, found: Sequence[MergeFacts], files: Sequence[FileFacts]) -> MergeFacts:
    """Return the facts of the whole, whose files are on the disk then. Blocking. Raises ValueError like `merge`."""
    sync_folder(Path(job.folder))
    outcomes = sum((Counter(each.outcomes) for each in found), Counter[str]())
    output, error, ledger = files
    if output.lines + error.lines != job.total or outcomes.total() != job.total:
        raise ValueError(f"{output.lines + error.lines} rows were merged for {job.total} lines")
    return MergeFacts(
        total=job.total,
        completed=output.lines,
        failed=error.lines,
        usage=_sum([each.usage for each in found]),
        models=tuple(islice(dict.fromkeys(model for each in found for model in each.models), MODELS_NAMED)),
        output=output,
        error=error,
        ledger=ledger,
        outcomes=dict(sorted(outcomes.items())),
        superseded=sum(each.superseded for each in found),
        spent=added_up(each.spent for each in found),
    )


def _sum(used: Sequence[Usage]) -> Usage:
    return Usage(*map(sum, zip(*map(structs.astuple, used), strict=True)))
