"""Waits: what a part, or a batch as a whole, rests for, since when, and when it is tried again.

A row is there while something rests for a reason that somebody may want to know. It changes nothing of what the engine
does but for billing refusals, which end a part after `PATIENCE`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import WOKEN, columns, many, one

BILLING = "billing"
NEEDS_CREDENTIALS = "needs_credentials"
KEY_MISSING = "key_missing"
INTERNAL_ERROR = "internal_error"
WORK_BUDGET = "work_budget"
OUTCOME_UNKNOWN = "outcome_unknown"
JOB_UNREADABLE = "job_unreadable"
PROVIDER_QUOTA = "provider_quota"
RATE_LIMITED = "rate_limited"
PROVIDER_PAUSE = "provider_pause"
PROVIDER_AT_WORK = "provider_at_work"
PROVIDER_UNREACHABLE = "provider_unreachable"
PROVIDER_ERROR = "provider_error"
RESULTS_LATE = "results_late"
NO_TURN = "no_turn"
NO_ROOM = "no_room"
NO_PLACE = "no_place"
PICTURES = "pictures"
WORKSPACE_FULL = "workspace_full"
DISK_FULL = "disk_full"
STORE_AWAY = "store_unreachable"
REASONS = (  # what a person can end comes first; a batch shows the oldest of the first reason that it has
    *(BILLING, NEEDS_CREDENTIALS, KEY_MISSING, WORKSPACE_FULL, DISK_FULL, STORE_AWAY, INTERNAL_ERROR, WORK_BUDGET),
    *(OUTCOME_UNKNOWN, JOB_UNREADABLE, PROVIDER_QUOTA),
    *(RATE_LIMITED, PROVIDER_PAUSE, PROVIDER_UNREACHABLE, PROVIDER_ERROR, PROVIDER_AT_WORK),
    *(RESULTS_LATE, NO_TURN, NO_ROOM, NO_PLACE, PICTURES),
)
PATIENCE = 3600.0  # seconds of billing refusals after which a part is given up
WHOLE = -1  # in place of a part: the batch itself waits
_RANK = {reason: rank for rank, reason in enumerate(REASONS)}
_SILENT = frozenset(  # they take no billing refusal back
    {PROVIDER_PAUSE, PROVIDER_UNREACHABLE, PROVIDER_ERROR, PROVIDER_AT_WORK}
)


class WaitRow(msgspec.Struct, frozen=True, kw_only=True):
    """One wait. `code` and `said` are the provider's own words, masked; `detail` is ours; each may be empty.

    `since` and `next_at` are Unix seconds.
    """

    batch_id: str
    part: int
    reason: str
    since: float
    next_at: float
    slug: str = ""
    code: str = ""
    said: str = ""
    detail: str = ""


class Waiting(NamedTuple):
    """How many parts and batches wait for one thing on one virtual key, for operators."""

    slug: str
    reason: str
    code: str
    waiting: int
    since: float
    next_at: float


_COLUMNS = columns(WaitRow)
_NAMES = WaitRow.__struct_fields__
_NAMED = ", ".join(f":{name}" for name in _NAMES)
_FOREMOST = f"SELECT {_COLUMNS} FROM waits WHERE batch_id = ? ORDER BY rank, since LIMIT 1"
_SETS = ", ".join(f"{name} = excluded.{name}" for name in (*_NAMES, "rank") if name not in ("batch_id", "part"))


def note(conn: Connection, row: WaitRow, *, goes_on: bool = False) -> bool:
    """Write down what is waited for now; tell whether that is news of its batch, to be logged.

    The same reason keeps its beginning. `goes_on`: an earlier wait, which a try has interrupted, is taken up again.
    """
    was = get(conn, row.batch_id, row.part)
    if was is not None and was.reason == BILLING and row.reason in _SILENT:
        row = msgspec.structs.replace(was, next_at=row.next_at)
    elif was is not None and was.reason == row.reason:
        row = msgspec.structs.replace(row, since=min(was.since, row.since))
    news = not goes_on and (was is None or was.reason != row.reason) and _is_first(conn, row)
    query = f"INSERT INTO waits ({_COLUMNS}, rank) VALUES ({_NAMED}, :rank) ON CONFLICT (batch_id, part) DO UPDATE SET"
    conn.execute(f"{query} {_SETS}", msgspec.structs.asdict(row) | {"rank": _RANK[row.reason]})
    return news


def _is_first(conn: Connection, row: WaitRow) -> bool:
    """Tell whether no other part of the batch waits for the same already: a thousand parts are no thousand news."""
    query = "SELECT 1 FROM waits WHERE batch_id = ? AND rank = ? AND part <> ? LIMIT 1"
    return conn.execute(query, (row.batch_id, _RANK[row.reason], row.part)).fetchone() is None


def over(conn: Connection, batch_id: str, part: int = WHOLE) -> None:
    """Forget what a part, or the batch itself, has waited for."""
    conn.execute("DELETE FROM waits WHERE batch_id = ? AND part = ?", (batch_id, part))


def all_over(conn: Connection, batch_id: str) -> None:
    """Forget the waits of a batch that has ended."""
    conn.execute("DELETE FROM waits WHERE batch_id = ?", (batch_id,))


def wake_full(conn: Connection, most: int) -> None:
    """Let those be tried again that wait for room, the first that began to wait; no more than `most` of them."""
    query = "SELECT batch_id, part FROM waits WHERE reason IN (?, ?) ORDER BY since LIMIT ?"
    for batch_id, part in conn.execute(query, (WORKSPACE_FULL, DISK_FULL, most)).fetchall():
        table, where = ("batches", "id = ?") if part == WHOLE else ("parts", "batch_id = ? AND n = ?")
        named = (batch_id,) if part == WHOLE else (batch_id, part)
        at_once = 0 if part == WHOLE else WOKEN
        conn.execute(f"UPDATE {table} SET due_at = {at_once} WHERE {where} AND due_at IS NOT NULL", named)


def get(conn: Connection, batch_id: str, part: int) -> WaitRow | None:
    """Return what a part, or the batch itself, waits for."""
    return one(WaitRow, conn.execute(f"SELECT {_COLUMNS} FROM waits WHERE batch_id = ? AND part = ?", (batch_id, part)))


def foremost(conn: Connection, batch_ids: Iterable[str]) -> dict[str, WaitRow]:
    """Return of each batch that waits for anything the wait to show: one read of an index each."""
    found = (one(WaitRow, conn.execute(_FOREMOST, (batch_id,))) for batch_id in batch_ids)
    return {row.batch_id: row for row in found if row is not None}


def of_batch(conn: Connection, batch_id: str) -> dict[int, WaitRow]:
    """Return the waits of a batch by part."""
    rows = many(WaitRow, conn.execute(f"SELECT {_COLUMNS} FROM waits WHERE batch_id = ?", (batch_id,)))
    return {row.part: row for row in rows}


def totals(conn: Connection) -> list[Waiting]:
    """Return all waits, by virtual key, reason and code."""
    rows = conn.execute(
        "SELECT slug, reason, code, COUNT(*), MIN(since), MIN(next_at) FROM waits GROUP BY slug, reason, code"
    )
    return [Waiting(*tuple(row)) for row in rows]
