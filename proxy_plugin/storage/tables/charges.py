"""What batches cost keys of LiteLLM's: estimated while a batch is open, then known, then told to LiteLLM, once.

A charge is `open` until its batch ends. In that transaction it becomes `due` with the report that LiteLLM is to have,
or `nothing` where there is none. It is `told` when LiteLLM has said that it has the report.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy_plugin.costs.allowed import SetAside
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, many


class ChargeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One batch of a key of LiteLLM's. `tokens` and `cost` (US dollars) are estimates until it has ended."""

    batch_id: str
    key_hash: str
    team_id: str | None = None
    state: str = "open"
    tokens: int = 0
    cost: float = 0.0
    report: str | None = None  # JSON
    due_at: float | None = None
    tries: int = 0


_COLUMNS = columns(ChargeRow)
_NAMED = ", ".join(f":{name}" for name in ChargeRow.__struct_fields__)
_HELD = (
    "SELECT COUNT(CASE state WHEN 'open' THEN 1 END), COALESCE(SUM(CASE state WHEN 'open' THEN tokens END), 0),"
    " COALESCE(SUM(cost), 0.0)"
    " FROM charges WHERE state IN ('open', 'due') AND batch_id <> ? AND "
)


def insert(conn: Connection, row: ChargeRow) -> None:
    """Add the charge of a batch that may go on, unless it has one."""
    query = f"INSERT INTO charges ({_COLUMNS}) VALUES ({_NAMED}) ON CONFLICT (batch_id) DO NOTHING"
    conn.execute(query, msgspec.structs.asdict(row))


def held(conn: Connection, batch_id: str, key_hash: str) -> SetAside:
    """Return what other batches of a key hold: what LiteLLM does not know of yet."""
    return _held(conn.execute(f"{_HELD} key_hash = ?", (batch_id, key_hash)))


def held_by_team(conn: Connection, batch_id: str, team_id: str) -> SetAside:
    """Return what other batches of a team hold."""
    return _held(conn.execute(f"{_HELD} team_id = ?", (batch_id, team_id)))


def _held(found: Any) -> SetAside:
    batches, tokens, cost = found.fetchone()
    return SetAside(batches, int(tokens), cost)


def ended(conn: Connection, batch_id: str, report: str, cost: float, now: float) -> None:
    """Have the report of a batch sent. Its state must change in the same transaction."""
    query = "UPDATE charges SET state = 'due', report = ?, cost = ?, due_at = ? WHERE batch_id = ? AND state = 'open'"
    conn.execute(query, (report, cost, now, batch_id))


def close(conn: Connection, batch_id: str) -> None:
    """Hold nothing any more for a batch that has ended without a report."""
    conn.execute("UPDATE charges SET state = 'nothing' WHERE batch_id = ? AND state = 'open'", (batch_id,))


def due(conn: Connection, now: float, limit: int) -> list[ChargeRow]:
    """Return the charges whose report is to be sent now, the oldest first."""
    query = f"SELECT {_COLUMNS} FROM charges WHERE due_at <= ? ORDER BY due_at LIMIT ?"
    return many(ChargeRow, conn.execute(query, (now, limit)))


def next_due(conn: Connection) -> float | None:
    """Return when the next report is due, None if there is none."""
    row = conn.execute("SELECT MIN(due_at) FROM charges WHERE due_at IS NOT NULL").fetchone()
    return None if row is None else row[0]


def told(conn: Connection, batch_id: str) -> None:
    """Remember that LiteLLM has the report."""
    conn.execute("UPDATE charges SET state = 'told', due_at = NULL WHERE batch_id = ?", (batch_id,))


def later(conn: Connection, batch_id: str, due_at: float) -> None:
    """Send the report again at `due_at`."""
    query = "UPDATE charges SET due_at = ?, tries = tries + 1 WHERE batch_id = ? AND state = 'due'"
    conn.execute(query, (due_at, batch_id))


def get(conn: Connection, batch_id: str) -> ChargeRow | None:
    """Return the charge of a batch, None if no key of LiteLLM's made it."""
    query = f"SELECT {_COLUMNS} FROM charges WHERE batch_id = ?"
    return next(iter(many(ChargeRow, conn.execute(query, (batch_id,)))), None)
