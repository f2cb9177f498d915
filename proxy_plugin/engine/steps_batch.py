"""Steps of files and batches: scan, validate, split, follow, merge."""

from __future__ import annotations

import asyncio
import logging
import secrets
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from proxy_plugin import failpoints, logs
from proxy_plugin.config import Config
from proxy_plugin.costs.tally import total, usage_object
from proxy_plugin.durable import sync_folder
from proxy_plugin.engine import pictures as media
from proxy_plugin.engine.desk import Desk, Step
from proxy_plugin.gateway import Gateway
from proxy_plugin.lines.batch_faults import errors_text, file_faults
from proxy_plugin.lines.choose import target_spec
from proxy_plugin.lines.collect import EXPIRED
from proxy_plugin.lines.manifest import ASSIGNMENT, REMARKS, Manifest, PartSpec
from proxy_plugin.lines.merge import MergeFacts, MergeJob, merge
from proxy_plugin.lines.scan import MAX_FAULTS, Facts, Fault, ScanLimits, scan
from proxy_plugin.lines.split import SplitJob, split
from proxy_plugin.lines.verdicts import Fate
from proxy_plugin.routing.route import EVERYTHING, Route
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, files, parts, spending
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.workers import WorkerDied

LOG = logging.getLogger("proxy_plugin.engine")
OUTPUT_KEPT = 30 * 86_400  # seconds, unless the client asked for less
UNNAMED = "(other)"  # no workspace and no virtual key can be called so
UNANSWERED = {"cancelled", "expired", "missing"}  # outcomes of lines that no provider answered
WORKER_GIVES_UP = 5  # tries in which three workers died each
UNSPLITTABLE = Fault("internal_error", "The file could not be translated: the process that did it died.", None, None)


class SumMismatch(Exception):
    """Output and error rows do not add up to the lines of the batch; nothing is published."""


async def scan_file(desk: Desk, row: FileRow) -> None:
    """Learn the envelope facts and the line index of an uploaded file."""
    gateway = desk.gateway
    limits = ScanLimits(gateway.config.limits.max_line_bytes, gateway.config.limits.max_lines)
    scratch = await asyncio.to_thread(gateway.blobs.temp_path)
    source, index = gateway.blobs.path(row.id), gateway.blobs.index_path(row.id)
    try:
        facts = await gateway.workers.run(scan, str(source), str(index), str(scratch), limits)
    except WorkerDied:
        if row.tries < WORKER_GIVES_UP:
            raise
        await desk.write(lambda c: files.scanned(c, row.id, "error", None))
        return
    failpoints.passing("scan.acted")
    text = msgspec.json.encode(facts).decode()
    await desk.write(lambda c: files.scanned(c, row.id, "processed", text))


async def validate(desk: Desk, batch: BatchRow) -> None:
    """Fail the batch for envelope faults before anything is sent, as OpenAI does, or let it be split."""
    row = desk.read(lambda c: files.get(c, batch.input_file_id))
    assert row is not None
    if row.state == "uploaded":
        await desk.write(lambda c: _wait_for_scan(c, batch, desk.now()))
        return
    facts = None if row.facts is None else msgspec.json.decode(row.facts, type=Facts)
    faults = file_faults(facts, batch.endpoint, desk.route(batch))
    if facts is None or faults:
        await desk.write(lambda c: batches.end(c, batch, "failed", desk.now(), errors=errors_text(faults)))
        return
    await desk.write(lambda c: batches.move(c, batch, "splitting", total=facts.lines))


def _wait_for_scan(conn: Connection, batch: BatchRow, now: float) -> None:
    row = files.get(conn, batch.input_file_id)
    if row is not None and row.state == "uploaded":  # else the scan's own transaction has woken the batch
        batches.postpone(conn, batch.id, now + 60)


async def split_batch(desk: Desk, batch: BatchRow) -> None:
    """Translate the lines into native documents and write down the manifest, once and for all."""
    folder = desk.folders.new(batch.id, "split")
    row = desk.read(lambda c: files.get(c, batch.input_file_id))
    assert row is not None
    route = desk.route(batch)
    job = split_job(desk.gateway, row, batch.endpoint, route, batch_id=batch.id, folder=str(folder))
    try:
        if route.fetches_media:
            job = structs.replace(job, media=await media.gathered(desk, batch, job))
        manifest = await desk.gateway.workers.run(split, job)
    except media.NotYet as pause:
        later = desk.now() + pause.seconds
        await desk.write(lambda c: batches.postpone(c, batch.id, later))
        return
    except WorkerDied:
        if batch.tries < WORKER_GIVES_UP:
            raise
        await desk.write(lambda c: batches.end(c, batch, "failed", desk.now(), errors=errors_text([UNSPLITTABLE])))
        await asyncio.to_thread(desk.folders.clear_ended, batch.id)
        return
    if manifest.faults:
        await desk.write(lambda c: batches.end(c, batch, "failed", desk.now(), errors=errors_text(manifest.faults)))
        await asyncio.to_thread(desk.folders.clear_ended, batch.id)
        return
    await asyncio.to_thread(_publish_folder, folder)
    failpoints.passing("split.acted")
    await desk.write(lambda c: _commit_manifest(c, batch, folder.name, manifest, desk.now()))
    await asyncio.to_thread(desk.folders.clear_others, folder, "split")
    if route.fetches_media:
        await asyncio.to_thread(desk.folders.clear_media, batch.id)


def split_job(gateway: Gateway, row: FileRow, endpoint: str, route: Route, *, batch_id: str, folder: str) -> SplitJob:
    """Return what the split of a file needs to know."""
    return SplitJob(
        batch_id=batch_id,
        source=str(gateway.blobs.path(row.id)),
        index=str(gateway.blobs.index_path(row.id)),
        folder=folder,
        source_sha256=row.sha256,
        endpoint=endpoint,
        targets=tuple(map(target_spec, route.targets)),
        rules=route.rules or EVERYTHING,
    )


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

    def step(conn: Connection) -> None:
        now = desk.now()
        if parts.all_ended(conn, batch.id):
            batches.move(conn, batch, "merging", finalizing_at=int(now))
        elif now < batch.expires_at:
            batches.postpone(conn, batch.id, float(batch.expires_at))
        else:
            if desk.route(batch).on_deadline == "cancel" and batch.deadline_at is None:
                batches.deadline(conn, batch, now)
            batches.postpone(conn, batch.id, now + 3600)

    await desk.write(step)


async def merge_batch(desk: Desk, batch: BatchRow) -> None:
    """Write output, errors and ledger in input order, check the sum, and publish all of it in one transaction."""
    rows = desk.read(lambda c: parts.of_batch(c, batch.id))
    folder = desk.folders.new(batch.id, "merge")
    facts = await desk.gateway.workers.run(merge, merge_job(desk, batch, rows, folder))
    if facts.completed + facts.failed != facts.total or facts.total != batch.total:
        raise SumMismatch(f"{facts.completed} + {facts.failed} rows for {batch.total} lines")
    failpoints.passing("merge.acted")
    published = await asyncio.to_thread(_publish, desk, batch, folder, facts)
    failpoints.passing("merge.published")
    ended = await desk.write(lambda c: _commit_end(c, desk, batch, rows, facts, published))
    logs.event(LOG, "batch_ended", state=ended.state, lines=facts.total)
    await asyncio.to_thread(desk.folders.clear_ended, batch.id)


def merge_job(desk: Desk, batch: BatchRow, rows: list[PartRow], folder: Path) -> MergeJob:
    home = desk.folders.folder(batch.id)
    split_dir = home / (batch.split_dir or "")
    stored = {row.n: msgspec.json.decode(row.results or "{}", type=dict[str, Any]) for row in rows}
    return MergeJob(
        batch_id=batch.id,
        source=str(desk.gateway.blobs.path(batch.input_file_id)),
        index=str(desk.gateway.blobs.index_path(batch.input_file_id)),
        total=batch.total,
        assignment=str(split_dir / ASSIGNMENT),
        rejected=str(split_dir / REMARKS),
        rows={n: str(home / facts["rows"]) for n, facts in stored.items() if "rows" in facts},
        fates={row.n: _fate(desk, row) for row in rows},
        folder=str(folder),
    )


def _fate(desk: Desk, row: PartRow) -> Fate:
    refusal = msgspec.json.decode(row.refusal, type=dict[str, Any]) if row.refusal else {}
    attempts = desk.read(lambda c: parts.submissions(c, row.batch_id, row.n))
    return Fate(
        kind=row.state,  # type: ignore[arg-type]
        mark=row.mark,
        code=refusal.get("code") or _cut_by(row),
        message=refusal.get("message"),
        status=refusal.get("status"),
        param=refusal.get("param"),
        provider=row.provider,
        model=row.model,
        slug=row.slug,
        job=row.job,
        attempt=len(attempts),
    )


def _cut_by(row: PartRow) -> str | None:
    """Return why lines of a part that have no row were cut; None where nothing explains it.

    Lanes may leave out what a cancel or the window stopped. What stopped the batch was noted when the rows were
    collected: those rows say the same. A job that only somebody else cancelled explains nothing.
    """
    if row.state == "dropped":
        return row.end_reason
    if row.end_reason == "expired":
        return EXPIRED
    stored = msgspec.json.decode(row.results or "{}", type=dict[str, Any])
    return stored.get("stopping") if row.end_reason == "cancelled" else None


class Published(msgspec.Struct, frozen=True):
    """Blobs that exist and no row names yet."""

    output: str | None
    error: str | None


def _publish(desk: Desk, batch: BatchRow, folder: Path, facts: MergeFacts) -> Published:
    blobs = desk.gateway.blobs
    names: list[str | None] = []
    for name, lines in (("output.jsonl", facts.completed), ("error.jsonl", facts.failed)):
        file_id = f"file-{secrets.token_hex(12)}" if lines else None
        if file_id is not None:
            blobs.adopt(folder / name, file_id)
        names.append(file_id)
    ledger = desk.folders.ledger(batch.id)
    (folder / "ledger.jsonl").replace(ledger)
    sync_folder(ledger.parent)
    return Published(*names)


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
    workspaces = {"default", *(key.workspace for key in config.api_keys)}
    workspace = batch.workspace if batch.workspace in workspaces else UNNAMED
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
    cut = {row.end_reason for row in rows} if facts.outcomes.keys() & UNANSWERED else set()
    if batch.stopping == "batch_cancelled" and cut & {"cancelled", "batch_cancelled", "batch_expired"}:
        return "cancelled"
    if cut & {"expired", "batch_expired"} or (batch.stopping == "batch_expired" and "cancelled" in cut):
        return "expired"
    if any(row.state == "refused" for row in rows) and not parts.any_accepted(conn, batch.id):
        return "failed"
    return "completed"


def _refusals(rows: list[PartRow]) -> str:
    reasons = [msgspec.json.decode(row.refusal, type=dict[str, Any]) for row in rows if row.refusal]
    return errors_text([Fault(r["code"], r["message"], r.get("param"), None) for r in reasons][:MAX_FAULTS])


STEPS: dict[str, Step] = {
    "scan": scan_file,
    "validate": validate,
    "split": split_batch,
    "follow": follow,
    "merge": merge_batch,
}
