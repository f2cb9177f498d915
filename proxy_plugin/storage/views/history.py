"""What happened to a batch: the rows of `events`, first first, each with the place of its part."""

from __future__ import annotations

import msgspec

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import many

_QUERY = (
    "SELECT e.seq, e.at, e.what, e.detail, e.part, p.provider, p.slug, p.model FROM events e"
    " LEFT JOIN parts p ON p.batch_id = e.batch_id AND p.n = e.part"
    " WHERE e.batch_id = ? AND e.seq > ? ORDER BY e.seq LIMIT ?"
)


class Happened(msgspec.Struct, frozen=True):
    """One row, in the order of the query's columns. `at` is Unix seconds; `detail` has no content and no secret."""

    seq: int
    at: float
    what: str
    detail: str | None
    part: int | None
    provider: str | None
    virtual_key: str | None
    model: str | None


def of_batch(conn: Connection, batch_id: str, after: int, limit: int) -> list[Happened]:
    """Return up to `limit` of what happened to a batch behind the row `after`."""
    return many(Happened, conn.execute(_QUERY, (batch_id, after, limit)))
