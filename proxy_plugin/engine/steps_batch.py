"""Steps of a batch before its results: validate, split, follow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import structs

from proxy_plugin import failpoints
from proxy_plugin.durable import sync_folder
from proxy_plugin.engine import pictures
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.worker_jobs import WORKER_GIVES_UP, split_job
from proxy_plugin.lines.manifest import Manifest, PartSpec
from proxy_plugin.lines.scan import Facts, Fault, endpoint_faults
from proxy_plugin.lines.split import split
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Capabilities
from proxy_plugin.routing.endpoints import served
from proxy_plugin.routing.route import Route
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files, parts
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.workers import WorkerDied

MAX_FAULTS = 100
UNSPLITTABLE = Fault("internal_error", "The file could not be translated: the process that did it died.", None, None)


async def validate(desk: Desk, batch: BatchRow) -> None:
    """Fail the batch for envelope faults before anything is sent, as OpenAI does, or let it be split."""
    row = await desk.read(files.get, batch.input_file_id)
    assert row is not None
    if row.state == "uploaded":
        await desk.write(_wait_for_scan, batch, desk.now())
        return
    faults = file_faults(row, batch.endpoint, desk.route(batch))
    if faults:
        await _fail(desk, batch, faults)
        return
    facts = msgspec.json.decode(row.facts or "", type=Facts)
    await desk.write(batches.move, batch, "splitting", total=facts.lines)


def _wait_for_scan(conn: Connection, batch: BatchRow, now: float) -> None:
    row = files.get(conn, batch.input_file_id)
    if row is not None and row.state == "uploaded":  # else the scan's own transaction has woken the batch
        batches.postpone(conn, batch.id, now + 60)


async def _fail(desk: Desk, batch: BatchRow, faults: Iterable[Fault]) -> None:
    await desk.write(batches.end, batch, "failed", desk.now(), errors=errors_text(faults))


def file_faults(row: FileRow, endpoint: str, route: Route) -> list[Fault]:
    """Return what fails every batch of a scanned file for this endpoint and route: the first 100 faults by line."""
    if row.facts is None:
        return [Fault("unreadable_file", "The file could not be read; upload it again.", None, None)]
    facts = msgspec.json.decode(row.facts, type=Facts)
    found = [*lane_faults(endpoint, route), *facts.faults, *endpoint_faults(facts, *served(endpoint))]
    return sorted(found, key=lambda fault: fault.line or 0)[:MAX_FAULTS]


def lane_faults(endpoint: str, route: Route) -> list[Fault]:
    """Return the fault of a batch for which no target has a lane; where one has, the lines of the others tell it."""
    endpoints, lanes = served(endpoint), _lanes(route)
    if not lanes or any(not lane.endpoints.isdisjoint(endpoints) for lane in lanes):
        return []
    known = ", ".join(sorted(lanes[0].endpoints))
    text = f"{lanes[0].title} has no batch lane for {endpoint}; it has {known}."
    return [Fault("unsupported_endpoint", text, "endpoint", None)]


def _lanes(route: Route) -> list[Capabilities]:
    names = dict.fromkeys(target.provider for target in route.targets)
    return [catalog.load(name).capabilities for name in names]


def errors_text(faults: Iterable[Fault]) -> str:
    """Return the value of the column `errors`: OpenAI's list of why a batch failed."""
    data = [{"code": f.code, "message": f.message, "param": f.param, "line": f.line} for f in faults]
    kept = [{name: value for name, value in entry.items() if value is not None} for entry in data]
    return msgspec.json.encode({"object": "list", "data": kept}).decode()


async def split_batch(desk: Desk, batch: BatchRow) -> None:
    """Translate the lines into native documents and write down the manifest, once and for all."""
    folder = desk.folders.new(batch.id, "split")
    row = await desk.read(files.get, batch.input_file_id)
    assert row is not None
    route = desk.route(batch)
    job = split_job(desk.gateway.blobs, row, batch.endpoint, route, batch_id=batch.id, folder=str(folder))
    try:
        if route.fetches_media:
            job = structs.replace(job, media=await pictures.gathered(desk, batch, job))
        manifest = await desk.gateway.workers.run(split, job)
    except pictures.NotYet as pause:
        await desk.write(batches.postpone, batch.id, desk.now() + pause.seconds)
        return
    except WorkerDied:
        if batch.tries < WORKER_GIVES_UP:
            raise
        await _give_up(desk, batch, [UNSPLITTABLE])
        return
    if manifest.faults:
        await _give_up(desk, batch, manifest.faults)
        return
    await asyncio.to_thread(_publish_folder, folder)
    failpoints.passing("split.acted")
    await desk.write(_commit_manifest, batch, folder.name, manifest, desk.now())
    await asyncio.to_thread(desk.folders.clear_others, folder, "split")
    if route.fetches_media:
        await asyncio.to_thread(desk.folders.clear_media, batch.id)


async def _give_up(desk: Desk, batch: BatchRow, faults: Iterable[Fault]) -> None:
    await _fail(desk, batch, faults)
    await asyncio.to_thread(desk.folders.clear_ended, batch.id)


def _publish_folder(folder: Path) -> None:
    for each in (folder.parent, folder.parent.parent):
        sync_folder(each)


def _commit_manifest(conn: Connection, batch: BatchRow, folder: str, manifest: Manifest, now: float) -> None:
    batches.move(
        conn,
        batch,
        "running",
        split_dir=folder,
        total=manifest.total,
        rejected=manifest.rejected,
        failed=manifest.rejected,
        in_progress_at=int(now),
    )
    for spec in manifest.parts:
        parts.insert(conn, _part_row(batch.id, spec))
    batches.event(conn, batch.id, None, now, "split", f"{len(manifest.parts)} parts")


def _part_row(batch_id: str, spec: PartSpec) -> PartRow:
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
    )


async def follow(desk: Desk, batch: BatchRow) -> None:
    """Go on to the merge when every part has ended; keep the completion window."""
    await desk.write(_follow, desk, batch)


def _follow(conn: Connection, desk: Desk, batch: BatchRow) -> None:
    now = desk.now()
    if parts.all_ended(conn, batch.id):
        batches.move(conn, batch, "merging", finalizing_at=int(now))
    elif now < batch.expires_at:
        batches.postpone(conn, batch.id, float(batch.expires_at))
    else:
        if desk.route(batch).on_deadline == "cancel" and batch.deadline_at is None:
            batches.deadline(conn, batch, now)
        batches.postpone(conn, batch.id, now + 3600)
