"""The last step of a batch: merge the rows, publish the result files, book what they cost."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from proxy_plugin.config import Config
from proxy_plugin.config.sections import UNNAMED
from proxy_plugin.costs.tally import total, usage_object
from proxy_plugin.engine import space, tasks
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.onward.late import look_again
from proxy_plugin.engine.ranges.merging import merge_ranges, time_for
from proxy_plugin.engine.sharing import at_hand
from proxy_plugin.engine.spend import report
from proxy_plugin.engine.spend.carrier import is_known
from proxy_plugin.engine.worker_jobs import merge_bytes, merge_job
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.durable import sync_folder
from proxy_plugin.ground.workers import Terms
from proxy_plugin.lines.batch_faults import errors_text
from proxy_plugin.lines.merge import MergeFacts, MergeJob, merge
from proxy_plugin.lines.merging.ranges import ranges_of
from proxy_plugin.lines.scan import MAX_FAULTS, Fault
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import StoreAway
from proxy_plugin.storage.room import ENDING
from proxy_plugin.storage.tables import batches, files, parts, spending, submissions
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.parts import PartRow, refusal_of

LOG = logging.getLogger("proxy_plugin.engine")
OUTPUT_KEPT = 30 * 86_400  # seconds, unless the client asked for less
UNANSWERED = {"cancelled", "expired", "missing"}  # outcomes of lines that no provider answered


class SumMismatch(Exception):
    """Output and error rows do not add up to the lines of the batch; nothing is published."""


async def merge_batch(desk: Desk, batch: BatchRow) -> None:
    """Write output, errors and ledger in input order, check the sum, and publish all of it in one transaction."""
    rows, attempts = await desk.read(_parts, batch.id)
    rows = await look_again(desk, batch, rows)
    folder = desk.folders.new(batch.id, "merge")
    job = merge_job(desk.gateway.blobs, desk.folders, batch, rows, attempts, folder)
    await at_hand.for_merge(desk.gateway.blobs, desk.folders, batch, job)
    facts = await merged(desk, batch, job)
    if facts.completed + facts.failed != facts.total or facts.total != batch.total:
        raise SumMismatch(f"{facts.completed} + {facts.failed} rows for {batch.total} lines")
    failpoints.passing("merge.acted")
    published = await asyncio.to_thread(_publish, desk, batch, folder, facts)
    await _share(desk, batch, published)
    failpoints.passing("merge.published")
    ended = await desk.write(_commit_end, desk, batch, rows, facts, published)
    if batch.identity is not None:
        desk.reports.set()
    desk.gateway.timings.batches.observe(desk.now() - batch.created_at, ended.state)
    logs.event(LOG, "batch_ended", state=ended.state, lines=facts.total)
    await desk.folders.drop_ended(batch.id)
    await space.measure(desk, {batch.id: batch.workspace})


async def merged(desk: Desk, batch: BatchRow, job: MergeJob) -> MergeFacts:
    """Merge in ranges where several workers can do so at once, and in one go where there is no room for that."""
    ranges = ranges_of(job)
    if len(ranges) > 1 and desk.gateway.workers.each > 1:
        try:
            return await merge_ranges(desk, batch, job, ranges)
        except (space.Full, OSError) as error:
            logs.event(LOG, "merged_in_one_go", error=error, level=logging.WARNING)
    expected = await asyncio.to_thread(merge_bytes, job, batch.total)
    return await space.run(desk, batch, ENDING, expected, await _terms(desk, batch, job), merge, job)


async def _terms(desk: Desk, batch: BatchRow, job: MergeJob) -> Terms:
    """Return what the merge may take: more at each try. It is never given up: what it brings home is paid for."""
    source = await desk.read(files.get, batch.input_file_id)
    stored = [job.rejected, *job.rows.values(), *([job.cached] if job.cached else [])]
    return time_for(desk, batch, await asyncio.to_thread(tasks.bytes_in, stored) + (source.bytes if source else 0))


def _parts(conn: Connection, batch_id: str) -> tuple[list[PartRow], Mapping[int, int]]:
    return parts.of_batch(conn, batch_id), submissions.attempts(conn, batch_id)


class Published(msgspec.Struct, frozen=True):
    """Blobs that exist and no row names yet."""

    output: str | None
    error: str | None

    @property
    def first(self) -> str | None:
        """The one that a batch always has, unless it has no lines."""
        return self.output or self.error


def _publish(desk: Desk, batch: BatchRow, folder: Path, facts: MergeFacts) -> Published:
    blobs = desk.gateway.blobs
    names: list[str | None] = []
    for name, lines in (("output.jsonl", facts.completed), ("error.jsonl", facts.failed)):
        file_id = f"file-{secrets.token_hex(12)}" if lines else None
        if file_id is not None:
            blobs.adopt(folder / name, file_id)
        names.append(file_id)
    published = Published(*names)
    ledger = desk.folders.ledger(batch.id, published.first)
    (folder / "ledger.jsonl").replace(ledger)
    sync_folder(ledger.parent)
    return published


async def _share(desk: Desk, batch: BatchRow, published: Published) -> None:
    """Make it all durable where replicas share it. Raises StoreAway, and leaves nothing then."""
    blobs, names = desk.gateway.blobs, [name for name in (published.output, published.error) if name is not None]
    try:
        for name in names:
            await blobs.publish(name)
        await desk.folders.share(desk.folders.ledger(batch.id, published.first))
    except StoreAway:
        for name in names:
            await blobs.discard(name)
        raise


def _commit_end(
    conn: Connection,
    desk: Desk,
    batch: BatchRow,
    rows: list[PartRow],
    facts: MergeFacts,
    published: Published,
) -> BatchRow:
    now = desk.now()
    current = batches.get(conn, batch.id)
    assert current is not None
    for file_id, what, size, digest in (
        (published.output, "output", facts.output.bytes, facts.output.sha256),
        (published.error, "error", facts.error.bytes, facts.error.sha256),
    ):
        if file_id is not None:
            files.insert(conn, _result_file(batch, file_id, what, size, digest, now))
    state = _end_state(conn, current, rows, facts)
    _book(conn, desk.gateway.config, batch, rows, facts)
    if is_known(desk.gateway.config):
        report.book(conn, batch, state, facts, [row.provider for row in rows], now)
    return batches.end(
        conn,
        current,
        state,
        now,
        total=facts.total,
        completed=facts.completed,
        failed=facts.failed,
        usage=msgspec.json.encode(usage_object(facts.usage)).decode() if facts.completed else None,
        model=facts.models[0] if len(facts.models) == 1 else None,
        output_file_id=published.output,
        error_file_id=published.error,
        errors=_refusals(rows) if state == "failed" else None,
    )


def _book(conn: Connection, config: Config, batch: BatchRow, rows: list[PartRow], facts: MergeFacts) -> None:
    """Keep what the batch cost, and add it to what its workspace has spent on each virtual key.

    The sums become labels of /metrics, which anybody may read: a workspace or a virtual key that is not configured is
    made of a key that its caller brought, and there is no end of those.
    """
    spending.insert(conn, batch.id, facts.spent)
    slugs = {row.n: row.slug if row.slug in config.virtual_keys else UNNAMED for row in rows}
    workspace = config.label(batch.workspace)
    for slug in sorted(set(slugs.values())):
        mine = [each for each in facts.spent if slugs[each.part] == slug]
        if mine:
            spending.add_up(conn, workspace, slug, total(mine))


def _result_file(batch: BatchRow, file_id: str, what: str, size: int, digest: str, now: float) -> FileRow:
    return FileRow(
        id=file_id,
        workspace=batch.workspace,
        purpose="batch_output",
        filename=f"{batch.id}_{what}.jsonl",
        bytes=size,
        sha256=digest,
        created_at=int(now),
        expires_at=int(now) + (batch.output_expires_after or OUTPUT_KEPT),
        state="processed",
    )


def _end_state(conn: Connection, batch: BatchRow, rows: list[PartRow], facts: MergeFacts) -> str:
    """A stop that found nothing left to stop has lost the race: the batch is then completed.

    The rows tell, not the words of the jobs: a job that was cancelled while it wrote its results has them all.
    """
    told = [
        row for row in rows if row.failed or row.rescue is None
    ]  # others have no line that stayed without an answer
    cut = {row.end_reason for row in told} if facts.outcomes.keys() & UNANSWERED else set()
    if not rows and facts.outcomes.keys() & UNANSWERED:  # it was stopped before its lines were translated
        cut = {batch.stopping}
    if batch.stopping == "batch_cancelled" and cut & {"cancelled", "batch_cancelled", "batch_expired"}:
        return "cancelled"
    if cut & {"expired", "batch_expired"} or (batch.stopping == "batch_expired" and "cancelled" in cut):
        return "expired"
    ran = facts.completed or any(row.state == "collected" for row in rows) or submissions.any_accepted(conn, batch.id)
    if any(row.state == "refused" for row in rows) and not ran:
        return "failed"
    return "completed"


def _refusals(rows: list[PartRow]) -> str:
    refused = (row for row in rows if row.state != "replaced")
    reasons = [reason for row in refused if (reason := refusal_of(row)) is not None]
    faults = (Fault(each.code, each.message, each.param, each.line or None) for each in reasons[:MAX_FAULTS])
    return errors_text(faults)
