"""The collect of a part in ranges of its results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from proxy_plugin.engine import space, tasks
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.ranges.attempt import attempt_in
from proxy_plugin.ground.workers import Terms
from proxy_plugin.lines.collect import CollectFacts, CollectJob, collect
from proxy_plugin.lines.collecting.ranges import JoinRows, copied, join_rows
from proxy_plugin.storage.batch_folders import ROWS, WEIGHTS
from proxy_plugin.storage.room import ENDING
from proxy_plugin.storage.tables.batches import BatchRow


async def collect_ranges(
    desk: Desk, batch: BatchRow, terms: Terms, job: CollectJob, ranges: Sequence[CollectJob]
) -> CollectFacts:
    """Have ranges of results collected, then their rows joined. Raises like `space.run`."""
    weight = WEIGHTS[ROWS]
    async with attempt_in(Path(job.folder), desk, batch):
        found = await tasks.together(_collect_range(desk, batch, terms, each) for each in ranges)
        joins = JoinRows(job.folder, tuple(each.folder for each in ranges), tuple(found))
        size = await asyncio.to_thread(copied, joins.folders)
        facts = await space.run(desk, batch, ENDING, size, terms, join_rows, joins, weight=weight)
    desk.gateway.room.working.add(batch.workspace, batch.id, -size * weight)  # is there once now
    return facts


async def _collect_range(desk: Desk, batch: BatchRow, terms: Terms, job: CollectJob) -> CollectFacts:
    start, stop = job.span or (0, 0)
    return await space.run(desk, batch, ENDING, (stop - start) * 3 // 2, terms, collect, job, weight=WEIGHTS[ROWS])
