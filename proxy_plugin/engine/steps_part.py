"""Steps of a part that cost nothing twice: admit, stage, poll, cancel, fetch, collect."""

from __future__ import annotations

import asyncio
import logging

import msgspec
from msgspec import structs

from proxy_plugin.config import Options
from proxy_plugin.engine import waiting
from proxy_plugin.engine.adoption import NEVER_RESOLVED, Unconfirmed, confirm_adopted, let_go
from proxy_plugin.engine.desk import AccountMissing, Desk, backoff
from proxy_plugin.engine.waiting import GONE, Cause
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.masking import mask
from proxy_plugin.lines.collect import CollectFacts, CollectJob, collect
from proxy_plugin.lines.manifest import ASSIGNMENT
from proxy_plugin.providers.base import Account, BatchProvider, Cancels, JobEnd, JobState, JobStatus, Refused, TryLater
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, parts, waits
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal, StoredResults, results_of

LOG = logging.getLogger("proxy_plugin.engine")
FULL_PAUSE = 300.0  # seconds until a part that was not admitted asks again; a part that leaves wakes it earlier
POLL_SHARE = 0.1  # of a job's age: a job that has run for 50 minutes is asked every 5
LOST_AFTER = 86_400.0  # seconds behind the window in which a job that vanished may still come back
NO_ACCOUNT = Refused("The gateway had no credentials to read the results of this job.", code="credentials_missing")
GONE_AFTER = 3600.0  # seconds of 404 after which results are taken to be deleted
NO_RESULTS = "the results are not there"
JOB_LOST = Refused("The provider no longer knows the job that it accepted.", code="job_lost")
RESULTS_EXPIRED = Refused(
    "The provider no longer has the results of this job: they were deleted there or expired.", code="results_expired"
)


async def admit(desk: Desk, part: PartRow) -> None:
    """Let a part on its way when its virtual key has room; one that could never fit goes alone."""
    if (await desk.batch(part.batch_id)).stopping:
        await desk.write(drop_if_stopping, part)
        return
    await desk.write(_admit, desk, part, desk.virtual_key(part.slug))


def _admit(conn: Connection, desk: Desk, part: PartRow, key: Options) -> None:
    if drop_if_stopping(conn, part):
        return
    jobs, lines = parts.in_flight(conn, part.slug)
    room = key.max_jobs_in_flight is None or jobs < key.max_jobs_in_flight
    fits = key.max_lines_queued is None or lines + part.lines <= key.max_lines_queued or not jobs
    if room and fits:
        parts.move(conn, part, "staging")
    else:
        due_at = desk.now() + FULL_PAUSE
        parts.change(conn, part, due_at=due_at, note=parts.NO_ROOM)
        waiting.store(conn, waiting.of_part(desk, part, Cause(waits.NO_ROOM), due_at))


def drop_if_stopping(conn: Connection, part: PartRow) -> bool:
    """Drop a part that was never accepted if its batch is cancelled or its window is over."""
    batch = batches.get(conn, part.batch_id)
    if batch is None or batch.stopping is None:
        return False
    parts.move(conn, part, "dropped", end_reason=batch.stopping)
    return True


async def stage(desk: Desk, part: PartRow) -> None:
    """Bring the native document to the provider. Nothing is paid for; a second run looks for the first."""
    if not await desk.write(_begin_staging, part):
        return
    batch, again = await desk.batch(part.batch_id), part.staged is not None
    try:
        staged = await desk.lane(part).stage(desk.account(part, batch), desk.document(part, batch), again=again)
    except (Refused, TryLater) as error:
        await desk.write(refuse, part, await waiting.ending(desk, part, error), desk.now())
        return
    failpoints.passing("stage.acted")
    await desk.write(parts.move, part, "staged", staged=msgspec.json.encode(staged).decode())


def _begin_staging(conn: Connection, part: PartRow) -> bool:
    """Write down that the provider may soon hold the document; False where the part was dropped."""
    if drop_if_stopping(conn, part):
        return False
    if part.staged is None:
        parts.change(conn, part, staged="{}")
    return True


async def account_or_end(desk: Desk, part: PartRow, batch: BatchRow) -> Account | None:
    """Return the account of an accepted part; None after giving the part up, long behind its window, for want of it."""
    try:
        return desk.account(part, batch)
    except AccountMissing:
        now, since = desk.now(), part.missing_since
        if since is None:
            await desk.write(parts.change, part, missing_since=now)
        if since is None or now <= max(batch.expires_at, since) + LOST_AFTER:
            raise
        await desk.write(refuse, part, NO_ACCOUNT, now)
        return None


def refuse(conn: Connection, part: PartRow, refused: Refused, now: float) -> None:
    """Give a part up: every line of it becomes an error row with the provider's reason."""
    parts.move(conn, part, "refused", refusal=StoredRefusal.of(refused).text())
    batches.event(conn, part.batch_id, part.n, now, "refused", refused.code)


async def poll(desk: Desk, part: PartRow) -> None:
    """Ask how the job stands; a stopping batch's job is cancelled once."""
    batch = await desk.batch(part.batch_id)
    lane, account = desk.lane(part), await account_or_end(desk, part, batch)
    assert part.job is not None
    if account is None:
        return
    try:
        status = await lane.status(account, part.job, desk.document(part, batch))
    except (Refused, TryLater) as error:
        if isinstance(error, TryLater) and error.status not in GONE:
            raise
        await _vanished(desk, part, batch, error)
        return
    if lane.capabilities.accepts_label and status.mark != part.mark:
        raise TryLater("the job does not carry the mark of its part; its rows are not counted and it is not cancelled")
    if status.state is JobState.ENDED:
        await _ended(desk, part, batch, lane, status)
    elif status.state is JobState.FAILED:
        await desk.write(_failed, desk, part, status)
    else:
        await _running(desk, part, lane, status)


async def _ended(desk: Desk, part: PartRow, batch: BatchRow, lane: BatchProvider, status: JobStatus) -> None:
    try:
        if await confirm_adopted(desk, part, batch, lane):
            await desk.write(_end, part, status)
    except Unconfirmed as error:
        await _vanished(desk, part, batch, error)


def _end(conn: Connection, part: PartRow, status: JobStatus) -> None:
    reason = (status.end or JobEnd.COMPLETED).value
    results = StoredResults(native=dict(status.results)).text()
    counts = {"completed": status.completed or 0, "failed": status.failed or 0}
    parts.move(conn, part, "ended", end_reason=reason, results=results, missing_since=None, **counts)


def _failed(conn: Connection, desk: Desk, part: PartRow, status: JobStatus) -> None:
    """Nothing ran. For lack of quota the same part may be submitted again; otherwise its lines are error rows.

    So it may for an hour when the account could not pay.
    """
    now, codes = desk.now(), desk.lane(part).capabilities.billing_codes
    refused = status.refusal or Refused("The provider failed the job without a reason.", code="job_failed")
    submission = parts.accepted_submission(conn, part)
    assert submission is not None
    parts.move_submission(conn, submission, "refused", reason=refused.code, ended_at=now)
    owing = refused.code in codes
    since = parts.refused_since(conn, part, codes if owing else {refused.code}) or now
    if now - since >= waits.PATIENCE if owing else not status.retryable:
        refuse(conn, part, refused, now)
    elif not drop_if_stopping(conn, part):
        engine = desk.gateway.config.engine
        due_at = now + backoff(submission.n, engine.poll_seconds_first, engine.poll_seconds_max)
        parts.move(conn, part, "planned", job=None, due_at=due_at, note=refused.code, completed=0, failed=0)
        cause = Cause(waits.BILLING if owing else waits.PROVIDER_QUOTA, refused.code, mask(refused.message))
        wait = structs.replace(waiting.of_part(desk, part, cause, due_at), since=since)
        waiting.store(conn, wait, goes_on=since < now)
        batches.event(conn, part.batch_id, part.n, now, "no quota", refused.code)


async def _running(desk: Desk, part: PartRow, lane: BatchProvider, status: JobStatus) -> None:
    batch = await desk.batch(part.batch_id)  # again: a stop may have come while the provider was asked
    asked = part.cancel_sent_at
    wanted = batch.stopping and asked is None and status.state is not JobState.CANCELLING
    if wanted and isinstance(lane, Cancels) and await _certain(desk, part):
        await _cancel(desk, part, batch, lane)
        asked = desk.now()
    due_at = desk.now() + poll_pause(desk, part, lane, status)
    await desk.write(_note_poll, part, status, asked, due_at, was_stopping=batch.stopping is not None)


def _note_poll(
    conn: Connection,
    part: PartRow,
    status: JobStatus,
    asked: float | None,
    due_at: float,
    *,
    was_stopping: bool,
) -> None:
    waits.over(conn, part.batch_id, part.n)
    batch = batches.get(conn, part.batch_id)
    if not was_stopping and batch is not None and batch.stopping:
        due_at = 0.0  # the stop came while the provider was asked: look again at once
    if not _changed(part, status, asked):
        parts.change(conn, part, due_at=due_at)
        return
    counts = {"completed": status.completed or 0, "failed": status.failed or 0}
    parts.change(conn, part, due_at=due_at, cancel_sent_at=asked, missing_since=None, tries=0, note=None, **counts)
    parts.counts_changed(conn, part.batch_id)


async def _certain(desk: Desk, part: PartRow) -> bool:
    """Tell whether the job is provably ours; a stranger's paid work is never cancelled."""
    row = await desk.read(parts.accepted_submission, part)
    return row is not None and not row.provisional


def _changed(part: PartRow, status: JobStatus, asked: float | None) -> bool:
    was = (part.completed, part.failed, part.cancel_sent_at, part.missing_since, part.note, part.tries)
    return was != (status.completed or 0, status.failed or 0, asked, None, None, 0)


async def _cancel(desk: Desk, part: PartRow, batch: BatchRow, lane: Cancels) -> None:
    assert part.job is not None
    failpoints.passing("cancel_job.before")
    try:
        await lane.cancel(desk.account(part, batch), part.job)
    except Refused as refused:  # the job goes on, so it is followed until it ends
        raise TryLater(f"the job could not be cancelled: {refused}") from refused
    failpoints.passing("cancel_job.acted")


def poll_pause(desk: Desk, part: PartRow, lane: BatchProvider, status: JobStatus) -> float:
    """Return seconds until the next poll: a tenth of the job's age within the operator's and the lane's bounds."""
    engine = desk.gateway.config.engine
    age = desk.now() - (part.accepted_at or desk.now())
    pause = min(max(engine.poll_seconds_first, age * POLL_SHARE), engine.poll_seconds_max)
    return max(pause, lane.capabilities.min_poll_seconds, status.poll_after or 0.0)


async def _vanished(desk: Desk, part: PartRow, batch: BatchRow, error: Refused | TryLater) -> None:
    """A job that was accepted is paid for: keep asking until long after its window."""
    now, since, certain = desk.now(), part.missing_since, await _certain(desk, part)
    if error.status in GONE and not certain:
        await desk.write(let_go, desk, part)
        return
    if since is not None and now > max(batch.expires_at, since) + LOST_AFTER:
        await desk.write(refuse, part, JOB_LOST if certain else NEVER_RESOLVED, now)
        return
    if since is None:
        await desk.write(parts.change, part, missing_since=now, note="the accepted job cannot be read")
    raise TryLater(f"the accepted job cannot be read: {error}", after=desk.gateway.config.engine.poll_seconds_max)


async def fetch(desk: Desk, part: PartRow) -> None:
    """Store the native results here before they expire there."""
    account = await account_or_end(desk, part, await desk.batch(part.batch_id))
    assert part.job is not None
    if account is None:
        return
    known = results_of(part)
    what = f"results-{part.n:05d}"
    folder = desk.folders.new(part.batch_id, what)
    await asyncio.to_thread(folder.mkdir, parents=True)
    await asyncio.to_thread(desk.folders.clear_others, folder, what)
    status = JobStatus(JobState.ENDED, results=known.native)
    refusal = None
    try:
        names = await desk.lane(part).fetch(account, part.job, status, folder)
    except (Refused, TryLater) as error:
        if not await _results_gone(desk, part, error):
            raise TryLater(f"the results cannot be read: {error}", after=getattr(error, "after", None)) from error
        names, refusal = (), StoredRefusal.of(RESULTS_EXPIRED).text()
    failpoints.passing("fetch.acted")
    known = structs.replace(known, folder=folder.name, names=names)
    await desk.write(parts.move, part, "stored", results=known.text(), refusal=refusal)


async def _results_gone(desk: Desk, part: PartRow, error: Refused | TryLater) -> bool:
    """Tell whether the provider has said for an hour that there is no such file."""
    now, since = desk.now(), part.missing_since if part.note == NO_RESULTS else None
    if error.status not in GONE:
        return False
    if since is None:
        await desk.write(parts.change, part, missing_since=now, note=NO_RESULTS)
    return since is not None and now > since + GONE_AFTER


async def collect_rows(desk: Desk, part: PartRow) -> None:
    """Turn native results into rows by ordinal. Rows that do not carry our mark are not counted."""
    known, home, what = results_of(part), desk.folder(part), f"rows-{part.n:05d}"
    batch = await desk.batch(part.batch_id)
    assert batch.split_dir is not None
    assert known.folder is not None
    assert known.names is not None
    folder = desk.folders.new(part.batch_id, what)
    job = CollectJob(
        provider=part.provider,
        endpoint=part.endpoint,
        part=part.n,
        mark=part.mark,
        results=str(home / known.folder),
        names=known.names,
        assignment=str(home / batch.split_dir / ASSIGNMENT),
        folder=str(folder),
        cancelled_as="batch_expired" if batch.stopping == "batch_expired" else None,
    )
    facts = await desk.gateway.workers.run(collect, job)
    failpoints.passing("collect.acted")
    known = structs.replace(known, rows=folder.name, stopping=batch.stopping, usage=facts.usage)
    await desk.write(_commit_rows, desk, part, known.text(), facts)
    await asyncio.to_thread(desk.folders.clear_others, folder, what)


def _commit_rows(conn: Connection, desk: Desk, part: PartRow, text: str, facts: CollectFacts) -> None:
    failed, audit_at = part.lines - facts.ok, desk.now() if parts.guessed(conn, part) else None
    parts.move(conn, part, "collected", results=text, completed=facts.ok, failed=max(failed, 0), due_at=audit_at)
    if facts.foreign or facts.corrupt:
        detail = f"{facts.foreign} foreign, {facts.corrupt} unreadable"
        batches.event(conn, part.batch_id, part.n, desk.now(), "rows not counted", detail)
        logs.event(LOG, "rows_not_counted", foreign=facts.foreign, corrupt=facts.corrupt, level=logging.WARNING)
