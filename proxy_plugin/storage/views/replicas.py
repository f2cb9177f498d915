"""Which replicas share the database, and what each does at this moment. Read, never written, here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxy_plugin.storage.connection import Connection

_REPLICAS = "SELECT name, version, started_at, seen_at, gone_at FROM replicas ORDER BY seq"
_CLAIMS = """
    SELECT holder, claims.kind, CASE claims.kind
        WHEN 'file' THEN (SELECT state FROM files WHERE files.id = claims.id)
        WHEN 'batch' THEN (SELECT state FROM batches WHERE batches.id = claims.id)
        WHEN 'part' THEN (SELECT state FROM parts WHERE parts.batch_id = claims.id AND parts.n = claims.n)
        WHEN 'clearing' THEN (SELECT state FROM clearings c WHERE c.batch_id = claims.id AND c.part = claims.n)
        ELSE claims.id END,
        (SELECT s.state FROM submissions s WHERE claims.kind = 'part' AND s.batch_id = claims.id AND s.part = claims.n
            ORDER BY s.n DESC LIMIT 1)
    FROM claims WHERE until > ? ORDER BY holder
"""  # a claim that is over may be anybody's


class Standing(NamedTuple):
    """One replica. Times are Unix seconds; `gone_at`: since when the database has no session of it."""

    name: str
    version: str
    started_at: float
    seen_at: float
    gone_at: float | None


class Claimed(NamedTuple):
    """One claim, by what it is of: kind and state of a row, and of a part's newest submission; a duty's name."""

    holder: str
    kind: str
    state: str | None
    submission: str | None


def standing(conn: Connection) -> list[Standing]:
    """Return the replicas that are known, the oldest first."""
    return [Standing(*tuple(row)) for row in conn.execute(_REPLICAS)]


def claimed(conn: Connection, now: float) -> Sequence[Claimed]:
    """Return what is claimed now."""
    return [Claimed(*tuple(row)) for row in conn.execute(_CLAIMS, (now,))]


def both(conn: Connection, now: float) -> tuple[list[Standing], Sequence[Claimed]]:
    """Return replicas and claims as they are at one moment."""
    return standing(conn), claimed(conn, now)
