"""A split in ranges of lines: translated side by side, cut into parts, made into documents side by side."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from proxy_plugin.engine import space, tasks
from proxy_plugin.engine.desk import Desk
from proxy_plugin.ground import logs
from proxy_plugin.ground.allowance import within
from proxy_plugin.lines.manifest import Manifest
from proxy_plugin.lines.ranges.documents import DocumentsJob, FinishJob, finish, write_documents
from proxy_plugin.lines.ranges.independent import bounds, independent
from proxy_plugin.lines.ranges.parts import PartsJob, plan_parts
from proxy_plugin.lines.ranges.pieces import InOrder, RangeJob, translate_range
from proxy_plugin.lines.split import SplitJob
from proxy_plugin.storage.tables.batches import BatchRow

LOG = logging.getLogger("proxy_plugin.engine")
J = TypeVar("J", bound=space.InFolder)
T = TypeVar("T")
_WRITTEN_TWICE = 2  # records stand in pieces and in documents, until these are made
Range = tuple[int, int, int]  # first ordinal, the one behind the last, bytes


async def split_in_ranges(desk: Desk, batch: BatchRow, job: SplitJob, expected: int) -> Manifest | None:
    """Return the manifest of a split in ranges; None where the lines are to be taken one after the other.

    That is also where there is no room for twice their bytes. Raises what the split in one raises.
    """
    workers = desk.gateway.workers.each
    ranges = await asyncio.to_thread(bounds, Path(job.index), workers) if independent(job) else []
    if not ranges:
        return None

    async def attempt(most: int) -> tuple[Manifest, int]:
        return await _InRanges(desk, batch, job, ranges, most).run()

    logs.event(LOG, "split_in_ranges", batch=batch.id, ranges=len(ranges))
    try:
        with space.claiming(desk, batch, space.rank_of(desk, batch)) as claim:
            return await space.spending(claim, job.folder, expected + space.LEAST, attempt, _WRITTEN_TWICE)
    except (InOrder, space.Full) as reason:
        logs.event(LOG, "split_in_order", batch=batch.id, reason=type(reason).__name__)
        await asyncio.to_thread(shutil.rmtree, job.folder, ignore_errors=True)
        return None


class _InRanges:
    """One attempt, which may write `most` bytes twice."""

    def __init__(self, desk: Desk, batch: BatchRow, job: SplitJob, ranges: Sequence[Range], most: int) -> None:
        self._desk, self._batch, self._job, self._ranges, self._most = desk, batch, job, ranges, most
        self._total = sum(size for _, _, size in ranges)

    async def run(self) -> tuple[Manifest, int]:
        """Return the manifest and how many bytes stay."""
        at_once = self._desk.gateway.workers.each
        jobs = [(RangeJob(self._job, n, first, stop), size) for n, (first, stop, size) in enumerate(self._ranges)]
        works = [partial(self._work, translate_range, job, size, self._part_of(size)) for job, size in jobs]
        await tasks.a_few_together(at_once, works)
        starts = tuple(first for first, _, _ in self._ranges)
        sizes, planning = await self._work(plan_parts, PartsJob(self._job, starts), self._total, self._most)
        shares = [(DocumentsJob(self._job, *bound), size) for *bound, size in _shares(sizes, len(jobs))]
        made = await tasks.a_few_together(
            at_once, [partial(self._work, write_documents, share, size, size) for share, size in shares]
        )
        hashes = tuple(each for found, _ in made for each in found)
        manifest, finishing = await self._work(finish, FinishJob(self._job, hashes), self._total, self._most)
        return manifest, planning + finishing + sum(written for _, written in made)

    def _part_of(self, size: int) -> int:
        """Return how many bytes a range of so many may write: all of them the most."""
        return self._most * size // max(self._total, 1)

    async def _work(self, function: Callable[[J], T], job: J, size: int, most: int) -> tuple[T, int]:
        """Run a task that reads so many bytes and writes at most `most`."""
        gateway = self._desk.gateway
        return await gateway.workers.run(gateway.terms(self._batch.workspace, size), within, most, function, job)


def _shares(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first part, the one behind the last, bytes): at most so many shares of documents of about one size."""
    total, count = sum(sizes), min(most, len(sizes))
    ends, grown, done = [0], 0, 0
    for n, size in enumerate(sizes, 1):
        grown += size
        if grown * count >= total * (done + 1):
            ends.append(n)
            done = grown * count // total
    for first, stop in pairwise(ends):
        yield first, stop, sum(sizes[first:stop])
