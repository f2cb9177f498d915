"""What wants a step now, by workspace.

What a look costs depends on how many workspaces have something to do and on how much is asked for, never on how much
waits: every query here seeks in an index on (workspace, due time, order of creation).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, zip_longest
from typing import NamedTuple

from proxy_plugin.storage.connection import Connection

_TABLES = ("parts", "batches", "files", "clearings")
_KINDS = {  # columns of a row's name, and the order within a workspace
    "parts": ("'part', batch_id, n", "due_at, place, n"),
    "batches": ("'batch', id, 0", "due_at, seq"),
    "files": ("'file', id, 0", "due_at, seq"),
    "clearings": ("'clearing', batch_id, part", "due_at, place, part"),
}


class Due(NamedTuple):
    """A row that wants a step: its kind (part, batch, file, clearing), its id or its batch's, and a part's number."""

    kind: str
    id: str
    n: int


def workspaces(conn: Connection, now: float) -> list[str]:
    """Return the workspaces for which something is to be done now."""
    found: dict[str, None] = {}
    for table in _TABLES:
        found.update((row[0], None) for row in conn.execute(_workspaces(table), {"now": now}))
    return list(found)


def _workspaces(table: str) -> str:
    """Return a query that goes from one workspace to the next, whatever each of them has waiting."""
    return (
        f"WITH RECURSIVE every (name) AS (SELECT MIN(workspace) FROM {table} WHERE due_at IS NOT NULL UNION ALL"
        f" SELECT (SELECT MIN(workspace) FROM {table} WHERE due_at IS NOT NULL AND workspace > every.name)"
        " FROM every WHERE every.name IS NOT NULL)"
        f" SELECT name FROM every WHERE EXISTS (SELECT 1 FROM {table} WHERE workspace = every.name AND due_at <= :now)"
    )


def rows(conn: Connection, now: float, limit: Callable[[str, int], int]) -> dict[str, list[Due]]:
    """Return what wants a step now, each workspace's in turns of parts, batches and files, what is cleared last.

    `limit` is asked for how many of each kind a workspace may have, given its name and how many workspaces there are.
    """
    found = workspaces(conn, now)
    return {name: of_workspace(conn, name, now, limit(name, len(found))) for name in found}


def of_workspace(conn: Connection, workspace: str, now: float, limit: int) -> list[Due]:
    """Return what a workspace has due, at most `limit` of each kind: longest due first, then in order of creation."""
    kinds = [[Due(*tuple(row)) for row in conn.execute(_due(table), (workspace, now, limit))] for table in _TABLES]
    in_turns = [each for each in chain.from_iterable(zip_longest(*kinds[:-1])) if each is not None]
    return in_turns + kinds[-1]


def _due(table: str) -> str:
    names, order = _KINDS[table]
    return f"SELECT {names} FROM {table} WHERE workspace = ? AND due_at <= ? ORDER BY {order} LIMIT ?"


def next_after(conn: Connection, now: float) -> float | None:
    """Return when, after `now`, the next row wants a step."""
    queries = (f"SELECT MIN(due_at) FROM {table} WHERE due_at > ?" for table in _TABLES)
    times = (conn.execute(query, (now,)).fetchone()[0] for query in queries)
    return min((time for time in times if time is not None), default=None)


class Overdue(NamedTuple):
    """A running part whose poll is late."""

    batch_id: str
    n: int
    due_at: float
    accepted_at: float | None


def overdue_polls(conn: Connection, now: float) -> list[Overdue]:
    """Return running parts that should have been polled by now, workspaces in turns. One that was woken is not among
    them: somebody wants it to be looked at.
    """
    query = (
        "SELECT batch_id, n, due_at, accepted_at FROM parts WHERE state = 'running' AND due_at > 0 AND due_at <= ?"
        " ORDER BY ROW_NUMBER() OVER (PARTITION BY workspace ORDER BY due_at), due_at"
    )
    return [Overdue(*tuple(row)) for row in conn.execute(query, (now,))]


def put_off(conn: Connection, poll: Overdue, due_at: float) -> None:
    """Poll later, unless the part was woken or moved meanwhile."""
    query = "UPDATE parts SET due_at = ? WHERE batch_id = ? AND n = ? AND state = 'running' AND due_at = ?"
    conn.execute(query, (due_at, poll.batch_id, poll.n, poll.due_at))
