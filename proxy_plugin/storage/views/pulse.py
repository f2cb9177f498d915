"""Whether a batch has changed: a few numbers that are others whenever what is shown of it is another."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from proxy_plugin.storage.connection import Connection

_OWN = (
    "SELECT state, total, completed, failed, cached, cancelling_at, deadline_at, usage IS NULL FROM batches"
    " WHERE id = ? AND workspace = ?"
)
_PARTS = (
    "SELECT state, note, COUNT(*), SUM(completed), SUM(failed), COUNT(job), COUNT(rescue) FROM parts WHERE batch_id = ?"
    " GROUP BY state, note ORDER BY state, note"
)
_WAITS = "SELECT rank, code, MIN(since), COUNT(*) FROM waits WHERE batch_id = ? GROUP BY rank, code ORDER BY rank, code"
_LATEST = "SELECT MAX(seq) FROM events WHERE batch_id = ?"


def version(conn: Connection) -> Hashable:
    """Return what is another when anything was written since: who sees the same one need not look."""
    found: Hashable = conn.execute("PRAGMA data_version").fetchone()[0]
    return found


def of_batches(conn: Connection, workspace: str, batch_ids: Iterable[str]) -> dict[str, tuple[Hashable, ...]]:
    """Return the pulse of each batch that the workspace can see; its state comes first."""
    found = {}
    for batch_id in batch_ids:
        row = conn.execute(_OWN, (batch_id, workspace)).fetchone()
        if row is not None:
            found[batch_id] = (*row, *_rows(conn, _WAITS, batch_id))
    return found


def with_jobs(conn: Connection, batch_id: str) -> tuple[Hashable, ...]:
    """Return the pulse of a batch's jobs and of what happened to it."""
    return *_rows(conn, _PARTS, batch_id), *_rows(conn, _LATEST, batch_id)


def _rows(conn: Connection, query: str, batch_id: str) -> list[tuple[Hashable, ...]]:
    return [tuple(row) for row in conn.execute(query, (batch_id,))]
