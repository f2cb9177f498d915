"""The queue of parts that wait for a place on their virtual key: who is first, and who is woken.

First is the workspace that has the fewest jobs there, of equals the one that was served longest ago; of its parts the
one that was created first. No query here goes through all that wait: there is an index on (virtual key, state, note,
workspace, order of creation).
"""

from __future__ import annotations

from typing import NamedTuple

from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import WOKEN

NO_ROOM = "waits for room on its virtual key"
NO_TURN = "waits until the account's last create is resolved"
CALLED = "may be created next on its account"
NO_PLACE = "waits for its turn to be answered"
_STATE = {NO_ROOM: "planned", NO_TURN: "creating", CALLED: "creating", NO_PLACE: "planned"}  # of the parts that wait so
_IN_FLIGHT = ", ".join(f"'{state}'" for state in sorted(states.IN_FLIGHT))
_WAITS = "slug = :slug AND state = :state AND note = :note"
_WORKSPACES = (
    f"WITH RECURSIVE every (name) AS (SELECT MIN(workspace) FROM parts WHERE {_WAITS} UNION ALL"
    f" SELECT (SELECT MIN(workspace) FROM parts WHERE {_WAITS} AND workspace > every.name)"
    " FROM every WHERE every.name IS NOT NULL) "
)
_TAKEN = f"(SELECT COUNT(*) FROM parts WHERE slug = :slug AND state IN ({_IN_FLIGHT}) AND workspace = every.name)"
_SERVED = "(SELECT served FROM turns WHERE slug = :slug AND queue = :note AND workspace = every.name)"
_OLDEST = f"(SELECT MIN(place) FROM parts WHERE {_WAITS} AND workspace = every.name)"
_FAIR = (
    f"{_WORKSPACES} SELECT name FROM every WHERE name IS NOT NULL"
    " ORDER BY {taken} COALESCE(" + _SERVED + ", 0), " + _OLDEST + " LIMIT 1"
)


class Queued(NamedTuple):
    """A part that waits."""

    batch_id: str
    n: int
    workspace: str
    lines: int


def first(conn: Connection, slug: str, note: str = NO_ROOM) -> Queued | None:
    """Return the part whose turn it is. Where all that wait are in flight themselves, only who was served counts."""
    asked = {"slug": slug, "state": _STATE[note], "note": note}
    taken = f"{_TAKEN}, " if note == NO_ROOM else ""
    found = conn.execute(_FAIR.format(taken=taken), asked).fetchone()
    if found is None:
        return None
    query = f"SELECT batch_id, n, workspace, lines FROM parts WHERE {_WAITS} AND workspace = :name"
    row = conn.execute(f"{query} ORDER BY place, n LIMIT 1", asked | {"name": found[0]}).fetchone()
    return Queued(*tuple(row))


def anybody(conn: Connection, slug: str, note: str = NO_ROOM) -> bool:
    """Tell whether anybody waits."""
    asked = {"slug": slug, "state": _STATE[note], "note": note}
    return conn.execute(f"SELECT 1 FROM parts WHERE {_WAITS} LIMIT 1", asked).fetchone() is not None


def length(conn: Connection, slug: str, note: str, most: int) -> int:
    """Return how many wait; `most` of them are counted."""
    asked = {"slug": slug, "state": _STATE[note], "note": note, "most": most}
    query = f"SELECT COUNT(*) FROM (SELECT 1 FROM parts WHERE {_WAITS} LIMIT :most) t"
    return int(conn.execute(query, asked).fetchone()[0])


def wake_first(conn: Connection, slug: str) -> None:
    """Let the engine look at the first that waits for room at once."""
    part = first(conn, slug)
    if part is not None:
        conn.execute(f"UPDATE parts SET due_at = {WOKEN} WHERE batch_id = ? AND n = ?", (part.batch_id, part.n))


def wake_firsts(conn: Connection) -> None:
    """Wake the first in the queue of every virtual key: what it may have can be another since the last start."""
    query = "SELECT DISTINCT slug FROM parts WHERE state = 'planned' AND note = ?"
    for row in conn.execute(query, (NO_ROOM,)).fetchall():
        wake_first(conn, row[0])


def call_first(conn: Connection, slug: str) -> None:
    """Let the first of those that wait for a create of this virtual key to be resolved go next.

    Woken together, each of them would ask the provider for a fence, and one could go on.
    """
    part = first(conn, slug, NO_TURN)
    if part is not None:
        query = f"UPDATE parts SET due_at = {WOKEN}, note = ? WHERE batch_id = ? AND n = ?"
        conn.execute(query, (CALLED, part.batch_id, part.n))
        served(conn, slug, part.workspace, NO_TURN)


def called(conn: Connection, slug: str, now: float) -> set[tuple[str, int]]:
    """Return the parts that were called and are about to go. One that rests for a reason of its own is not."""
    query = "SELECT batch_id, n FROM parts WHERE slug = ? AND state = 'creating' AND note = ? AND due_at <= ?"
    return {(row[0], row[1]) for row in conn.execute(query, (slug, CALLED, now))}


def served(conn: Connection, slug: str, workspace: str, note: str = NO_ROOM) -> None:
    """Remember that a workspace has had its turn."""
    conn.execute(
        "INSERT INTO turns (slug, queue, workspace, served) VALUES (:slug, :queue, :workspace,"
        " (SELECT COALESCE(MAX(served), 0) + 1 FROM turns WHERE slug = :slug AND queue = :queue))"
        " ON CONFLICT (slug, queue, workspace) DO UPDATE SET served = excluded.served",
        {"slug": slug, "queue": note, "workspace": workspace},
    )
