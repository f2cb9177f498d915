"""The step of a part whose job was refused for what is in its lines: the others are sent again without those lines.

The part gets here only when every submission of it is proven to have run nothing, and it is never sent again. Parts
with marks of their own take its place, in the transaction that ends it: before it there is nothing but files that
nobody names, behind it nothing that could send the part once more.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import structs

from proxy_plugin.engine import poison, space, tasks
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.poison import Cutting
from proxy_plugin.engine.sharing import at_hand
from proxy_plugin.engine.steps_part import drop_if_stopping, least_lines
from proxy_plugin.engine.worker_jobs import WORKER_GIVES_UP, cut_job
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.workers import OutOfBudget, WorkerDied
from proxy_plugin.lines.cut import CutFacts, cut_document
from proxy_plugin.lines.line_index import BrokenIndex
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.room import RESULTS
from proxy_plugin.storage.tables import batches, cuts, parts, rescues
from proxy_plugin.storage.tables.cuts import StoredCut
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal, refusal_of

LOG = logging.getLogger("proxy_plugin.engine")
_INHERITED = ("batch_id", "slug", "provider", "endpoint", "model", "partition_key", "way", "goes_on", "rescue")


async def cut(desk: Desk, part: PartRow) -> None:
    """Take the bad lines out of a refused part, or halve it, or refuse it as a whole where neither can be."""
    batch = await desk.batch(part.batch_id)
    if await desk.write(_stopped, part):
        return
    plan = await desk.read(_plan, desk, part)
    what, document = f"cut-{part.n:05d}", desk.document(part, batch)
    folder, heirs = desk.folders.new(part.batch_id, what), await desk.read(cuts.of_batch, part.batch_id)
    assignment = await at_hand.assignment_of(desk, part, batch)
    await desk.folders.present(part.batch_id, document.path)
    await desk.gateway.blobs.present_with_index(batch.input_file_id)
    common = cut_job(desk.gateway.blobs, batch, part, document.path, assignment, heirs=heirs, folder=folder)
    job = structs.replace(common, out=tuple(line.record for line in plan.out), pieces=plan.pieces)
    terms = desk.gateway.terms(batch.workspace, part.bytes)
    work = space.run(desk, batch, RESULTS, part.bytes, terms, cut_document, job)
    try:
        facts = await tasks.while_wanted(partial(tasks.to_be_sent, desk, batch), work)
    except tasks.Unwanted:
        return  # the step begins again, and drops the part
    except (ValueError, BrokenIndex, OutOfBudget, WorkerDied) as error:
        if isinstance(error, WorkerDied) and part.tries < WORKER_GIVES_UP:
            raise
        logs.event(LOG, "part_not_cut", slug=part.slug, error=error, level=logging.ERROR)
        plan, facts = Cutting(), CutFacts(())
    if facts.pieces:
        await desk.folders.share(folder)
    failpoints.passing("cut.acted")
    if await desk.write(_commit, desk, part, plan, facts, folder.name) and facts.pieces:
        await asyncio.to_thread(_clear, desk, folder, what, document.path)


def _stopped(conn: Connection, part: PartRow) -> bool:
    """Drop the part if its batch stops. What may have run was not stopped: it is refused, and its line is told."""
    return cuts.nothing_ran(conn, part) and drop_if_stopping(conn, part)


def _clear(desk: Desk, folder: Path, what: str, document: Path) -> None:
    """Remove what dead attempts left, and the document that is never sent again."""
    desk.folders.clear_others(folder, what)
    document.unlink(missing_ok=True)


def _plan(conn: Connection, desk: Desk, part: PartRow) -> Cutting:
    refusal = refusal_of(part)
    assert refusal is not None
    return poison.decide(part, refusal, cuts.family(conn, part), least_lines(desk, part))


def _commit(conn: Connection, desk: Desk, part: PartRow, plan: Cutting, facts: CutFacts, folder: str) -> bool:
    """End the part; its lines go on in others. False where nothing was done: the step begins again."""
    if _stopped(conn, part):
        return True
    if plan != Cutting() and plan != _plan(conn, desk, part):  # another part of its family was refused meanwhile
        return False
    refusal = refusal_of(part)
    assert refusal is not None
    if not plan.pieces:
        line, number = (plan.out[0], facts.out[0].number) if facts.out else (None, None)
        rescues.end(conn, part, "refused", refusal=poison.said(refusal, line, number, plan.why).text())
        return True
    _replace(conn, part, _alone(part, refusal, plan, facts) + _smaller(conn, part, refusal, plan, facts, folder))
    detail = f"{len(facts.out)} lines out, {len(facts.pieces)} parts"
    batches.event(conn, part.batch_id, part.n, desk.now(), "cut", detail)
    return True


def _replace(conn: Connection, part: PartRow, heirs: list[PartRow]) -> None:
    first = cuts.next_number(conn, part.batch_id)
    for n, heir in enumerate(heirs, first):
        parts.insert(conn, structs.replace(heir, n=n))
    parts.move(conn, part, "replaced")
    parts.counts_changed(conn, part.batch_id)


def _alone(part: PartRow, refusal: StoredRefusal, plan: Cutting, facts: CutFacts) -> list[PartRow]:
    """Return the parts of the lines that are taken out. They are refused from the start and have no document."""
    words = {line.record: line for line in plan.out}
    ended = {"job": part.job, "bytes": 0, "sha256": "", "file": ""}
    rows = list[PartRow]()
    for line in facts.out:
        text = poison.said(refusal, words[line.record], line.number, poison.ALONE).text()
        row = _of(part, line.ordinal, line.ordinal, lines=1, mark=line.mark, refusal=text, **ended)
        rows.append(rescues.refused_from_the_start(row))
    return rows


def _smaller(
    conn: Connection, part: PartRow, refusal: StoredRefusal, plan: Cutting, facts: CutFacts, folder: str
) -> list[PartRow]:
    """Return the parts of the others, to be sent; not if the provider named more lines than are taken out."""
    rest = poison.said(refusal, None, None, poison.TOO_MANY).text()
    batch = batches.get(conn, part.batch_id)
    suspects = cuts.suspects_of(batch.suspects if batch else None)
    rows = list[PartRow]()
    for piece in facts.pieces:
        known = {"lines": piece.lines, "bytes": piece.bytes, "sha256": piece.sha256, "mark": piece.mark}
        known["requests"] = piece.requests
        row = _of(part, piece.first, piece.last, file=f"{folder}/{piece.file}", **known)
        suspected = poison.suspected(row, piece.first, piece.last, suspects)
        refused = rescues.refused_from_the_start(structs.replace(row, refusal=rest))
        rows.append(refused if plan.rest else suspected)
    return rows


def _of(part: PartRow, first: int, last: int, **facts: Any) -> PartRow:
    """Return a part with lines of another one, for the same target."""
    own = StoredCut(part.n, cuts.root_of(part), first, last).text()
    known = {name: getattr(part, name) for name in _INHERITED}
    return PartRow(**{"n": 0, "state": "planned", "due_at": 0.0, "cut": own, **known, **facts})
