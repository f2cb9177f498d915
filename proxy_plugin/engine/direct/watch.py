"""What is done each second for a part that a worker answers: counts, waits, room, and when it has to stop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from proxy_plugin.direct.job import LEASE, STOP, AnswerFacts, AnswerJob, Lease, Progress, Stop, Wait, progress_in, write
from proxy_plugin.engine import waiting
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.sharing.answers import Risk
from proxy_plugin.engine.waiting import Cause
from proxy_plugin.ground.errors import NoSpace
from proxy_plugin.ground.masking import mask
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import DatabaseAway, RegistryFull, StoreAway
from proxy_plugin.storage.room import Claim
from proxy_plugin.storage.tables import answering, parts, waits, webhooks
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow

LOOK_SECONDS = 1.0
TURN_SECONDS = 30.0  # from which on a part gives way to others that wait
LONGEST_TURN = 3000.0  # and from which on in any case: a worker's task has its bounds
LEAVING_SECONDS = 15.0  # for calls that run when the gateway stops; the next start makes those again that take longer
ENDING_SECONDS = 120.0  # for calls that run when the batch is cancelled or its window is over
_PASSING = (RegistryFull, DatabaseAway, StoreAway, OSError)  # no reasons to end calls that are paid for
TOLD_FROM = 2.0  # seconds of a pause that is worth telling


class Watch:
    """One turn of one part. `key` stands for its virtual key and the account behind that."""

    def __init__(
        self,
        desk: Desk,
        part: PartRow,
        batch: BatchRow,
        job: AnswerJob,
        key: str,
        claim: Claim,
        risk: Risk,
        *,
        stored: int,
    ) -> None:
        self._desk, self._part, self._batch, self._job, self._claim = desk, part, batch, job, claim
        self._calls = calls_of(key)
        self._risk = risk
        self._stored = stored  # bytes of answers that are claimed, or were before this turn
        self._seen = Progress()
        self._began = desk.gateway.clock.monotonic()
        self._stop: Stop | None = None
        self._full: NoSpace | None = None

    async def until_done(self, work: asyncio.Task[AnswerFacts]) -> AnswerFacts:
        """Return what the worker tells in the end. Raises NoSpace where it was stopped for want of room."""
        while not (await asyncio.wait({work}, timeout=LOOK_SECONDS))[0]:
            with suppress(*_PASSING):
                await self._look(await asyncio.to_thread(progress_in, Path(self._job.folder)))
        facts = work.result()
        self._hold(facts.progress)
        if self._full is not None and facts.end == "stopped":
            raise self._full
        return facts

    async def _look(self, now: Progress) -> None:
        self._hold(now)
        self._risk.look()
        await bound(self._desk, Path(self._job.folder))
        if now.bytes > self._stored:
            await self._make_room(now.bytes - self._stored)
            self._stored = now.bytes
        wanted = await self._stops()
        if wanted is not None and (self._stop is None or (wanted.for_good and not self._stop.for_good)):
            await asyncio.to_thread(write, Path(self._job.folder), STOP, wanted)
            self._stop = wanted
        if (now.completed, now.failed) != (self._seen.completed, self._seen.failed) or now.wait != self._seen.wait:
            await self._desk.write(_note, self._desk, self._part, now)
        self._seen = now

    def _hold(self, now: Progress) -> None:
        """Let whoever makes the next calls of the account know of a pause: the one here keeps it by itself."""
        if (seconds := now.held - self._desk.now()) > 0:
            self._desk.gateway.http.hold(self._calls, seconds)

    async def _make_room(self, count: int) -> None:
        """Claim what was written since the last look. Where that finds no room, the answers that run are the last."""
        try:
            await self._claim.take(count)
        except NoSpace as full:
            self._full = full

    async def _stops(self) -> Stop | None:
        timeout = self._job.limits.timeout
        if (await self._desk.batch(self._part.batch_id)).stopping:
            return Stop(min(timeout, ENDING_SECONDS), for_good=True)
        if self._desk.leaving.is_set():
            return Stop(min(timeout, LEAVING_SECONDS))
        lasted = self._desk.gateway.clock.monotonic() - self._began
        if self._full is not None or self._risk.too_high or lasted > LONGEST_TURN:
            return Stop(timeout)
        if lasted > TURN_SECONDS and await self._desk.read(answering.others_wait, self._part, self._batch.workspace):
            return Stop(timeout)
        return None


def calls_of(key: str) -> str:
    """Return the name under which ordinary calls of a key are held: its jobs have limits of their own."""
    return f"calls\x1f{key}"


async def bound(desk: Desk, folder: Path) -> None:
    """Let a worker begin calls only while the claim on its part surely stands, whatever becomes of this process."""
    until = desk.claims.lasts_until()
    if until is not None:
        await asyncio.to_thread(write, folder, LEASE, Lease(until))


def _note(conn: Connection, desk: Desk, part: PartRow, now: Progress) -> None:
    """Write down how far a part is, and what it waits for."""
    parts.change(conn, part, **counts(part, now))
    parts.counts_changed(conn, part.batch_id)
    webhooks.book_progress(conn, part.batch_id, desk.now())
    if now.wait is None or now.wait.next_at - desk.now() < TOLD_FROM:
        waits.over(conn, part.batch_id, part.n)
    else:
        waiting.store(conn, waiting.of_part(desk, part, _cause(now.wait), now.wait.next_at))


def _cause(wait: Wait) -> Cause:
    return Cause(wait.reason, detail=mask(wait.said))


def counts(part: PartRow, now: Progress) -> dict[str, int]:
    """Return what the row counts; records may be more than lines."""
    told = part.in_lines((now.completed, now.failed))
    completed = min(told[0], part.lines)
    return {"completed": completed, "failed": min(told[1], part.lines - completed)}
