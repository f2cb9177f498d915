"""What nobody can ask for any more goes: bytes of files, parts of uploads, ledgers of batches, objects in buckets.

A row says first that the bytes are gone: a crash in between leaves a blob without a row, which the sweep at the start
removes. What parts left in a store of their account is somewhere else: there a row says first what may be there, and
goes last, when it is gone. No batch waits for that.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from msgspec import structs

from proxy_plugin.engine import polls
from proxy_plugin.engine.desk import AccountMissing, Desk, backoff
from proxy_plugin.engine.replicas.claims import Claims, NoClaims
from proxy_plugin.engine.sharing import at_hand
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.masking import mask
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Leaves, Refused, Submission, TryLater
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, clearings, cuts, files, parts, submissions, uploads, waits
from proxy_plugin.storage.tables.clearings import ClearingRow
from proxy_plugin.storage.tables.parts import PartRow
from proxy_plugin.storage.tables.uploads import Closed

LOG = logging.getLogger("proxy_plugin.engine")
WOKEN = 20
TOGETHER = 200  # folders looked at in one go: 10,000 held the interpreter for seconds
GRACE_SECONDS = 600.0  # in which a part or a completion that began in time may end
SAVED_SECONDS = 7 * 86_400.0  # in which an operator can save what a job may have been paid for
GIVES_UP = 30 * 86_400.0  # seconds of refusals, or without an account, after which objects are left where they are
LONGEST = 6 * 3600.0  # between two tries
ALONE = NoClaims()


async def remove_unneeded(gateway: Gateway, claims: Claims = ALONE) -> int:
    """Remove the bytes of deleted and expired files that no batch needs; return how many files. Raises ClaimLost.

    Some of those that wait for room are tried again then; they would be later anyway.
    """
    removed, now = 0, gateway.clock.now()
    while due := await gateway.registry.read(files.removable, now):
        for file_id in due:
            if await gateway.registry.write(claims.guard(files.mark_removed), file_id, now):
                await gateway.blobs.discard(file_id)
                removed += 1
    if removed:
        await gateway.registry.write(waits.wake_full, WOKEN)
    return removed


async def remove_expired(gateway: Gateway, claims: Claims = ALONE) -> int:
    """Remove the parts of uploads that nobody completed in time; return how many uploads. Raises ClaimLost."""
    removed, now = 0, gateway.clock.now()
    while due := await gateway.registry.read(uploads.expired, now - GRACE_SECONDS):
        for upload_id in due:
            with suppress(Closed):
                for part_id in await gateway.registry.write(claims.guard(uploads.expire), upload_id, now):
                    await gateway.blobs.discard(part_id)
                removed += 1
    return removed


async def remove_ledgers(gateway: Gateway, folders: BatchFolders) -> None:
    """Remove what is left of batches that have ended and have neither an output nor an error file any more."""
    kept = await asyncio.to_thread(folders.kept)
    for start in range(0, len(kept), TOGETHER):
        for batch_id in await gateway.registry.scan(batches.without_files, kept[start : start + TOGETHER]):
            await folders.drop_all(batch_id)
            gateway.room.working.forget([batch_id])


async def forget_ended(gateway: Gateway, folders: BatchFolders) -> None:
    """Remove here what other replicas have ended; a gateway of its own has done so when it ended them."""
    if gateway.blobs.tree is None:
        return
    kept = await asyncio.to_thread(folders.kept)
    for start in range(0, len(kept), TOGETHER):
        for batch_id in await gateway.registry.scan(batches.ended, kept[start : start + TOGETHER]):
            await asyncio.to_thread(folders.forget_ended, batch_id)


async def clear(desk: Desk, row: ClearingRow) -> None:
    """Take away what a part left in a store of its account, or try again later: nothing waits for it."""
    part = await desk.read(parts.get, row.batch_id, row.part)
    assert part is not None
    if row.since is None and await desk.read(_may_be_paid, part):
        await desk.write(clearings.again, row, desk.now(), desk.now() + SAVED_SECONDS)
        return
    await desk.claims.check()
    try:
        await _cleared(desk, row, part)
    except (TryLater, Refused) as error:
        await _not_cleared(desk, row, error)
    else:
        failpoints.passing("clear.acted")
        await desk.write(_done, desk, row)


def _may_be_paid(conn: Connection, part: PartRow) -> bool:
    """Tell whether a job of a part may have run whose rows the gateway does not have."""
    return part.state != "collected" and not cuts.nothing_ran(conn, part)


async def _cleared(desk: Desk, row: ClearingRow, part: PartRow) -> None:
    """Clear after each staging and each job. Raises `TryLater` or `Refused`."""
    try:
        lane = desk.lane(part)
    except (catalog.UnknownProvider, ImportError, AttributeError):
        raise AccountMissing(f"the adapter of {part.provider} cannot be loaded") from None
    if not isinstance(lane, Leaves):  # another version of it had the power
        return
    batch = await desk.batch(row.batch_id)
    account = desk.account(part, structs.replace(batch, sealed=batch.sealed or row.sealed))
    await at_hand.note_of(desk, part, batch)
    jobs = await desk.read(submissions.jobs, part)
    for staged in clearings.stagings_of(row):
        for job in jobs or (None,):
            await lane.clear(account, Submission(desk.document(part, batch), staged), job)


def _done(conn: Connection, desk: Desk, row: ClearingRow) -> None:
    clearings.done(conn, row)
    batches.event(conn, row.batch_id, row.part, desk.now(), "cleared")


async def _not_cleared(desk: Desk, row: ClearingRow, error: TryLater | Refused) -> None:
    now = desk.now()
    bounded = isinstance(error, Refused | AccountMissing)
    if bounded and row.since is not None and now - row.since >= GIVES_UP:
        await desk.write(_give_up, desk, row, mask(str(error)))
        _log("objects_left", row, error, logging.ERROR)
        return
    asked = error.after or 0.0 if isinstance(error, TryLater) else 0.0
    pause = max(asked, backoff(row.tries, desk.gateway.config.engine.poll_seconds_first, LONGEST))
    await desk.write(clearings.again, row, now, now + polls.jittered(desk, pause))
    if not row.tries:
        _log("objects_not_cleared", row, error, logging.WARNING)


def _give_up(conn: Connection, desk: Desk, row: ClearingRow, why: str) -> None:
    clearings.give_up(conn, row)
    batches.event(conn, row.batch_id, row.part, desk.now(), "objects left", why[:200])


def _log(what: str, row: ClearingRow, error: Exception, level: int) -> None:
    logs.event(LOG, what, batch=row.batch_id, part=row.part, virtual_key=row.slug, error=error, level=level)
