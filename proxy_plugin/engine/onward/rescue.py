"""The step of a part whose job has ended, and whose failed lines go on to other targets.

A worker writes new parts, as the split does, into a folder of its own. One transaction inserts them and ends the part:
before it there is nothing but files that nobody names, behind it nothing that could send the lines once more. Where the
batch is stopping by then, the lines stay where they failed. Parts of a batch that wait together go on together, so that
few jobs come of it, and one rescue of a batch is at work at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from msgspec import structs

from proxy_plugin.engine import space, tasks
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.onward.window import TOO_LATE, jobs_are_begun
from proxy_plugin.engine.sharing import at_hand
from proxy_plugin.engine.steps_batch import part_row
from proxy_plugin.engine.worker_jobs import LINE_BYTES, WORKER_GIVES_UP, heirs_of, split_job
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.workers import WorkerDied
from proxy_plugin.lines.onward.rescue import Parent, RescueFacts, RescueJob
from proxy_plugin.lines.onward.rescue import rescue as rescue_lines
from proxy_plugin.media.store import Media
from proxy_plugin.providers.base import ProviderError
from proxy_plugin.routing.reach import attempts
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.room import RESULTS
from proxy_plugin.storage.tables import batches, cuts, files, parts, rescues
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.parts import PartRow, refusal_of, results_of
from proxy_plugin.storage.tables.rescues import StoredRescue, rescue_of

LOG = logging.getLogger("proxy_plugin.engine")
PAUSE = 30.0  # seconds until a part whose batch has another rescue at work looks by itself; that one wakes it
TOGETHER = 500  # parts of one rescue
UNBLAMED = frozenset({"too_few_lines", TOO_LATE.code})  # refusals that no line is to blame for
NO_PICTURE = "it was not fetched for the target that the line went to first"


async def rescue(desk: Desk, part: PartRow) -> None:
    """Let the failed lines of a part, and of others that wait with it, go on; or let them stay where they failed."""
    batch, crowd = await desk.batch(part.batch_id), await desk.read(_crowd, part.batch_id)
    if not await tasks.to_be_sent(desk, batch):
        await desk.write(_stay, desk, [part], batch.stopping or "window over")
    elif rescue_of(part).depth >= attempts(desk.route(batch)):
        await desk.write(_stay, desk, [part], "asked often enough")
    elif crowd and crowd[0].n != part.n:
        await desk.write(_wait, part, desk.now() + PAUSE)
    elif crowd:
        await _go_on(desk, batch, crowd)


def _crowd(conn: Connection, batch_id: str) -> list[PartRow]:
    """Return the parts that go on next, and together: the first of the batch, and those whose lines go where its do."""
    found = rescues.waiting(conn, batch_id)
    return [each for each in found if _alike(each) == _alike(found[0])][:TOGETHER]


def _wait(conn: Connection, part: PartRow, due_at: float) -> None:
    """Let a part rest while another one of its batch goes on; unless that has ended, or the batch stops, meanwhile."""
    batch, waiting = batches.get(conn, part.batch_id), [each.n for each in rescues.waiting(conn, part.batch_id)]
    if batch is not None and batch.stopping is None and part.n in waiting[1:]:
        parts.change(conn, part, due_at=due_at)


def _alike(part: PartRow) -> tuple[int | None, int]:
    return part.goes_on, rescue_of(part).depth


async def _go_on(desk: Desk, batch: BatchRow, crowd: Sequence[PartRow]) -> None:
    source = await desk.read(files.get, batch.input_file_id)
    assert source is not None  # a file stays as long as a batch of it
    await _at_hand(desk, batch, crowd)
    job = await _job(desk, batch, source, crowd)
    terms, expected = desk.gateway.terms(batch.workspace, source.bytes), sum(map(_failed_bytes, crowd))
    work = space.run(desk, batch, RESULTS, expected, terms, rescue_lines, job)
    try:
        facts = await tasks.while_wanted(partial(tasks.to_be_sent, desk, batch), work)
    except tasks.Unwanted:
        return  # the step begins again, and the lines stay
    except (ProviderError, OSError):  # there is no room for it yet
        raise
    except Exception as error:  # what is paid for waits for no defect
        if isinstance(error, WorkerDied) and crowd[0].tries < WORKER_GIVES_UP:
            raise
        logs.event(LOG, "not_rescued", slug=crowd[0].slug, error=error, level=logging.ERROR)
        await desk.write(_stay, desk, crowd, type(error).__name__)
        return
    await _settle(desk, batch, crowd, job, facts)


async def _settle(desk: Desk, batch: BatchRow, crowd: Sequence[PartRow], job: RescueJob, facts: RescueFacts) -> None:
    folder = Path(job.folder)
    await desk.folders.publish(folder)
    failpoints.passing("rescue.acted")
    if await desk.write(_commit, desk, batch, crowd, job, facts):
        await asyncio.to_thread(desk.folders.clear_others, folder, _what(crowd))
        logs.event(LOG, "lines_rescued", slug=crowd[0].slug, lines=sum(facts.went.values()), parts=len(facts.parts))
    if not facts.parts:
        await desk.folders.drop(folder)


async def _at_hand(desk: Desk, batch: BatchRow, crowd: Sequence[PartRow]) -> None:
    """Have what a rescue reads here. Raises StoreAway."""
    await desk.gateway.blobs.present_with_index(batch.input_file_id)
    for part in crowd:
        await at_hand.assignment_of(desk, part, batch)
    await desk.folders.present(batch.id, *(rows for part in crowd if (rows := results_of(part).rows) is not None))
    if desk.route(batch).fetches_media:
        await desk.folders.present_media(batch.id)


def _failed_bytes(part: PartRow) -> int:
    """Return about how many bytes the failed lines of a part have."""
    failed = part.lines - part.completed
    return part.bytes * failed // part.lines + failed * LINE_BYTES


def _what(crowd: Sequence[PartRow]) -> str:
    return f"rescue-{crowd[0].n:05d}"


async def _job(desk: Desk, batch: BatchRow, source: FileRow, crowd: Sequence[PartRow]) -> RescueJob:
    route, folder = desk.route(batch), desk.folders.new(batch.id, _what(crowd))
    split = split_job(desk.gateway, source, batch.endpoint, route, batch_id=batch.id, folder=str(folder))
    kept = split.kept and structs.replace(split.kept, refresh=True)  # their answers are kept, and none is given
    split = structs.replace(split, kept=kept)
    heirs, first = await desk.read(_numbers, batch.id)
    then = crowd[0].goes_on
    assert then is not None
    return RescueJob(
        split=structs.replace(split, media=_media(desk, batch)) if route.fetches_media else split,
        parents=tuple(_parent(desk, batch, each) for each in crowd),
        then=then,
        first=first,
        heirs=heirs_of(heirs),
        native=jobs_are_begun(desk, batch),
    )


def _numbers(conn: Connection, batch_id: str) -> tuple[list[PartRow], int]:
    return cuts.of_batch(conn, batch_id), cuts.next_number(conn, batch_id)


def _media(desk: Desk, batch: BatchRow) -> Media:
    limits = desk.gateway.config.limits
    return Media(str(desk.folders.media(batch.id)), NO_PICTURE, limits.max_line_bytes, limits.max_file_bytes)


def _parent(desk: Desk, batch: BatchRow, part: PartRow) -> Parent:
    rows, refusal, refused = results_of(part).rows, refusal_of(part), rescue_of(part).ends == "refused"
    return Parent(
        part=part.n,
        assignment=str(desk.assignment(part, batch)),
        rows=None if rows is None else str(desk.folder(part) / rows),
        refused=refused,
        status=refusal.status if refusal else None,
        uncalled=refused and refusal is not None and refusal.code in UNBLAMED,
    )


def _commit(
    conn: Connection, desk: Desk, batch: BatchRow, crowd: Sequence[PartRow], job: RescueJob, facts: RescueFacts
) -> bool:
    """Insert the new parts and end the old ones. False where nothing was done: the step begins again."""
    rows, current = _still_waiting(conn, crowd), batches.get(conn, batch.id)
    assert current is not None
    if rows is None:
        return False
    if current.stopping or tasks.is_late(desk, current):
        _stay(conn, desk, rows, current.stopping or "window over")
        return False
    if facts.parts and cuts.next_number(conn, batch.id) != job.first:  # a part was cut meanwhile
        return False
    for row in _new_parts(batch, crowd, job, facts, attempts(desk.route(batch))):
        parts.insert(conn, row)
    for row in rows:
        went = facts.went.get(row.n, 0)
        rescues.finish(conn, row, went)
        batches.event(conn, batch.id, row.n, desk.now(), "rescued", _told(row, went, facts))
    rescues.wake(conn, batch.id)
    return True


def _still_waiting(conn: Connection, crowd: Sequence[PartRow]) -> list[PartRow] | None:
    """Return the parts as they are now, None unless all of them still wait."""
    found = [parts.get(conn, each.batch_id, each.n) for each in crowd]
    rows = [row for row in found if row is not None and row.state == rescues.RESCUING]
    return rows if len(rows) == len(crowd) else None


def _new_parts(
    batch: BatchRow, crowd: Sequence[PartRow], job: RescueJob, facts: RescueFacts, most: int
) -> Iterator[PartRow]:
    depth, folder = rescue_of(crowd[0]).depth + 1, Path(job.folder).name
    known = StoredRescue(
        of=tuple(each.n for each in crowd if facts.went.get(each.n)),
        depth=depth,
        assignment=f"{folder}/{facts.assignment}",
    )
    for spec in facts.parts:
        row = part_row(batch.id, spec)
        then = row.goes_on if depth < most else None
        yield structs.replace(row, file=f"{folder}/{row.file}", rescue=known.text(), goes_on=then)


def _told(part: PartRow, went: int, facts: RescueFacts) -> str:
    stayed = ", ".join(f"{count} {code}" for code, count in facts.stayed.items())
    return f"{went} of {part.lines - part.completed} lines go on" + (f"; stayed of all: {stayed}" if stayed else "")


def _stay(conn: Connection, desk: Desk, crowd: Sequence[PartRow], why: str) -> None:
    """End parts whose lines go nowhere."""
    for row in crowd:
        current = parts.get(conn, row.batch_id, row.n)
        if current is not None and current.state == rescues.RESCUING:
            rescues.finish(conn, current)
            batches.event(conn, row.batch_id, row.n, desk.now(), "not rescued", why)
    rescues.wake(conn, crowd[0].batch_id)
