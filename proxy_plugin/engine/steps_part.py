"""Steps of a part before its job has ended, those that cost nothing twice: admit, stage, poll, cancel."""

from __future__ import annotations

import logging

import msgspec
from msgspec import UNSET, structs

from proxy_plugin.config import Options
from proxy_plugin.engine import polls, waiting
from proxy_plugin.engine.adoption import NEVER_RESOLVED, Unconfirmed, confirm_adopted, let_go
from proxy_plugin.engine.desk import AccountMissing, Desk, backoff
from proxy_plugin.engine.direct import turns
from proxy_plugin.engine.onward.window import gives_way, left
from proxy_plugin.engine.sharing import at_hand
from proxy_plugin.engine.waiting import GONE, Cause
from proxy_plugin.ground import failpoints
from proxy_plugin.ground.masking import mask
from proxy_plugin.lines.ways import DIRECT, calls_endpoint
from proxy_plugin.providers.base import (
    Account,
    BatchProvider,
    Cancels,
    JobEnd,
    JobState,
    JobStatus,
    Leaves,
    Refused,
    TryLater,
)
from proxy_plugin.providers.counts import believed
from proxy_plugin.routing.route import NEVER
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, clearings, cuts, parts, queues, rescues, submissions, waits, webhooks
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal, StoredResults, results_of

LOG = logging.getLogger("proxy_plugin.engine")
QUEUE_PAUSE = 3600.0  # seconds until a part in the queue asks by itself; a part that leaves wakes the first
LOST_AFTER = 86_400.0  # seconds behind the window in which a job that vanished may still come back
NO_ACCOUNT = Refused("The gateway had no credentials to read the results of this job.", code="credentials_missing")
TOO_MANY = 429
NOT_CANCELLED = "the job could not be cancelled yet"
JOB_LOST = Refused("The provider no longer knows the job that it accepted.", code="job_lost")


async def admit(desk: Desk, part: PartRow) -> None:
    """Let a part on its way when its virtual key has room; one that could never fit goes alone."""
    if part.way == DIRECT:
        await desk.write(turns.admit, desk, part)
        return
    batch = await desk.batch(part.batch_id)
    if batch.stopping:
        await desk.write(drop_if_stopping, part)
        return
    if await left(desk, part, batch):
        return
    await desk.write(_admit, desk, part, desk.virtual_key(part.slug))


def _admit(conn: Connection, desk: Desk, part: PartRow, key: Options) -> None:
    if drop_if_stopping(conn, part):
        return
    if key.max_jobs_in_flight is None and key.max_lines_queued is None:
        parts.move(conn, part, "staging")
        queues.wake_first(conn, part.slug)  # there is a queue only where there was a limit before the last start
    elif not queues.anybody(conn, part.slug) and _has_room(conn, part.slug, part.records, key):
        parts.move(conn, part, "staging")
    else:
        _admit_in_turn(conn, desk, part, key)


def _has_room(conn: Connection, slug: str, more: int, key: Options) -> bool:
    """Tell whether one job of so many requests may go on its way; one that could never fit goes alone."""
    jobs, lines = parts.in_flight(conn, slug)
    room = key.max_jobs_in_flight is None or jobs < key.max_jobs_in_flight
    return room and (key.max_lines_queued is None or lines + more <= key.max_lines_queued or not jobs)


def _admit_in_turn(conn: Connection, desk: Desk, part: PartRow, key: Options) -> None:
    """Queue the part. The first in the queue goes if there is room, or is woken; no part goes before it."""
    due_at = desk.now() + polls.jittered(desk, QUEUE_PAUSE)
    part = parts.change(conn, part, due_at=due_at, note=queues.NO_ROOM)
    first = queues.first(conn, part.slug)
    assert first is not None
    if (first.batch_id, first.n) == (part.batch_id, part.n) and _has_room(conn, part.slug, part.records, key):
        parts.move(conn, part, "staging")
        queues.served(conn, part.slug, first.workspace)
        first = queues.first(conn, part.slug)
    else:
        waiting.store(conn, waiting.of_part(desk, part, Cause(waits.NO_ROOM), due_at))
    if first is not None and _has_room(conn, part.slug, first.lines, key):
        queues.wake_first(conn, part.slug)


def drop_if_stopping(conn: Connection, part: PartRow) -> bool:
    """Drop a part that was never accepted if its batch is cancelled or its window is over."""
    batch = batches.get(conn, part.batch_id)
    if batch is None or batch.stopping is None:
        return False
    parts.move(conn, part, "dropped", end_reason=batch.stopping)
    return True


async def stage(desk: Desk, part: PartRow) -> None:
    """Bring the native document to the provider. Nothing is paid for; a second run looks for the first."""
    if await left(desk, part, await desk.batch(part.batch_id)):
        return
    if part.records < (least := least_lines(desk, part)):
        await desk.write(_refuse_small, part, _too_few(desk, part, least), desk.now())
        return
    if not await desk.write(_begin_staging, part, leaves=isinstance(desk.lane(part), Leaves)):
        return
    failpoints.passing("stage.noted")
    batch, again = await desk.batch(part.batch_id), part.staged is not None
    try:
        async with at_hand.document_of(desk, part, batch):
            staged = await desk.lane(part).stage(desk.account(part, batch), desk.document(part, batch), again=again)
    except (Refused, TryLater) as error:
        if again and error.status == TOO_MANY:  # no third look: the next try uploads, and a second upload costs nothing
            await desk.write(parts.change, part, staged=None)
        await desk.write(refuse, part, await waiting.ending(desk, part, error), desk.now())
        return
    failpoints.passing("stage.acted")
    await desk.write(_staged, part, staged)


def _staged(conn: Connection, part: PartRow, staged: dict[str, str]) -> None:
    clearings.staged(conn, part, staged)
    parts.move(conn, part, "staged", staged=msgspec.json.encode(staged).decode())


def least_lines(desk: Desk, part: PartRow) -> int:
    """Return how many lines a job of this account must have."""
    return desk.virtual_key(part.slug).min_lines_per_job or desk.lane(part).capabilities.min_lines or 1


def _refuse_small(conn: Connection, part: PartRow, why: Refused, now: float) -> None:
    if not drop_if_stopping(conn, part):
        refuse(conn, part, why, now)


def _too_few(desk: Desk, part: PartRow, least: int) -> Refused:
    title = desk.lane(part).capabilities.title
    calls = ", or let them be ordinary calls at full price (direct: true in the config)"
    message = (
        f"{title} takes no job of fewer than {least} lines, and this one would have {part.records}. Put more lines for "
        f"this account, model and endpoint into one file, or send them to another account"
        f"{calls if _may_be_called(desk, part) else ''}; where its quota allows smaller jobs, set min_lines_per_job of "
        "the virtual key."
    )
    return Refused(message, code="too_few_lines")


def _may_be_called(desk: Desk, part: PartRow) -> bool:
    """Tell whether the lines of a part could be ordinary calls if a config wanted it."""
    return desk.virtual_key(part.slug).direct_calls != NEVER and calls_endpoint(part.provider, part.endpoint)


def _begin_staging(conn: Connection, part: PartRow, *, leaves: bool) -> bool:
    """Write down that the provider may soon hold the document; False where the part was dropped."""
    if drop_if_stopping(conn, part):
        return False
    if leaves:
        clearings.begin(conn, part)
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
    """Give a part up: every line of it becomes an error row with the provider's reason.

    Where that names lines or may be about single ones, and nothing ran, the part is looked at line by line first.
    """
    known, proven = StoredRefusal.of(refused), cuts.nothing_ran(conn, part)
    if refused.lines and not proven:  # the lines get their numbers, and nothing is cut
        known = structs.replace(known, divisible=UNSET)
    looked_at = refused.lines or (refused.divisible and proven)
    if looked_at:  # what a poll of its job has counted is none of the parts' that take its place
        parts.move(conn, part, "cutting", refusal=known.text(), completed=0, failed=0)
    else:
        rescues.end(conn, part, "refused", refusal=known.text())
    batches.event(conn, part.batch_id, part.n, now, "refused", refused.code)


async def poll(desk: Desk, part: PartRow) -> float | None:
    """Ask how the job stands; a stopping batch's job is cancelled once. Returns when it is asked again, if no more."""
    batch = await desk.batch(part.batch_id)
    lane, account = desk.lane(part), await account_or_end(desk, part, batch)
    if account is None:
        return None
    if part.note == NOT_CANCELLED and isinstance(lane, Cancels):  # go on there, once: then look at the job again
        part = await _cancel_if_wanted(desk, await desk.write(parts.change, part, note=None), batch, lane)
    assert part.job is not None
    try:
        status = await lane.status(account, part.job, desk.document(part, batch))
    except (Refused, TryLater) as error:
        if isinstance(error, TryLater) and error.status not in GONE:
            raise
        await _vanished(desk, part, batch, error)
        return None
    check_mark(lane, part, status)
    if status.state is JobState.ENDED:
        await _ended(desk, part, batch, lane, status)
    elif status.state is JobState.FAILED:
        await desk.write(_failed, desk, part, status)
    else:
        return await _running(desk, part, batch, lane, status)
    return None


def check_mark(lane: BatchProvider, part: PartRow, status: JobStatus) -> None:
    """Raise TryLater where a job should show the mark of its part and does not."""
    if lane.capabilities.accepts_label and status.mark != part.mark:
        raise TryLater("the job does not carry the mark of its part; its rows are not counted and it is not cancelled")


def counted(status: JobStatus, lines: int) -> tuple[int, int] | None:
    """Return completed and failed as far as they can be true of so many requests; None where neither is told."""
    completed, failed = believed(status.completed, lines), believed(status.failed, lines)
    if completed is None and failed is None:
        return None
    return completed or 0, min(failed or 0, lines - (completed or 0))


async def _ended(desk: Desk, part: PartRow, batch: BatchRow, lane: BatchProvider, status: JobStatus) -> None:
    try:
        if await confirm_adopted(desk, part, batch, lane):
            await desk.write(_end, part, status, desk.now())
    except Unconfirmed as error:
        await _vanished(desk, part, batch, error)


def _end(conn: Connection, part: PartRow, status: JobStatus, now: float) -> None:
    reason, told = (status.end or JobEnd.COMPLETED).value, counted(status, part.records)
    known = StoredResults(native=dict(status.results), ended_at=now, told=told, unnamed=status.unnamed)
    known = structs.replace(known, beside=results_of(part).beside)
    completed, failed = part.in_lines(told)
    changes = {"end_reason": reason, "results": known.text(), "missing_since": None}
    parts.move(conn, part, "ended", completed=completed, failed=failed, **changes)
    webhooks.book_progress(conn, part.batch_id, now)


def _failed(conn: Connection, desk: Desk, part: PartRow, status: JobStatus) -> None:
    """Nothing ran. For lack of quota the same part may be submitted again; otherwise its lines are error rows.

    So it may for an hour when the account could not pay.
    """
    now, codes = desk.now(), desk.lane(part).capabilities.billing_codes
    refused = status.refusal or Refused("The provider failed the job without a reason.", code="job_failed")
    submission = submissions.accepted(conn, part)
    assert submission is not None
    submissions.move(conn, submission, "refused", reason=refused.code, ended_at=now)
    owing = refused.code in codes
    if owing:  # want of money is no line's fault, whatever line is named with it
        refused = Refused(refused.message, code=refused.code, status=refused.status, param=refused.param)
    since = submissions.refused_since(conn, part, codes if owing else {refused.code}) or now
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


async def _running(desk: Desk, part: PartRow, batch: BatchRow, lane: BatchProvider, status: JobStatus) -> float | None:
    if batch.stopping is None and await desk.read(batches.is_stopping, part.batch_id):
        batch = await desk.batch(part.batch_id)  # again: a stop has come while the provider was asked
    wanted = status.state is not JobState.CANCELLING and _is_cancel_wanted(desk, part, batch)
    if wanted and isinstance(lane, Cancels):
        try:
            part = await _cancel_if_wanted(desk, part, batch, lane)
        except TryLater as error:
            if error.status == TOO_MANY:  # it has certainly not been heard; one whose reply was lost may have been
                await desk.write(parts.change, part, note=NOT_CANCELLED)
            raise
    asked = part.cancel_sent_at
    now = desk.now()
    due_at = now + polls.poll_pause(desk, part.accepted_at, lane, status)
    return await desk.write(_note_poll, part, status, asked, due_at, now, was_stopping=batch.stopping is not None)


def _note_poll(
    conn: Connection,
    part: PartRow,
    status: JobStatus,
    asked: float | None,
    due_at: float,
    now: float,
    *,
    was_stopping: bool,
) -> float | None:
    """Write down what a poll has found; returns when the part is looked at again where nothing is new."""
    waits.over(conn, part.batch_id, part.n)
    if not was_stopping and batches.is_stopping(conn, part.batch_id):
        due_at = 0.0  # the stop came while the provider was asked: look again at once
    if not _changed(part, status, asked):
        parts.rest(conn, part, due_at)
        return due_at or None
    completed, failed = part.in_lines(counted(status, part.records))
    changes = {"cancel_sent_at": asked, "missing_since": None, "tries": 0, "note": None}
    parts.change(conn, part, due_at=due_at, completed=completed, failed=failed, **changes)
    parts.counts_changed(conn, part.batch_id)
    webhooks.book_progress(conn, part.batch_id, now)
    return None


async def _certain(desk: Desk, part: PartRow) -> bool:
    """Tell whether the job is provably ours; a stranger's paid work is never cancelled."""
    row = await desk.read(submissions.accepted, part)
    return row is not None and not row.provisional


def _changed(part: PartRow, status: JobStatus, asked: float | None) -> bool:
    was = (part.completed, part.failed, part.cancel_sent_at, part.missing_since, part.note, part.tries)
    return was != (*part.in_lines(counted(status, part.records)), asked, None, None, 0)


async def _cancel_if_wanted(desk: Desk, part: PartRow, batch: BatchRow, lane: Cancels) -> PartRow:
    """Cancel the job of a stopping batch once, and one that is not waited for; return the part as it is now."""
    if not _is_cancel_wanted(desk, part, batch) or not await _certain(desk, part):
        return part
    await _cancel(desk, part, batch, lane)
    return await desk.write(parts.change, part, cancel_sent_at=desk.now())


def _is_cancel_wanted(desk: Desk, part: PartRow, batch: BatchRow) -> bool:
    return part.cancel_sent_at is None and (batch.stopping is not None or gives_way(desk, part, batch))


async def _cancel(desk: Desk, part: PartRow, batch: BatchRow, lane: Cancels) -> None:
    assert part.job is not None
    failpoints.passing("cancel_job.before")
    try:
        await lane.cancel(desk.account(part, batch), part.job)
    except Refused as refused:  # the job goes on, so it is followed until it ends
        raise TryLater(f"the job could not be cancelled: {refused}") from refused
    failpoints.passing("cancel_job.acted")


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
    pause = max(desk.gateway.config.engine.poll_seconds_max, (now - (since or now)) * polls.POLL_SHARE)
    raise TryLater(f"the accepted job cannot be read: {error}", after=pause)
