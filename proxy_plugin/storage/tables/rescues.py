"""Parts whose failed lines go on to other parts, and those others: what is told of both in the column `rescue`.

A part gets here only when nothing of it can bill any more: its job has ended, or is proven to have run nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import structs

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import WOKEN, batches, columns, cuts, many, parts, submissions
from proxy_plugin.storage.tables.parts import PartRow

RESCUING = "rescuing"
_COLUMNS = columns(PartRow)


class StoredRescue(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a part that a rescue has made, or whose lines go on, or both.

    It has lines that failed in the parts `of`; `assignment`, a file within the batch's folder, tells which. `depth`: of
    how many parts in a row its lines had come before.
    `ends` is the state that it has when those of its own lines that failed have gone on, `went` how many have. `late`:
    the folder of rows that were found when its job was looked at once more, "" where there were none.
    """

    of: tuple[int, ...] = ()
    depth: int = 0
    assignment: str | None = None
    ends: str | None = None
    went: int = 0
    late: str | None = None

    def text(self) -> str:
        """Return the value of the column `rescue`."""
        return msgspec.json.encode(self).decode()


_NONE = StoredRescue()
_read = msgspec.json.Decoder(StoredRescue).decode


def rescue_of(part: PartRow) -> StoredRescue:
    """Return what is known of a part's rescue; nothing of one that has to do with none."""
    return _NONE if part.rescue is None else _read(part.rescue)


def end(conn: Connection, part: PartRow, state: str, **changes: Any) -> PartRow:
    """Move a part to its end, `collected` or `refused`; where lines of it go on, let that be done first."""
    if not goes_on(conn, part, state, changes.get("failed", part.lines)):
        return parts.move(conn, part, state, **changes)
    known = structs.replace(rescue_of(part), ends=state)
    counts = {"completed": changes.get("completed", 0), "failed": 0}  # how many stay failed is not known yet
    return parts.move(conn, part, RESCUING, **changes | counts | {"due_at": 0.0, "rescue": known.text()})


def goes_on(conn: Connection, part: PartRow, state: str, failed: int) -> bool:
    """Tell whether `failed` lines of a part that ends so may be asked elsewhere.

    Not where its batch stops. And not where a job of it may still bill: one that was lost, or given up on a guess.
    """
    batch = batches.get(conn, part.batch_id) if part.goes_on is not None and failed else None
    if batch is None or batch.stopping is not None:
        return False
    if state == "refused":
        return cuts.nothing_ran(conn, part)
    return not submissions.guessed(conn, part)


def refused_from_the_start(part: PartRow) -> PartRow:
    """Return a new part whose lines are refused, and go on where lines of it do."""
    if part.goes_on is None:
        return structs.replace(part, state="refused", failed=part.lines, due_at=None)
    known = structs.replace(rescue_of(part), ends="refused").text()
    return structs.replace(part, state=RESCUING, failed=0, due_at=0.0, rescue=known)


def finish(conn: Connection, part: PartRow, went: int = 0) -> PartRow:
    """End a part of whose lines so many have gone on; the others have an answer, or have failed."""
    known = structs.replace(rescue_of(part), went=went)
    assert known.ends is not None
    failed = max(part.lines - part.completed - went, 0)
    return parts.move(conn, part, known.ends, completed=part.completed, failed=failed, rescue=known.text())


def waiting(conn: Connection, batch_id: str) -> list[PartRow]:
    """Return the parts of a batch whose lines are to go on."""
    query = f"SELECT {_COLUMNS} FROM parts WHERE batch_id = ? AND state = ? ORDER BY n"
    return many(PartRow, conn.execute(query, (batch_id, RESCUING)))


class Rescued(NamedTuple):
    """How many lines of a batch have gone on, each time counted, and into how many parts."""

    lines: int
    parts: int


_MADE = "rescue IS NOT NULL AND cut IS NULL AND json_extract(rescue, '$.assignment') IS NOT NULL"


def of_batches(conn: Connection, batch_ids: Iterable[str]) -> dict[str, Rescued]:
    """Return what has gone on of each of the batches; those of which nothing has are left out."""
    query = f"SELECT COALESCE(SUM(lines), 0), COUNT(*) FROM parts WHERE batch_id = ? AND {_MADE}"
    found = {each: Rescued(*tuple(conn.execute(query, (each,)).fetchone())) for each in batch_ids}
    return {batch_id: rescued for batch_id, rescued in found.items() if rescued.parts}


def totals(conn: Connection) -> dict[str, int]:
    """Return how many lines went on to each virtual key, of all batches that are known."""
    return {row[0]: row[1] for row in conn.execute(f"SELECT slug, SUM(lines) FROM parts WHERE {_MADE} GROUP BY slug")}


def wake(conn: Connection, batch_id: str) -> None:
    """Let the engine look at once at the parts of a batch whose lines are to go on."""
    conn.execute(f"UPDATE parts SET due_at = {WOKEN} WHERE batch_id = ? AND state = ?", (batch_id, RESCUING))
