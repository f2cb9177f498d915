"""Which job of an account is ours, on lanes whose jobs carry no label.

A job that could be ours (behind the fence, of the right size) is adopted provisionally where it is the only one. Until
its results show our mark it is not cancelled and no row of it is counted; if they show another's, the search goes on.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import NoReturn

import msgspec

from providers.base import BatchProvider, Confirms, Refused, Sighting, TryLater
from proxy_plugin.stepping import Desk
from proxy_plugin.tables import batches, parts
from proxy_plugin.tables.parts import PartRow, SubmissionRow


def unclaimed(desk: Desk, row: SubmissionRow, sighting: Sighting) -> list[str]:
    """Leave out jobs that submissions of ours have, and those that showed another's mark."""
    claimed = desk.read(lambda c: parts.claimed(c, sighting.jobs)) | set(_not_ours(row))
    return [job for job in sighting.jobs if job not in claimed]


def _not_ours(row: SubmissionRow) -> list[str]:
    return msgspec.json.decode(row.not_ours or "[]", type=list[str])


async def identify(
    desk: Desk, part: PartRow, row: SubmissionRow, lane: BatchProvider, found: list[str]
) -> tuple[list[str], bool]:
    """Without labels: the job whose results show our mark, or else the only one that could be ours, provisionally."""
    assert isinstance(lane, Confirms)
    account, document = desk.account(part), desk.document(part)
    silent: list[str] = []
    for job in found:
        try:
            verdict = await lane.confirm(account, job, document)
        except Refused:
            continue  # deleted or archived: it cannot be told apart, and others still can
        if verdict:
            return [job], False
        if verdict is None:
            silent.append(job)
        else:
            row = await desk.write(partial(_disown, row=row, job=job))
    if len(silent) > 1:
        await cannot_tell(desk, part, "several jobs of the account could be ours; their results will tell")
    return silent, True


def _disown(conn: sqlite3.Connection, row: SubmissionRow, job: str) -> SubmissionRow:
    return parts.move_submission(conn, row, "unknown", not_ours=msgspec.json.encode([*_not_ours(row), job]).decode())


async def confirm_adopted(desk: Desk, part: PartRow, lane: BatchProvider) -> bool:
    """Tell whether an ended job that was adopted for its size is ours; if not, look for ours again."""
    row = desk.read(lambda c: parts.accepted_submission(c, part))
    assert row is not None
    assert part.job is not None
    if not row.provisional:
        return True
    assert isinstance(lane, Confirms)
    try:
        verdict = await lane.confirm(desk.account(part), part.job, desk.document(part))
    except Refused as refused:
        raise TryLater(f"the results that would show whose job it is cannot be read: {refused}") from refused
    if verdict is None:
        raise TryLater("the ended job shows no results yet, so it is not certain that it is ours")
    await desk.write(partial(_confirmed, desk=desk, part=part, row=row, ours=verdict))
    return verdict


def _confirmed(conn: sqlite3.Connection, desk: Desk, part: PartRow, row: SubmissionRow, *, ours: bool) -> None:
    if ours:
        parts.move_submission(conn, row, "accepted", provisional=0)
        return
    assert part.job is not None
    others = msgspec.json.encode([*_not_ours(row), part.job]).decode()
    parts.move_submission(conn, row, "unknown", job=None, provisional=0, not_ours=others)
    parts.move(conn, part, "creating", job=None, accepted_at=None, completed=0, failed=0)
    batches.event(conn, part.batch_id, part.n, desk.now(), "not ours after all", part.job)


class Undecided(TryLater):
    """The lookup worked, and still nobody can tell what became of the create."""


async def cannot_tell(desk: Desk, part: PartRow, why: str) -> NoReturn:
    """Note for the operator why nothing is certain yet, and raise Undecided."""
    if part.note != why:
        await desk.write(lambda c: parts.change(c, part, note=why))
    raise Undecided(why)
