"""Which parts are answered by ordinary calls now: turns are rows, so that they outlive the process."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from proxy_plugin.engine import polls, waiting
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.waiting import Cause
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import answering, batches, parts, rescues, waits
from proxy_plugin.storage.tables.parts import PartRow, results_of
from proxy_plugin.storage.tables.queues import NO_PLACE

QUEUE_PAUSE = 3600.0  # seconds until a part asks by itself; one that ends its turn wakes the first


def admit(conn: Connection, desk: Desk, part: PartRow) -> None:
    """Let a part be answered when it is its turn. One that has answers is never dropped: a stopping one brings them."""
    batch = batches.get(conn, part.batch_id)
    assert batch is not None
    if batch.stopping:
        if results_of(part).folder is None:
            parts.move(conn, part, "dropped", end_reason=batch.stopping)
        else:
            parts.move(conn, part, "answering")
        return
    due_at = desk.now() + polls.jittered(desk, QUEUE_PAUSE)
    queued = parts.change(conn, part, due_at=due_at, note=NO_PLACE)
    first = answering.first(conn, _most(desk))
    if first is not None and (first.batch_id, first.n) == (part.batch_id, part.n):
        parts.move(conn, queued, "answering", tries=part.tries)
        answering.served(conn, part.slug, batch.workspace)
        answering.wake_first(conn, _most(desk))
        return
    waiting.store(conn, waiting.of_part(desk, part, Cause(waits.NO_PLACE), due_at))
    answering.wake_first(conn, _most(desk))


def leave(conn: Connection, /, desk: Desk, part: PartRow, state: str, **changes: Any) -> PartRow:
    """Move a part on, and let the next have its place. Where it is refused its lines may go on elsewhere."""
    move = rescues.end if state == "refused" else parts.move
    moved = move(conn, part, state, **changes)
    answering.wake_first(conn, _most(desk))
    return moved


def rest(conn: Connection, /, desk: Desk, part: PartRow, cause: Cause, pause: float, **changes: Any) -> None:
    """Give the place to others while the account cannot be asked, and say why; the wait goes on where it was that."""
    due_at, was = desk.now() + pause, waits.get(conn, part.batch_id, part.n)
    changes = {"due_at": due_at, "tries": part.tries + 1, **changes}
    moved = leave(conn, desk, part, "planned", **changes)
    wait = waiting.of_part(desk, moved, cause, due_at)
    if moved.missing_since is not None:
        wait = structs.replace(wait, since=moved.missing_since)
    waiting.store(conn, wait, goes_on=was is not None and was.reason == wait.reason)


def _most(desk: Desk) -> int:
    return desk.gateway.config.engine.direct_workers
