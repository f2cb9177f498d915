"""What wants a step now, by workspace.

What a look costs depends on how many workspaces have something to do and on how much is asked for, never on how much
waits: every query here seeks in an index on (workspace, due time, order of creation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, zip_longest
from typing import NamedTuple

from proxy_plugin.storage.connection import Connection

_TABLES = ("parts", "batches", "files", "clearings")
_NAMES = ("part", "batch", "file", "clearing")
_KINDS = {  # columns of a row's name, and the order within a workspace
    "parts": ("'part', batch_id, n", "due_at, place, n"),
    "batches": ("'batch', id, 0", "due_at, seq"),
    "files": ("'file', id, 0", "due_at, seq"),
    "clearings": ("'clearing', batch_id, part", "due_at, place, part"),
}


def workspaces_of(table: str) -> str:
    """Return a query that goes from one workspace to the next, whatever each of them has waiting."""
    return (
        f"WITH RECURSIVE every (name) AS (SELECT MIN(workspace) FROM {table} WHERE due_at IS NOT NULL UNION ALL"
        f" SELECT (SELECT MIN(workspace) FROM {table} WHERE due_at IS NOT NULL AND workspace > every.name)"
        " FROM every WHERE every.name IS NOT NULL)"
        f" SELECT name FROM every WHERE EXISTS (SELECT 1 FROM {table} WHERE workspace = every.name AND due_at <= :now)"
    )


def _due(table: str) -> str:
    names, order = _KINDS[table]
    return f"SELECT {names} FROM {table} WHERE workspace = ? AND due_at <= ? ORDER BY {order} LIMIT ?"


def _unclaimed(table: str) -> str:
    """Return the query for what no other replica claims: one look into an index for each row that is passed over."""
    names, order = _KINDS[table]
    kind, name, n = names.split(", ")
    of_others = f"c.kind = {kind} AND c.id = {table}.{name} AND c.n = {n if n == '0' else f'{table}.{n}'}"
    others = f"SELECT 1 FROM claims c WHERE {of_others} AND c.until > :ended AND c.holder <> :holder"
    query = f"SELECT {names} FROM {table} WHERE workspace = :name AND due_at <= :now AND NOT EXISTS ({others})"
    return f"SELECT * FROM ({query} ORDER BY {order} LIMIT :limit) AS few_{table}"


# Written once: the connection knows a prepared statement by its text.
_WORKSPACES = {table: workspaces_of(table) for table in _TABLES}
_DUE = {table: _due(table) for table in _TABLES}
_ALL_WORKSPACES = " UNION ".join(f"SELECT name FROM ({workspaces_of(table)}) AS of_{table}" for table in _TABLES)
_UNCLAIMED = " UNION ALL ".join(map(_unclaimed, _TABLES))  # a statement is a round trip where there are replicas
_NEXT = " UNION ALL ".join(f"SELECT MIN(due_at) FROM {table} WHERE due_at > :now" for table in _TABLES)


class Due(NamedTuple):
    """A row that wants a step: its kind (part, batch, file, clearing), its id or its batch's, and a part's number."""

    kind: str
    id: str
    n: int


def workspaces(conn: Connection, now: float) -> list[str]:
    """Return the workspaces for which something is to be done now."""
    found: dict[str, None] = {}
    for table in _TABLES:
        found.update((row[0], None) for row in conn.execute(_WORKSPACES[table], {"now": now}))
    return list(found)


def rows(conn: Connection, now: float, limit: Callable[[str, int], int]) -> dict[str, list[Due]]:
    """Return what wants a step now, each workspace's in turns of parts, batches and files, what is cleared last.

    `limit` is asked for how many of each kind a workspace may have, given its name and how many workspaces there are.
    """
    found = workspaces(conn, now)
    return {name: of_workspace(conn, name, now, limit(name, len(found))) for name in found}


def of_workspace(conn: Connection, workspace: str, now: float, limit: int) -> list[Due]:
    """Return what a workspace has due, at most `limit` of each kind: longest due first, then in order of creation."""
    return _in_turns([[Due(*row) for row in conn.execute(_DUE[table], (workspace, now, limit))] for table in _TABLES])


class Look(NamedTuple):
    """What is looked for: rows that are ready, of so many workspaces as are enough, in the turn of these."""

    in_turn: Callable[[Iterable[str]], list[str]]
    is_ready: Callable[[Due], bool]
    enough: int


def unclaimed(
    conn: Connection, now: float, limit: Callable[[str, int], int], look: Look, holder: str, ended: float
) -> dict[str, list[Due]]:
    """Return what `rows` does, but for what others claim than the holder, by claims that last beyond `ended`.

    Those workspaces come without rows that are not looked at any more: a statement is a round trip.
    """
    told: dict[str, list[Due]] = {row[0]: [] for row in conn.execute(_ALL_WORKSPACES, {"now": now})}
    ready = 0
    for name in look.in_turn(told):
        asked = {"name": name, "now": now, "limit": limit(name, len(told)), "ended": ended, "holder": holder}
        every = [Due(*row) for row in conn.execute(_UNCLAIMED, asked)]
        told[name] = _in_turns([[each for each in every if each.kind == kind] for kind in _NAMES])
        ready += any(map(look.is_ready, every))
        if ready >= look.enough:
            break
    return told


def _in_turns(kinds: list[list[Due]]) -> list[Due]:
    in_turns = [each for each in chain.from_iterable(zip_longest(*kinds[:-1])) if each is not None]
    return in_turns + kinds[-1]


def next_after(conn: Connection, now: float) -> float | None:
    """Return when, after `now`, the next row wants a step."""
    times = [time for (time,) in conn.execute(_NEXT, {"now": now}) if time is not None]
    return min(times, default=None)


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
