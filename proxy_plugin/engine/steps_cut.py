"""The step of a part whose job was refused for what is in its lines: the others are sent again without those lines.

The part gets here only when every submission of it is proven to have run nothing, and it is never sent again. Parts
with marks of their own take its place, in the transaction that ends it: before it there is nothing but files that
nobody names, behind it nothing that could send the part once more.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from msgspec import structs

from proxy_plugin.engine import poison
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.poison import Cutting
from proxy_plugin.engine.steps_part import drop_if_stopping
from proxy_plugin.engine.worker_jobs import WORKER_GIVES_UP, cut_job
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.workers import WorkerDied
from proxy_plugin.lines.cut import CutFacts, Piece, TakenOut, cut_document
from proxy_plugin.lines.line_index import BrokenIndex
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, cuts, parts
from proxy_plugin.storage.tables.cuts import StoredCut
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal, refusal_of

LOG = logging.getLogger("proxy_plugin.engine")


async def cut(desk: Desk, part: PartRow) -> None:
    """Take the bad lines out of a refused part, or halve it, or refuse it as a whole where neither can be."""
    batch = await desk.batch(part.batch_id)
    if await desk.write(drop_if_stopping, part):
        return
    plan = await desk.read(_plan, desk, part)
    what, document = f"cut-{part.n:05d}", desk.document(part, batch)
    folder, heirs = desk.folders.new(part.batch_id, what), await desk.read(cuts.of_batch, part.batch_id)
    common = cut_job(desk.gateway.blobs, batch, part, document.path, desk.folder(part), heirs=heirs, folder=folder)
    job = structs.replace(common, out=tuple(line.record for line in plan.out), pieces=plan.pieces)
    try:
        facts = await desk.gateway.workers.run(cut_document, job)
    except (ValueError, BrokenIndex, WorkerDied) as error:
        if isinstance(error, WorkerDied) and part.tries < WORKER_GIVES_UP:
            raise
        logs.event(LOG, "part_not_cut", slug=part.slug, error=error, level=logging.ERROR)
        plan, facts = Cutting(), CutFacts(())
    failpoints.passing("cut.acted")
    if await desk.write(_commit, desk, part, plan, facts, folder.name) and facts.pieces:
        await asyncio.to_thread(_clear, desk, folder, what, document.path)


def _clear(desk: Desk, folder: Path, what: str, document: Path) -> None:
    """Remove what dead attempts left, and the document that is never sent again."""
    desk.folders.clear_others(folder, what)
    document.unlink(missing_ok=True)


def _plan(conn: Connection, desk: Desk, part: PartRow) -> Cutting:
    refusal = refusal_of(part)
    assert refusal is not None
    least = desk.virtual_key(part.slug).min_lines_per_job or 1
    return poison.decide(part, refusal, cuts.family(conn, part), least)


def _commit(conn: Connection, desk: Desk, part: PartRow, plan: Cutting, facts: CutFacts, folder: str) -> bool:
    """End the part; its lines go on in others. False where nothing was done: the step begins again."""
    if drop_if_stopping(conn, part):
        return True
    if plan != Cutting() and plan != _plan(conn, desk, part):  # another part of its family was refused meanwhile
        return False
    refusal = refusal_of(part)
    assert refusal is not None
    if not plan.pieces:
        line, number = (plan.out[0], facts.out[0].number) if facts.out else (None, None)
        parts.move(conn, part, "refused", refusal=poison.said(refusal, line, number, plan.why).text())
        return True
    n = cuts.next_number(conn, part.batch_id)
    for at, row in enumerate(_heirs(part, refusal, plan, facts, folder)):
        parts.insert(conn, structs.replace(row, n=n + at))
    parts.move(conn, part, "replaced")
    detail = f"{len(facts.out)} lines out, {len(facts.pieces)} parts"
    batches.event(conn, part.batch_id, part.n, desk.now(), "cut", detail)
    return True


def _heirs(part: PartRow, refusal: StoredRefusal, plan: Cutting, facts: CutFacts, folder: str) -> list[PartRow]:
    """Return the parts that take the place of this one; their numbers are yet to be given."""
    words = {line.record: line for line in plan.out}
    alone = [
        _alone(part, poison.said(refusal, words[line.record], line.number, poison.ALONE), line) for line in facts.out
    ]
    smaller = [_smaller(part, piece, folder) for piece in facts.pieces]
    if plan.rest:  # the provider named more lines than are taken out
        text = poison.said(refusal, None, None, poison.TOO_MANY).text()
        smaller = [structs.replace(row, state="refused", refusal=text, due_at=None) for row in smaller]
    return alone + smaller


def _alone(part: PartRow, refusal: StoredRefusal, line: TakenOut) -> PartRow:
    """Return the part of a line that was taken out. It is refused from the start and has no document."""
    own = _of(part, line.ordinal, line.ordinal, lines=1, mark=line.mark, bytes=0, sha256="", file="")
    return structs.replace(own, state="refused", refusal=refusal.text(), job=part.job, due_at=None)


def _smaller(part: PartRow, piece: Piece, folder: str) -> PartRow:
    facts = {"lines": piece.lines, "bytes": piece.bytes, "sha256": piece.sha256, "mark": piece.mark}
    return _of(part, piece.first, piece.last, file=f"{folder}/{piece.file}", **facts)


def _of(part: PartRow, first: int, last: int, **facts: Any) -> PartRow:
    """Return a part with lines of another one, for the same target."""
    own = StoredCut(part.n, cuts.root_of(part), first, last).text()
    known = {
        name: getattr(part, name) for name in ("batch_id", "slug", "provider", "endpoint", "model", "partition_key")
    }
    return PartRow(n=0, state="planned", due_at=0.0, cut=own, **known, **facts)
