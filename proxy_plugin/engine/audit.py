"""What became of creates that were given up on a guess: did one of them make a job after all, paid for beside another?

Where jobs carry no label and the operator chose `on_unknown: resend`, a part may be sent again although its lost create
is accepted later. When the part's rows are in, its account is looked through again, a few times over a day, for a job
whose results show the part's mark and which is not the one that was followed. Nothing waits for this and nothing of
that job is counted; it is written down for the operator who pays for it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from proxy_plugin.engine.adoption import disown, unclaimed
from proxy_plugin.engine.desk import Desk
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.providers.base import Confirms, Refused, TryLater
from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, clearings, parts, submissions
from proxy_plugin.storage.tables.parts import PartRow

LOG = logging.getLogger("proxy_plugin.engine")
LOOKS = 9
GROWTH = 4.0  # of the pause between looks: from 5 s on, the last of the 9 is 30 hours behind the first


async def audit(desk: Desk, part: PartRow) -> None:
    """Look once for jobs that a guess doubled, and note them. A look that fails counts as one, too."""
    try:
        doubled = await _doubled(desk, part)
    except (TryLater, Refused) as error:
        logs.event(LOG, "audit_failed", slug=part.slug, look=part.tries + 1, error=error, level=logging.WARNING)
        doubled = []
    failpoints.passing("audit.acted")
    for job in await desk.write(_note, desk, part, doubled):
        logs.event(LOG, "job_doubled", slug=part.slug, job=job, level=logging.ERROR)


async def _doubled(desk: Desk, part: PartRow) -> list[str]:
    """Return jobs of this part, oldest first, that are neither followed nor noted yet."""
    batch, guesses = await desk.batch(part.batch_id), await desk.read(submissions.guessed, part)
    lane, account = desk.lane(part), desk.account(part, batch)
    assert isinstance(lane, Confirms)
    row = guesses[0]  # its fence is the oldest: what it does not see, no other does
    sighting = await lane.find(account, desk.submission_for(part, batch, row))
    if not sighting.listed:
        raise TryLater("the account's jobs cannot be listed")
    noted = {guess.doubled_job for guess in guesses}
    found = list[str]()
    for job in reversed(await unclaimed(desk, row, sighting)):
        if job in noted:
            continue
        try:
            verdict = await lane.confirm(account, job, desk.document(part, batch))
        except Refused:
            continue  # deleted meanwhile
        if verdict:
            found.append(job)
        elif verdict is False:
            row = await desk.write(disown, row, job)
    return found


def _note(conn: Connection, desk: Desk, part: PartRow, doubled: Sequence[str]) -> Sequence[str]:
    """Give each doubled job to a guess, oldest to oldest; look again later unless nothing is left to be found."""
    now, open_guesses = desk.now(), [row for row in submissions.guessed(conn, part) if row.doubled_job is None]
    noted = [job for _, job in zip(open_guesses, doubled, strict=False)]
    for row, job in zip(open_guesses, noted, strict=False):
        submissions.move(conn, row, row.state, doubled_job=job)
        batches.event(conn, part.batch_id, part.n, now, "job doubled", job)
    looks = part.tries + 1
    more = len(open_guesses) > len(noted) and looks < LOOKS
    pause = desk.gateway.config.engine.poll_seconds_first * GROWTH**part.tries
    parts.change(conn, part, due_at=now + pause if more else None, tries=looks)
    batch = batches.get(conn, part.batch_id)
    if not more and batch is not None and batch.state in states.BATCH_ENDS:
        clearings.release(conn, part.batch_id, part.n)
    return noted
