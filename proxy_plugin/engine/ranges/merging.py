"""The merge of a batch in ranges of its lines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from proxy_plugin.engine import space, tasks
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.ranges.attempt import attempt_in
from proxy_plugin.engine.worker_jobs import ENVELOPE_BYTES
from proxy_plugin.ground.workers import Terms
from proxy_plugin.lines.merge import MergeFacts, MergeJob, merge
from proxy_plugin.lines.merging.ranges import join, join_jobs, joined, weight_of
from proxy_plugin.storage.room import ENDING
from proxy_plugin.storage.tables.batches import BatchRow


def time_for(desk: Desk, batch: BatchRow, size: int) -> Terms:
    """Return what a merge may take for so many bytes: more at each try."""
    return desk.gateway.terms(batch.workspace, size, times=2.0 ** min(batch.tries, tasks.MORE_TRIES))


async def merge_ranges(desk: Desk, batch: BatchRow, job: MergeJob, ranges: Sequence[MergeJob]) -> MergeFacts:
    """Have the ranges merged, then their stretches joined. Raises like `space.run`."""
    async with attempt_in(Path(job.folder), desk, batch):
        found = await tasks.together(_merge_range(desk, batch, each) for each in ranges)
        joins = join_jobs(job, ranges, found)
        files = await tasks.together(
            space.run(desk, batch, ENDING, each.appended, time_for(desk, batch, each.appended), join, each)
            for each in joins
        )
        facts = await asyncio.to_thread(joined, job, found, files)
    desk.gateway.room.working.add(batch.workspace, batch.id, -sum(each.appended for each in joins))  # is there once now
    return facts


async def _merge_range(desk: Desk, batch: BatchRow, job: MergeJob) -> MergeFacts:
    weight = await asyncio.to_thread(weight_of, job)
    expected, terms = weight.rows + weight.lines * ENVELOPE_BYTES, time_for(desk, batch, weight.source + weight.rows)
    return await space.run(desk, batch, ENDING, expected, terms, merge, job)
