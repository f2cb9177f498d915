"""Clearings: what parts may have left in a store of their account, until it is taken away.

A row is there from the transaction after which the first byte of a part may be stored, and goes with the proof that
nothing is left. Only lanes with the power `Leaves` have any. It is held while the part needs what it stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, one

if TYPE_CHECKING:
    from proxy_plugin.storage.tables.parts import PartRow


class ClearingRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one part may have left. `stagings` is a JSON list of what each staging returned, {} where it has not ended.

    `sealed` are the credentials of a caller, kept beyond the end of the batch. `since`: the first try, Unix seconds.
    """

    batch_id: str
    part: int
    slug: str
    state: str
    stagings: str
    sealed: str | None = None
    since: float | None = None
    due_at: float | None = None
    tries: int = 0


Staged = dict[str, str]
UNFINISHED: Staged = {}
_COLUMNS = columns(ClearingRow)
_read = msgspec.json.Decoder(list[Staged]).decode


def stagings_of(row: ClearingRow) -> list[Staged]:
    """Return what each staging of the part returned, the first first."""
    return _read(row.stagings)


def get(conn: Connection, batch_id: str, part: int) -> ClearingRow | None:
    """Return what one part may have left, None where it has left nothing."""
    query = f"SELECT {_COLUMNS} FROM clearings WHERE batch_id = ? AND part = ?"
    return one(ClearingRow, conn.execute(query, (batch_id, part)))


def begin(conn: Connection, part: PartRow) -> None:
    """Write down that a staging of the part begins. One that has not ended goes on."""
    row = get(conn, part.batch_id, part.n)
    if row is None:
        conn.execute(
            "INSERT INTO clearings (batch_id, part, slug, workspace, place, state, stagings)"
            " SELECT id, ?, ?, workspace, seq, 'held', ? FROM batches WHERE id = ?",
            (part.n, part.slug, _text([UNFINISHED]), part.batch_id),
        )
    elif UNFINISHED not in stagings_of(row):
        _store(conn, part, [*stagings_of(row), UNFINISHED])


def staged(conn: Connection, part: PartRow, found: Staged) -> None:
    """Write down what a staging returned, in the transaction that makes the part staged."""
    row = get(conn, part.batch_id, part.n)
    if row is not None:
        others = [each for each in stagings_of(row) if each not in (UNFINISHED, found)]
        _store(conn, part, [*others, found])


def _store(conn: Connection, part: PartRow, found: Iterable[Staged]) -> None:
    query = "UPDATE clearings SET stagings = ? WHERE batch_id = ? AND part = ?"
    conn.execute(query, (_text(found), part.batch_id, part.n))


def _text(found: Iterable[Staged]) -> str:
    return msgspec.json.encode(list(found)).decode()


def release(conn: Connection, batch_id: str, part: int | None = None) -> None:
    """Let be cleared what a part that has ended left, or all parts of a batch, but for those that are looked into.

    A part that is audited is released when that is over.
    """
    query = (
        "UPDATE clearings SET state = 'due', due_at = 0"
        " WHERE batch_id = ? AND state = 'held' AND part = COALESCE(?, part)"
        " AND part NOT IN (SELECT n FROM parts WHERE batch_id = clearings.batch_id AND due_at IS NOT NULL)"
    )
    conn.execute(query, (batch_id, part))


def keep_sealed(conn: Connection, batch_id: str, sealed: str | None = None) -> None:
    """Keep the credentials of a batch's caller, those of its row or those that were given again."""
    query = (
        "UPDATE clearings SET sealed = COALESCE(?, (SELECT sealed FROM batches WHERE id = batch_id), sealed)"
        " WHERE batch_id = ? AND state <> 'left'"
    )
    conn.execute(query, (sealed, batch_id))


def wake(conn: Connection, batch_id: str) -> None:
    """Let the engine look at once at what is to be cleared of a batch."""
    conn.execute("UPDATE clearings SET due_at = 0 WHERE batch_id = ? AND state = 'due'", (batch_id,))


def again(conn: Connection, row: ClearingRow, now: float, due_at: float) -> None:
    """Try again at `due_at`. The first try keeps its time."""
    conn.execute(
        "UPDATE clearings SET due_at = ?, since = COALESCE(since, ?), tries = tries + 1"
        " WHERE batch_id = ? AND part = ? AND state = 'due'",
        (due_at, now, row.batch_id, row.part),
    )


def postpone(conn: Connection, batch_id: str, part: int, due_at: float) -> None:
    """Look at it again at `due_at` and count the try."""
    query = "UPDATE clearings SET due_at = ?, tries = tries + 1 WHERE batch_id = ? AND part = ? AND state = 'due'"
    conn.execute(query, (due_at, batch_id, part))


def done(conn: Connection, row: ClearingRow) -> None:
    """Forget what is cleared."""
    conn.execute("DELETE FROM clearings WHERE batch_id = ? AND part = ?", (row.batch_id, row.part))


def give_up(conn: Connection, row: ClearingRow) -> None:
    """Leave the objects where they are, for an operator. The caller's credentials go."""
    states.check("clearing", row.state, "left")
    query = "UPDATE clearings SET state = 'left', due_at = NULL, sealed = NULL WHERE batch_id = ? AND part = ?"
    conn.execute(query, (row.batch_id, row.part))


def pending(conn: Connection, batch_ids: Iterable[str]) -> set[str]:
    """Return those of the batches whose accounts are still needed to clear something."""
    query = "SELECT 1 FROM clearings WHERE batch_id = ? AND state <> 'left' LIMIT 1"
    return {each for each in batch_ids if conn.execute(query, (each,)).fetchone()}


def totals(conn: Connection) -> list[tuple[str, str, int]]:
    """Return (slug, state, parts) of what is to be cleared, and of what was given up, for operators."""
    rows = conn.execute("SELECT slug, state, COUNT(*) FROM clearings WHERE state <> 'held' GROUP BY slug, state")
    return [(row[0], row[1], row[2]) for row in rows]
