"""Replicas: which gateways share this database, when each was last heard of, and since when one is known to be gone.

`gone_at` is not about silence: a replica that is stopped says nothing and may go on. It is gone from the first look at
which the database has no session of it any more.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, many, one

FORGOTTEN = 7 * 86_400.0  # seconds after which one that is gone is shown no more: a sender is asked for until then


class ReplicaRow(msgspec.Struct, frozen=True, kw_only=True):
    """One life of one gateway. `seq` numbers its lock in the database; times are Unix seconds."""

    seq: int
    name: str
    version: str
    started_at: float
    seen_at: float
    gone_at: float | None = None


_COLUMNS = columns(ReplicaRow)


def begin(conn: Connection, name: str, version: str, now: float) -> int:
    """Write down that a replica begins; return the number of its lock. Those that are long gone are forgotten."""
    conn.execute("DELETE FROM replicas WHERE gone_at < ?", (now - FORGOTTEN,))
    query = "INSERT INTO replicas (name, version, started_at, seen_at) VALUES (?, ?, ?, ?) RETURNING seq"
    return int(conn.execute(query, (name, version, now, now)).fetchone()[0])


def seen(conn: Connection, name: str, now: float) -> None:
    """Write down that a replica was heard of."""
    conn.execute("UPDATE replicas SET seen_at = ? WHERE name = ?", (now, name))


def end(conn: Connection, name: str, now: float) -> None:
    """Write down that a replica has ended by itself: it sends nothing any more."""
    conn.execute("UPDATE replicas SET gone_at = COALESCE(gone_at, ?) WHERE name = ?", (now, name))


def every(conn: Connection) -> list[ReplicaRow]:
    """Return all that are known, the oldest first."""
    return many(ReplicaRow, conn.execute(f"SELECT {_COLUMNS} FROM replicas ORDER BY seq"))


def get(conn: Connection, name: str) -> ReplicaRow | None:
    """Return one replica, None where it was forgotten."""
    return one(ReplicaRow, conn.execute(f"SELECT {_COLUMNS} FROM replicas WHERE name = ?", (name,)))


def note(conn: Connection, locked: Collection[int], now: float) -> None:
    """Write down who is gone, and who is not, after a look at which locks are held."""
    for row in every(conn):
        if row.seq in locked and row.gone_at is not None:
            conn.execute("UPDATE replicas SET gone_at = NULL WHERE seq = ?", (row.seq,))
        elif row.seq not in locked and row.gone_at is None:
            conn.execute("UPDATE replicas SET gone_at = ? WHERE seq = ?", (now, row.seq))
