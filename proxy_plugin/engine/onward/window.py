"""The last part of a batch's window, in which no job is begun or waited for any more: lines go by ordinary calls."""

from __future__ import annotations

from proxy_plugin.engine.desk import Desk
from proxy_plugin.lines.onward.rescue import TOO_LATE as CODE
from proxy_plugin.providers.base import Refused
from proxy_plugin.routing.reach import may_be_called
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, rescues
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal

CALLS_BEGIN = "calls begin"  # event
TOO_LATE = Refused("No job is begun so near to the end of the completion window.", code=CODE)


def calls_begin(desk: Desk, batch: BatchRow) -> float | None:
    """Return from when on no job is begun; None: jobs are begun to the end, as it is said or nobody can be called."""
    if '"direct_before"' not in batch.route:  # every admission and poll comes here: most routes are not decoded for it
        return None
    route = desk.route(batch)
    before = route.rescue.direct_before if route.rescue else None
    return None if before is None or not may_be_called(route) else batch.expires_at - before


def jobs_are_begun(desk: Desk, batch: BatchRow) -> bool:
    """Tell whether jobs are still begun for a batch, and waited for."""
    begin = calls_begin(desk, batch)
    return begin is None or desk.now() < begin


def gives_way(desk: Desk, part: PartRow, batch: BatchRow) -> bool:
    """Tell whether a part is to be ended so that its lines go by ordinary calls."""
    goes_on = part.way == "native" and part.goes_on is not None and batch.stopping is None
    return goes_on and not jobs_are_begun(desk, batch)


async def left(desk: Desk, part: PartRow, batch: BatchRow) -> bool:
    """Let the lines of a part that was not sent go by ordinary calls, where it is time for that; tell whether."""
    return gives_way(desk, part, batch) and await desk.write(_leave, part, desk.now())


def _leave(conn: Connection, part: PartRow, now: float) -> bool:
    if not rescues.goes_on(conn, part, "refused", part.lines):
        return False
    rescues.end(conn, part, "refused", refusal=StoredRefusal.of(TOO_LATE).text())
    batches.event(conn, part.batch_id, part.n, now, "refused", TOO_LATE.code)
    return True
