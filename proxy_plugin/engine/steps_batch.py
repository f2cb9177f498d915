"""Steps of a batch before its results: validate, split, follow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
from msgspec import structs

from proxy_plugin.answers.keys import REPEATS
from proxy_plugin.engine import pictures, space, tasks, waiting
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.onward.window import CALLS_BEGIN, calls_begin
from proxy_plugin.engine.poison import suspected
from proxy_plugin.engine.ranges.split import split_in_ranges
from proxy_plugin.engine.spend.check import admit
from proxy_plugin.engine.waiting import Cause
from proxy_plugin.engine.worker_jobs import WORKER_GIVES_UP, split_bytes, split_job
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.webhooks import IN_PROGRESS
from proxy_plugin.ground.workers import OutOfBudget, WorkerDied
from proxy_plugin.lines.batch_faults import errors_text, file_faults
from proxy_plugin.lines.manifest import Manifest, PartSpec
from proxy_plugin.lines.scan import Facts, Fault
from proxy_plugin.lines.split import SplitJob, split
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files, kept, parts, waits, webhooks
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.cuts import suspects_of
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.kept import KeptTotal
from proxy_plugin.storage.tables.parts import PartRow

LOG = logging.getLogger("proxy_plugin.engine")
UNSPLITTABLE = Fault("internal_error", "The file could not be translated: the process that did it died.", None, None)


async def validate(desk: Desk, batch: BatchRow) -> None:
    """Fail the batch for envelope faults before anything is sent, as OpenAI does, or let it be split."""
    row = await desk.read(files.get, batch.input_file_id)
    assert row is not None
    if row.state == "uploaded":
        await desk.write(_wait_for_scan, batch, desk.now())
        return
    facts = None if row.facts is None else msgspec.json.decode(row.facts, type=Facts)
    faults = file_faults(facts, batch.endpoint, desk.route(batch))
    if facts is None or faults:
        await _fail(desk, batch, faults)
        return
    if batch.identity is None or batch.stopping is not None:
        await desk.write(batches.move, batch, "splitting", total=facts.lines)
    else:
        await _admit(desk, batch, row, facts.lines)


async def _admit(desk: Desk, batch: BatchRow, file: FileRow, lines: int) -> None:
    """Let a batch go on that the limits of its key of LiteLLM's allow; one that is stopped meanwhile is not sent."""
    try:
        faults = await admit(desk, batch, file, lines)
    except tasks.Unwanted:
        await desk.write(batches.move, batch, "splitting", total=lines)
        return
    except OutOfBudget:
        faults = [tasks.TOO_MUCH]
    except WorkerDied:
        if batch.tries < WORKER_GIVES_UP:
            raise
        faults = [UNSPLITTABLE]
    if faults:
        await _fail(desk, batch, faults)


def _wait_for_scan(conn: Connection, batch: BatchRow, now: float) -> None:
    row = files.get(conn, batch.input_file_id)
    if row is not None and row.state == "uploaded":  # else the scan's own transaction has woken the batch
        batches.postpone(conn, batch.id, now + 60)


async def _fail(desk: Desk, batch: BatchRow, faults: Iterable[Fault]) -> None:
    told = errors_text(faults)
    now = desk.now()
    await desk.write(batches.end, batch, "failed", now, total=0, errors=told)  # OpenAI counts none either
    desk.gateway.timings.batches.observe(now - batch.created_at, "failed")


async def split_batch(desk: Desk, batch: BatchRow) -> None:
    """Translate the lines into native documents and write down the manifest, once and for all.

    A batch that is stopped meanwhile begins again, and has a manifest of lines that are not sent.
    """
    if batch.deadline_at is None and tasks.is_late(desk, batch):
        await desk.write(batches.deadline, batch, desk.now())
        batch = await desk.batch(batch.id)
    folder = desk.folders.new(batch.id, "split")
    try:
        manifest = await _manifest(desk, batch, folder)
    except pictures.NotYet as pause:
        await desk.write(_rest_for_pictures, desk, batch, desk.now() + pause.seconds)
    except tasks.Unwanted:
        logs.event(LOG, "split_ended", batch=batch.id)
    except OutOfBudget as error:
        logs.event(LOG, "out_of_budget", batch=batch.id, error=error, level=logging.WARNING)
        await _give_up(desk, batch, [tasks.TOO_MUCH])
    except WorkerDied:
        if batch.tries < WORKER_GIVES_UP:
            raise
        await _give_up(desk, batch, [UNSPLITTABLE])
    else:
        await _settle(desk, batch, folder, manifest)


async def _manifest(desk: Desk, batch: BatchRow, folder: Path) -> Manifest:
    row, route = await desk.read(files.get, batch.input_file_id), desk.route(batch)
    assert row is not None
    await desk.gateway.blobs.present_with_index(row.id)
    given = (desk.gateway, row, batch.endpoint, route)
    job = split_job(*given, batch_id=batch.id, folder=str(folder), unsent=batch.stopping)
    repeats = desk.folders.folder(batch.id) / REPEATS
    if job.kept is not None:
        await desk.folders.present_file(repeats)
    job = await asyncio.to_thread(_counting_on, job, repeats)
    size = row.bytes
    if route.fetches_media and job.unsent is None:
        job = structs.replace(job, media=await pictures.gathered(desk, batch, job, size))
        size += 4 * await asyncio.to_thread(tasks.bytes_in, [desk.folders.media(batch.id)])  # lines may share one
    work = _split(desk, batch, job, split_bytes(row, batch.total, job), size)
    return await work if job.unsent else await tasks.while_wanted(partial(tasks.to_be_sent, desk, batch), work)


async def _split(desk: Desk, batch: BatchRow, job: SplitJob, expected: int, size: int) -> Manifest:
    """Split the file in ranges side by side, or line by line where it is short or its lines depend on each other."""
    found = await split_in_ranges(desk, batch, job, expected)
    if found is not None:
        return found
    terms = desk.gateway.terms(batch.workspace, size)
    return await space.run(desk, batch, space.rank_of(desk, batch), expected, terms, split, job)


def _counting_on(job: SplitJob, repeats: Path) -> SplitJob:
    """Return the job with what a retry was told of lines of its batch that are equal."""
    if job.kept is None or not repeats.exists():
        return job
    return structs.replace(job, kept=structs.replace(job.kept, repeats=str(repeats)))


async def _settle(desk: Desk, batch: BatchRow, folder: Path, manifest: Manifest) -> None:
    if manifest.faults:
        await _give_up(desk, batch, manifest.faults)
        return
    await desk.folders.publish(folder)
    stay = desk.route(batch).fetches_media and any(part.goes_on is not None for part in manifest.parts)
    if stay:
        await desk.folders.share(desk.folders.media(batch.id))
    failpoints.passing("split.acted")
    await desk.write(_commit_manifest, desk, batch, folder.name, manifest)
    await asyncio.to_thread(desk.folders.clear_others, folder, "split")
    if desk.route(batch).fetches_media and not stay:
        await desk.folders.drop_media(batch.id)


def _rest_for_pictures(conn: Connection, desk: Desk, batch: BatchRow, due_at: float) -> None:
    if not desk.fetching.has(batch.id):  # else it was called before it came to rest
        batches.postpone(conn, batch.id, due_at)
    waiting.store(conn, waiting.of_batch(desk, batch, Cause(waits.PICTURES), due_at))


async def _give_up(desk: Desk, batch: BatchRow, faults: Iterable[Fault]) -> None:
    await _fail(desk, batch, faults)
    await desk.folders.drop_ended(batch.id)


def _commit_manifest(conn: Connection, desk: Desk, batch: BatchRow, folder: str, manifest: Manifest) -> None:
    now, workspace = desk.now(), desk.gateway.config.label(batch.workspace)
    given = {"hits": manifest.cached, "misses": manifest.missed, "bytes": manifest.cached_bytes}
    kept.add_up(conn, KeptTotal(workspace=workspace, **given))
    batches.move(
        conn,
        batch,
        "running",
        split_dir=folder,
        total=manifest.total,
        rejected=manifest.rejected,
        cached=manifest.cached,
        completed=manifest.cached,
        failed=manifest.rejected,
        in_progress_at=int(now),
    )
    suspects = suspects_of(batch.suspects)
    for spec in manifest.parts:
        parts.insert(conn, suspected(part_row(batch.id, spec), spec.first, spec.last, suspects))
    batches.event(conn, batch.id, None, now, "split", f"{len(manifest.parts)} parts")
    webhooks.book(conn, batch.id, IN_PROGRESS, now)


def part_row(batch_id: str, spec: PartSpec) -> PartRow:
    """Return the row of a part that is yet to be sent."""
    return PartRow(
        batch_id=batch_id,
        n=spec.n,
        slug=spec.slug,
        provider=spec.provider,
        endpoint=spec.endpoint,
        model=spec.model,
        partition_key=spec.partition,
        lines=spec.lines,
        bytes=spec.bytes,
        sha256=spec.sha256,
        mark=spec.mark,
        file=spec.file,
        state="planned",
        due_at=0.0,
        way=spec.way,
        goes_on=spec.goes_on,
        requests=spec.requests,
    )


async def follow(desk: Desk, batch: BatchRow) -> None:
    """Go on to the merge when every part has ended; keep the completion window."""
    await desk.write(_follow, desk, batch)


def _follow(conn: Connection, desk: Desk, batch: BatchRow) -> None:
    now = desk.now()
    if parts.all_ended(conn, batch.id):
        batches.move(conn, batch, "merging", finalizing_at=int(now))
        batches.event(conn, batch.id, None, now, "merging")
    elif (begin := calls_begin(desk, batch)) is not None and not batches.told(conn, batch.id, CALLS_BEGIN):
        _wait_for_calls(conn, batch, begin, now)
    elif now < batch.expires_at:
        batches.postpone(conn, batch.id, float(batch.expires_at))
    else:
        if desk.route(batch).on_deadline == "cancel" and batch.deadline_at is None:
            batches.deadline(conn, batch, now)
        batches.postpone(conn, batch.id, now + 3600)


def _wait_for_calls(conn: Connection, batch: BatchRow, begin: float, now: float) -> None:
    """Wake all parts once when no job is waited for any more."""
    if now < begin:
        batches.postpone(conn, batch.id, begin)
        return
    parts.wake_all(conn, batch.id)
    batches.event(conn, batch.id, None, now, CALLS_BEGIN)
    batches.postpone(conn, batch.id, float(batch.expires_at))
