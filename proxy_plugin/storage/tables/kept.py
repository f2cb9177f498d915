"""How often kept answers were given, summed up by workspace, in the transaction that makes a split final.

The sums are only added to: they outlive batches, and the answers themselves.
"""

from __future__ import annotations

import msgspec

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, many


class KeptTotal(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a workspace that were answered, with how many bytes, and lines that were looked up in vain."""

    workspace: str
    hits: int
    misses: int
    bytes: int


_COLUMNS = columns(KeptTotal)
_ADD_UP = (
    f"INSERT INTO kept_totals ({_COLUMNS}) VALUES (:workspace, :hits, :misses, :bytes)"
    " ON CONFLICT (workspace) DO UPDATE SET hits = kept_totals.hits + excluded.hits,"
    " misses = kept_totals.misses + excluded.misses, bytes = kept_totals.bytes + excluded.bytes"
)


def add_up(conn: Connection, more: KeptTotal) -> None:
    """Add to the sums of a workspace."""
    if more.hits or more.misses:
        conn.execute(_ADD_UP, msgspec.structs.asdict(more))


def totals(conn: Connection) -> list[KeptTotal]:
    """Return the sums of every workspace."""
    return many(KeptTotal, conn.execute(f"SELECT {_COLUMNS} FROM kept_totals ORDER BY workspace"))
