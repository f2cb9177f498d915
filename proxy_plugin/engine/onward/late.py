"""One more look at jobs that had ended with fewer results than their providers counted, before their batch is merged.

Lines of them went on, so an answer that shows up now may be a second one; it is paid for, and told. Nothing waits for
it: where the look fails, what was known counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace

from msgspec import structs

from proxy_plugin.engine import space
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.sharing import at_hand
from proxy_plugin.engine.steps_part import check_mark
from proxy_plugin.engine.steps_results import collect_job, most_results
from proxy_plugin.engine.worker_jobs import collect_bytes
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.workers import OutOfBudget, WorkerDied
from proxy_plugin.lines.collect import collect
from proxy_plugin.providers.base import JobState, JobStatus, ProviderError
from proxy_plugin.storage.batch_folders import ROWS, WEIGHTS
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.room import RESULTS
from proxy_plugin.storage.tables import batches, parts
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow, results_of, unheld
from proxy_plugin.storage.tables.rescues import rescue_of

LOG = logging.getLogger("proxy_plugin.engine")
NOTHING = ""


async def look_again(desk: Desk, batch: BatchRow, rows: Iterable[PartRow]) -> list[PartRow]:
    """Return the parts with what their jobs show now; each is looked at once, whatever comes of it."""
    return [await _look(desk, batch, row) if _lacks(row) else row for row in rows]


def _lacks(part: PartRow) -> bool:
    """Tell whether lines of a part went on of which its provider has counted an answer that never came."""
    rescue, known = rescue_of(part), results_of(part)
    return bool(rescue.went) and rescue.late is None and part.way == "native" and unheld(known.told, known.held) > 0


async def _look(desk: Desk, batch: BatchRow, part: PartRow) -> PartRow:
    try:
        folder = await _rows(desk, batch, part)
    except (ProviderError, OSError, ValueError, OutOfBudget, WorkerDied) as error:
        logs.event(LOG, "late_look_failed", slug=part.slug, error=error, level=logging.WARNING)
        folder = NOTHING
    failpoints.passing("late.acted")
    return await desk.write(_note, desk, part, folder)


async def _rows(desk: Desk, batch: BatchRow, part: PartRow) -> str:
    """Return the name of the folder of the rows of all results that the job shows now."""
    lane, account, known = desk.lane(part), desk.account(part, batch), results_of(part)
    assert part.job is not None
    now = await lane.status(account, part.job, desk.document(part, batch))
    check_mark(lane, part, now)
    native = known.native | dict(now.results)
    status = JobStatus(JobState.ENDED, results=native, reading=known.readings, last=True)
    results, rows = (desk.folders.new(batch.id, f"late-{what}-{part.n:05d}") for what in ("results", "rows"))
    await asyncio.to_thread(results.mkdir, parents=True)
    most = most_results(part, desk.gateway.config.limits.max_line_bytes)
    with space.claiming(desk, batch, RESULTS) as claim:
        bounded = replace(account, http=account.http.storing(space.Results(claim, most, cuts=True)))
        names = await lane.fetch(bounded, part.job, status, results)
    await at_hand.assignment_of(desk, part, batch)
    job = await collect_job(desk, part, batch, results, names, rows)
    expected = await asyncio.to_thread(collect_bytes, job, part.lines)
    terms = desk.gateway.terms(batch.workspace, expected)
    await space.run(desk, batch, RESULTS, expected, terms, collect, job, weight=WEIGHTS[ROWS])
    await desk.folders.share(rows)
    return rows.name


def _note(conn: Connection, desk: Desk, part: PartRow, folder: str) -> PartRow:
    known = structs.replace(rescue_of(part), late=folder)
    batches.event(conn, part.batch_id, part.n, desk.now(), "looked at again", "results" if folder else "no results")
    return parts.change(conn, part, rescue=known.text())
