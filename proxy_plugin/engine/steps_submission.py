"""Steps that could cost money twice: intend, send, doubt, look up, revoke.

The intent is durable before the provider hears of the job, the fence and `sent` are durable before the first byte of
the create, the job id is durable before anything follows from it. Between `sent` and an answer nothing is assumed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from msgspec import structs

from proxy_plugin.engine import polls, waiting
from proxy_plugin.engine.adoption import NEVER_RESOLVED, Undecided, cannot_tell, identify, unclaimed
from proxy_plugin.engine.desk import AccountMissing, Desk, backoff
from proxy_plugin.engine.replicas.claims import SEND_WITHIN, ClaimLost
from proxy_plugin.engine.sharing import at_hand
from proxy_plugin.engine.steps_part import drop_if_stopping, refuse
from proxy_plugin.engine.waiting import Cause
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.webhooks import IN_DOUBT
from proxy_plugin.providers.base import Account, BatchProvider, OutcomeUnknown, Refused, Revokes, Sighting, TryLater
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import CommitInDoubt
from proxy_plugin.storage.tables import batches, parts, queues, submissions, waits, webhooks
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.submissions import SubmissionRow

LOG = logging.getLogger("proxy_plugin.engine")
LOOKUPS_NEEDED = 2
NOT_SHOWN = "the provider does not show the job yet"
STILL_THERE = "the replica that sends the job was stopped on the way and is not gone; it may still send it"
MOST_COUNTED = 200  # parts that wait for a create
FENCE_KEPT = 600.0  # seconds for which a create that is tried again goes with the fence of the first try
GIVES_UP = 86_400.0  # seconds of undecided lookups behind the window; a gateway that was down looks first


async def intend(desk: Desk, part: PartRow) -> None:
    """Write down that this part's job is about to be created."""
    batch = await desk.batch(part.batch_id)
    if batch.stopping:
        await desk.write(drop_if_stopping, part)
        return
    await desk.write(_intend, desk, part, desk.account(part, batch).fingerprint)


def _intend(conn: Connection, desk: Desk, part: PartRow, account: str) -> None:
    if drop_if_stopping(conn, part):
        return
    submissions.begin(conn, part, account, desk.now())
    parts.move(conn, part, "creating", tries=part.tries)


async def send(desk: Desk, part: PartRow) -> None:
    """Read the fence, make `sent` durable, create the job, and store what came of it."""
    lane, row, batch = desk.lane(part), await desk.submission(part), await desk.batch(part.batch_id)
    if batch.stopping:
        await desk.write(_withdraw, desk, part, row)
        return
    account = desk.account(part, batch)
    if not await desk.write(_has_turn, desk, part, row):
        failpoints.passing("send.no_turn")
        return
    try:
        fence = await _fence(desk, row, lane, account)
    except (Refused, TryLater) as error:
        await desk.write(_give_up_unsent, desk, part, row, await waiting.ending(desk, part, error))
        return
    failpoints.passing("send.fenced")
    await desk.folders.present(part.batch_id, desk.document(part, batch).path)
    account = desk.account(part, batch)
    if (until := desk.claims.lasts_until()) is not None:  # a process that was stopped on the way sends none
        within = min(SEND_WITHIN, until - desk.gateway.clock.monotonic())
        account = replace(account, http=account.http.beginning_within(within))
    try:
        sent = await desk.write(_mark_sent, desk, part, row, fence)
    except CommitInDoubt as error:
        await _not_sent(desk, part, row, error)
        raise
    if sent is None:
        return
    failpoints.passing("send.sent")
    try:
        await _create(desk, part, batch, account, lane, sent)
    except ClaimLost:  # whoever has the row now may look for the job as soon as this is known
        await desk.gateway.registry.write(submissions.sent_no_more, sent)
        raise


async def _fence(desk: Desk, row: SubmissionRow, lane: BatchProvider, account: Account) -> str | None:
    """Return the newest job before the create. That of an attempt which was just refused will do: it is only older."""
    refused = await desk.read(submissions.before, row)
    if refused is None or refused.sent_at is None or not (refused.reason or "").startswith(submissions.NOT_TAKEN):
        return await lane.fence(account)
    since = await desk.read(submissions.fenced_at, refused)
    fresh = refused.account == row.account and since is not None and desk.now() < since + FENCE_KEPT
    return refused.fence if fresh else await lane.fence(account)


def _give_up_unsent(conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow, refused: Refused) -> None:
    submissions.move(conn, row, "absent", reason=refused.code, ended_at=desk.now())
    queues.call_first(conn, part.slug)
    refuse(conn, part, refused, desk.now())


def _withdraw(conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow) -> bool:
    """Take the intent back if the batch is stopping; nothing has been sent."""
    if not drop_if_stopping(conn, part):
        return False
    submissions.move(conn, row, "absent", reason="stopped before it was sent", ended_at=desk.now())
    queues.call_first(conn, part.slug)
    return True


def _mark_sent(
    conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow, fence: str | None
) -> SubmissionRow | None:
    """Return None where nothing may be sent now."""
    if _withdraw(conn, desk, part, row) or not _has_turn(conn, desk, part, row):
        return None
    if part.note in (queues.NO_TURN, queues.CALLED):
        parts.change(conn, part, note=None)
    sender = {} if desk.claims.sender is None else {"sender": desk.claims.sender}
    return submissions.move(conn, row, "sent", fence=fence, sent_at=desk.now(), **sender)


async def _not_sent(desk: Desk, part: PartRow, row: SubmissionRow, error: CommitInDoubt) -> None:
    """Write down that a create was not sent: it may say that it was, and only its sender knows that it was not."""
    mine = structs.replace(row, sender=desk.claims.sender)
    await desk.gateway.registry.write(_tell_late, desk, part, mine, _not_accepted, TryLater(str(error)))


def _has_turn(conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow) -> bool:
    """Tell whether the part may be sent, or let it wait: without labels two creates in doubt could be confused.

    After the settle time a create in doubt holds nobody up: it may stay so for days, and results tell whose a job is.
    """
    if desk.lane(part).capabilities.accepts_label:
        return True
    others = queues.called(conn, part.slug, desk.now()) - {(part.batch_id, part.n)}
    free = submissions.has_turn(conn, row, desk.now() - _settle_seconds(desk, part))
    if free and (part.note == queues.CALLED or not others):
        return True
    before = queues.length(conn, part.slug, queues.NO_TURN, MOST_COUNTED)  # so that all ask as often as one would
    due_at = desk.now() + desk.gateway.config.engine.poll_seconds_first * max(1, before)
    parts.change(conn, part, due_at=due_at, note=queues.NO_TURN)
    waiting.store(conn, waiting.of_part(desk, part, Cause(waits.NO_TURN), due_at))
    return False


def _settle_seconds(desk: Desk, part: PartRow) -> float:
    chosen = desk.virtual_key(part.slug).settle_seconds
    return desk.lane(part).capabilities.settle_seconds if chosen is None else chosen


async def _create(
    desk: Desk, part: PartRow, batch: BatchRow, account: Account, lane: BatchProvider, sent: SubmissionRow
) -> None:
    try:
        job = await lane.create(account, desk.submission_for(part, batch, sent))
    except (TryLater, Refused) as error:
        await _not_created(desk, part, sent, error)
    except (OutcomeUnknown, OSError, asyncio.CancelledError) as error:
        await asyncio.shield(desk.insist(_doubt, desk, part, sent, type(error).__name__, error))
        if isinstance(error, asyncio.CancelledError):
            raise
    else:
        failpoints.passing("send.acted")
        await _tell(desk, part, sent, _accepted, job)
        logs.event(LOG, "part_accepted", slug=part.slug, lines=part.lines, attempt=sent.n)


async def _not_created(desk: Desk, part: PartRow, sent: SubmissionRow, error: TryLater | Refused) -> None:
    try:
        refused = await waiting.ending(desk, part, error)
    except TryLater as later:
        await _tell(desk, part, sent, _not_accepted, later)
    else:
        await _tell(desk, part, sent, _refused, refused)


async def _tell(desk: Desk, part: PartRow, sent: SubmissionRow, outcome: Callable[..., None], said: object) -> None:
    """Write down what became of a create. Raises ClaimLost where the row is another replica's, which was told, too."""
    try:
        await desk.insist(outcome, desk, part, sent, said)
    except ClaimLost:
        if await desk.gateway.registry.write(_tell_late, desk, part, sent, outcome, said):
            logs.event(LOG, "told_late", slug=part.slug, attempt=sent.n, level=logging.WARNING)
        raise


def _tell_late(
    conn: Connection, desk: Desk, part: PartRow, sent: SubmissionRow, outcome: Callable[..., None], said: object
) -> bool:
    """Write down what its sender alone knows of a create, if nobody has found it out or given it up; tell whether so.

    Whoever looks after the part now could guess it at best, and on a lane without labels waits for ever.
    """
    row, known = submissions.open_of(conn, sent), parts.get(conn, part.batch_id, part.n)
    if row is None or known is None or known.state != "creating":
        return False
    outcome(conn, desk, known, row, said)
    return True


def _accepted(
    conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow, job: str, *, provisional: bool = False
) -> None:
    now = desk.now()
    submissions.move(conn, row, "accepted", job=job, ended_at=now, provisional=int(provisional))
    queues.call_first(conn, part.slug)
    due_at = now + polls.first_pause(desk, desk.lane(part))
    parts.move(conn, part, "running", job=job, accepted_at=now, cancel_sent_at=None, missing_since=None, due_at=due_at)
    batch = batches.get(conn, part.batch_id)
    if batch is not None and batch.stopping:
        parts.wake(conn, part)
    batches.event(conn, part.batch_id, part.n, now, "adopted provisionally" if provisional else "accepted", job)


def _not_accepted(conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow, error: TryLater) -> None:
    """The provider provably took nothing: the same part may be sent again, later; what is gone there is staged anew."""
    now, engine = desk.now(), desk.gateway.config.engine
    submissions.move(conn, row, "refused", reason=f"{submissions.NOT_TAKEN}{error}"[:200], ended_at=now)
    queues.call_first(conn, part.slug)
    pause = max(error.after or 0.0, backoff(part.tries, engine.poll_seconds_first, engine.poll_seconds_max))
    if not drop_if_stopping(conn, part):
        state, staged = ("staging", None) if error.status in waiting.GONE else ("staged", part.staged)
        parts.move(conn, part, state, staged=staged, due_at=now + pause, tries=part.tries + 1)
        cause = waiting.cause_of(error, "send", desk.lane(part).capabilities.billing_codes)
        waiting.store(conn, waiting.of_part(desk, part, cause, now + pause))


def _refused(conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow, refused: Refused) -> None:
    submissions.move(conn, row, "refused", reason=refused.code, ended_at=desk.now())
    queues.call_first(conn, part.slug)
    refuse(conn, part, refused, desk.now())


async def doubt(desk: Desk, part: PartRow) -> None:
    """A create was cut off by the gateway's own end: nobody knows what became of it."""
    row = await desk.submission(part)
    await desk.write(_doubt, desk, part, row, "the gateway ended during the create")


def _doubt(
    conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow, why: str, error: BaseException | None = None
) -> None:
    over = {"sender": None} if row.sender is not None and row.sender == desk.claims.sender else {}
    submissions.move(conn, row, "unknown", reason=why[:200], **over)
    parts.change(conn, part, due_at=0.0, tries=0, note="outcome of the create is being looked up")
    batches.event(conn, part.batch_id, part.n, desk.now(), "outcome unknown", why)
    told = {"part": part.n, "provider": part.provider, "lines": part.lines}
    webhooks.book(conn, part.batch_id, IN_DOUBT, desk.now(), **told)
    cause = Cause(waits.OUTCOME_UNKNOWN, detail=why if error is None else "")
    if isinstance(error, OutcomeUnknown):
        cause = waiting.cause_of(error, "doubt", frozenset())
    waiting.store(conn, waiting.of_part(desk, part, cause, desk.now()))
    logs.event(LOG, "outcome_unknown", slug=part.slug, attempt=row.n, level=logging.WARNING)


async def look_up(desk: Desk, part: PartRow) -> None:
    """Look for the job of a create whose outcome is unknown; send again only when it provably is not there."""
    try:
        await _look(desk, part)
    except (Undecided, AccountMissing):
        now, since = desk.now(), part.missing_since
        if since is None:
            await desk.write(parts.change, part, missing_since=now)
            raise
        if now <= max((await desk.batch(part.batch_id)).expires_at, since) + GIVES_UP:
            raise
        await desk.write(refuse, part, NEVER_RESOLVED, now)


async def _look(desk: Desk, part: PartRow) -> None:
    lane, row, batch = desk.lane(part), await desk.submission(part), await desk.batch(part.batch_id)
    try:
        sighting = await lane.find(desk.account(part, batch), desk.submission_for(part, batch, row))
    except Refused:
        sighting = Sighting(jobs=(), control=False, listed=False)
    failpoints.passing("look_up.acted")
    found = await unclaimed(desk, row, sighting)
    if lane.capabilities.accepts_label:
        ours, provisional = found[-1:], False
        if len(found) > 1:
            logs.event(LOG, "job_doubled", slug=part.slug, jobs=len(found), level=logging.CRITICAL)
    else:
        ours, provisional = await identify(desk, part, batch, row, lane, found)
    if ours:
        await desk.insist(_accepted, desk, part, row, ours[0], provisional=provisional)
    elif sighting.control or _ours_is_gone(desk, part, batch, row, sighting):
        await _not_seen(desk, part, batch, lane, await desk.submission(part))
    else:
        await cannot_tell(desk, part, "the account does not show what it must show, so an absent job proves nothing")


def _ours_is_gone(desk: Desk, part: PartRow, batch: BatchRow, row: SubmissionRow, sighting: Sighting) -> bool:
    """Tell whether the control is missing only because we took it away ourselves, from this very account."""
    return sighting.listed and row.revoking_at is not None and row.account == desk.account(part, batch).fingerprint


async def _not_seen(desk: Desk, part: PartRow, batch: BatchRow, lane: BatchProvider, row: SubmissionRow) -> None:
    """Count the lookup. After two of them a settle time apart, make a late acceptance harmless and look once more."""
    now, settle = desk.now(), _settle_seconds(desk, part)
    first = row.first_absent_at if row.first_absent_at is not None else now
    counted = await desk.write(submissions.move, row, "unknown", first_absent_at=first, lookups=row.lookups + 1)
    if counted.lookups < LOOKUPS_NEEDED or now < first + settle:
        engine = desk.gateway.config.engine
        pause = backoff(counted.lookups, engine.poll_seconds_first, engine.poll_seconds_max)
        pause = min(pause, max(first + settle - now, 0.0)) if counted.lookups >= LOOKUPS_NEEDED else min(pause, settle)
        await desk.write(_look_later, desk, part, now + pause)
    elif not isinstance(lane, Revokes) and await desk.claims.may_be_sent(counted.sender, settle):
        await desk.write(_look_later, desk, part, now + desk.gateway.config.engine.poll_seconds_first, STILL_THERE)
    elif not lane.capabilities.accepts_label and desk.virtual_key(part.slug).on_unknown == "wait":
        await cannot_tell(desk, part, "nothing can prove that the create was not accepted; on_unknown is wait")
    elif isinstance(lane, Revokes) and counted.revoked_at is None:
        await _revoke(desk, part, batch, lane, counted)
    elif await desk.write(_absent, desk, part, counted):
        logs.event(LOG, "resent_on_a_guess", slug=part.slug, attempt=counted.n, level=logging.WARNING)


def _look_later(conn: Connection, desk: Desk, part: PartRow, due_at: float, why: str = NOT_SHOWN) -> None:
    parts.change(conn, part, due_at=due_at)
    cause = Cause(waits.OUTCOME_UNKNOWN, detail=why)
    waiting.store(conn, waiting.of_part(desk, part, cause, due_at))


async def _revoke(desk: Desk, part: PartRow, batch: BatchRow, lane: Revokes, row: SubmissionRow) -> None:
    failpoints.passing("revoke.before")
    began = row.revoking_at if row.revoking_at is not None else desk.now()
    row = await desk.write(submissions.move, row, "unknown", revoking_at=began)
    failpoints.passing("revoke.noted")
    try:
        async with at_hand.document_of(desk, part, batch):
            await lane.revoke(desk.account(part, batch), desk.submission_for(part, batch, row))
    except Refused as refused:
        await cannot_tell(desk, part, f"the lost create could not be revoked: {refused.code}")
    failpoints.passing("revoke.acted")
    await desk.write(submissions.move, row, "unknown", revoked_at=desk.now())


def _absent(conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow) -> bool:
    """Give the create up and let the part be sent again; tell whether that is a guess, whose outcome is audited."""
    now, dropped = desk.now(), drop_if_stopping(conn, part)
    proven = desk.lane(part).capabilities.accepts_label or row.revoked_at is not None
    guess = not (proven or dropped)
    submissions.move(conn, row, "absent", ended_at=now, guessed=int(guess))
    queues.call_first(conn, part.slug)
    what = "create provably absent" if proven else "create taken to be absent"
    batches.event(conn, part.batch_id, part.n, now, what, f"{row.lookups} lookups")
    waits.over(conn, part.batch_id, part.n)
    if not dropped and row.revoked_at is not None:
        parts.move(conn, part, "staging", staged=None)
    elif not dropped:
        parts.move(conn, part, "staged")
    return guess
