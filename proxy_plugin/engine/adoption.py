"""Which job of an account is ours, on lanes whose jobs carry no label.

A job that could be ours (behind the fence, of the right size) is adopted provisionally where it is the only one. Until
its results show our mark it is not cancelled and no row of it is counted; if they show another's, the search goes on.
"""

from __future__ import annotations

from typing import NoReturn

import msgspec

from proxy_plugin.engine.desk import Desk
from proxy_plugin.ground import failpoints
from proxy_plugin.providers.base import BatchProvider, Confirms, Refused, Short, Sighting, TryLater
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, parts, submissions
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.submissions import SubmissionRow

NEVER_RESOLVED = Refused(
    "It could not be found out whether the provider accepted the job with this line; it may have run and been paid.",
    code="outcome_unknown",
)


async def unclaimed(desk: Desk, row: SubmissionRow, sighting: Sighting) -> list[str]:
    """Leave out jobs that certainly are other submissions' of ours, and those that showed another's mark."""
    claimed = await desk.read(submissions.claimed, sighting.jobs) | set(_not_ours(row))
    return [job for job in sighting.jobs if job not in claimed]


def _not_ours(row: SubmissionRow) -> list[str]:
    return msgspec.json.decode(row.not_ours or "[]", type=list[str])


async def identify(
    desk: Desk, part: PartRow, batch: BatchRow, row: SubmissionRow, lane: BatchProvider, found: list[str]
) -> tuple[list[str], bool]:
    """Without labels: the job whose results show our mark, or else the only one that could be ours, provisionally."""
    assert isinstance(lane, Confirms)
    account, document = desk.account(part, batch), desk.document(part, batch)
    silent, unreadable = list[str](), False
    for job in found:
        try:
            verdict = await lane.confirm(account, job, document)
        except (Refused, Short):
            unreadable = True  # it cannot be told apart, and others still can
            continue
        if verdict:
            return [job], False
        if verdict is None:
            silent.append(job)
        else:
            row = await desk.write(disown, row, job)
    if unreadable:
        await cannot_tell(desk, part, "a job of the account could be ours, and its results cannot be read")
    if len(silent) > 1:
        await cannot_tell(desk, part, "several jobs of the account could be ours; their results will tell")
    return silent, True


def disown(conn: Connection, row: SubmissionRow, job: str) -> SubmissionRow:
    """Remember that a job showed another's mark, so that it is not read again."""
    return submissions.move(conn, row, row.state, not_ours=_with(row, job))


def _with(row: SubmissionRow, job: str) -> str:
    return msgspec.json.encode([*_not_ours(row), job]).decode()


class Unconfirmed(TryLater):
    """A job adopted provisionally has ended, and its results, which would show whose it is, are refused."""


async def confirm_adopted(desk: Desk, part: PartRow, batch: BatchRow, lane: BatchProvider) -> bool:
    """Tell whether an ended job that was adopted for its size is ours; if not, look for ours again.

    Raises Unconfirmed or TryLater.
    """
    row = await desk.read(submissions.accepted, part)
    assert row is not None
    assert part.job is not None
    if not row.provisional:
        return True
    assert isinstance(lane, Confirms)
    try:
        verdict = await lane.confirm(desk.account(part, batch), part.job, desk.document(part, batch))
    except (Refused, Short) as error:
        raise Unconfirmed(f"the results that would show whose job it is cannot be read: {error}") from error
    if verdict is None:
        raise TryLater("the ended job shows no results yet, so it is not certain that it is ours")
    failpoints.passing("confirm.acted")
    await desk.write(_confirmed, desk, part, row, ours=verdict)
    return verdict


def _confirmed(conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow, *, ours: bool) -> None:
    if ours:
        submissions.move(conn, row, "accepted", provisional=0)
        return
    assert part.job is not None
    _look_again(conn, desk, part, row, "not ours after all", not_ours=_with(row, part.job))


def let_go(conn: Connection, desk: Desk, part: PartRow) -> None:
    """Look for our job again: the one adopted provisionally was deleted, most likely by the stranger whose it was."""
    row = submissions.accepted(conn, part)
    assert row is not None
    _look_again(conn, desk, part, row, "deleted before it was certain")


def _look_again(conn: Connection, desk: Desk, part: PartRow, row: SubmissionRow, why: str, **changes: str) -> None:
    submissions.move(conn, row, "unknown", job=None, provisional=0, **changes)
    parts.move(conn, part, "creating", job=None, accepted_at=None, completed=0, failed=0)
    batches.event(conn, part.batch_id, part.n, desk.now(), why, part.job or "")


class Undecided(TryLater):
    """The lookup worked, and still nobody can tell what became of the create."""


async def cannot_tell(desk: Desk, part: PartRow, why: str) -> NoReturn:
    """Note for the operator why nothing is certain yet, and raise Undecided."""
    if part.note != why:
        await desk.write(parts.change, part, note=why)
    raise Undecided(why)
