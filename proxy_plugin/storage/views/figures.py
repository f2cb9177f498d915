"""Sums over the batches of a workspace, or of all: by status, by hour, by account. They read whole tables."""

from __future__ import annotations

from typing import NamedTuple

from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection

HOUR, HOURS = 3600, 24
RECENT_EVENTS = 20_000  # of all batches: no index knows when a row was written, so the last ones are looked through
_ENDED_AT = "COALESCE(completed_at, failed_at, expired_at, cancelled_at)"
_MINE = "(workspace = :workspace OR :workspace IS NULL)"
_COUNTS = f"SELECT state, cancelling_at IS NOT NULL, COUNT(*) FROM batches WHERE {_MINE} GROUP BY 1, 2"  # noqa: S608
_CREATED = f"SELECT created_at / 3600, COUNT(*) FROM batches WHERE {_MINE} AND created_at >= :since GROUP BY 1"  # noqa: S608
_ENDED = (
    f"SELECT {_ENDED_AT} / 3600, COUNT(*), SUM(completed), SUM(failed) FROM batches"  # noqa: S608
    f" WHERE {_MINE} AND {_ENDED_AT} >= :since GROUP BY 1"
)
_ACCOUNTS = (
    "SELECT slug, provider, state, note IS NOT NULL, COUNT(*), SUM(lines), MIN(due_at) FROM parts"
    " WHERE state NOT IN ('collected', 'replaced', 'refused', 'dropped') GROUP BY 1, 2, 3, 4"
)
_REFUSED = (
    "SELECT p.slug, e.detail, COUNT(*), MAX(e.at) FROM events e"
    " JOIN parts p ON p.batch_id = e.batch_id AND p.n = e.part"
    " WHERE e.seq > (SELECT COALESCE(MAX(seq), 0) FROM events) - :most AND e.what IN ('refused', 'no quota')"
    " AND e.at >= :since GROUP BY 1, 2"
)


class Hour(NamedTuple):
    """One hour from `start` on, Unix seconds: batches created and ended in it, lines of these, open at its end."""

    start: int
    created: int
    ended: int
    completed_lines: int
    failed_lines: int
    open: int


class AtAccount(NamedTuple):
    """Open parts of one account in one state. `waits`: 1 for those that rest for a reason that is noted, else 0."""

    slug: str
    provider: str
    state: str
    waits: int
    parts: int
    lines: int
    next_at: float | None


class Refusals(NamedTuple):
    """How often an account refused a part with one code, and when last."""

    slug: str
    code: str
    times: int
    last_at: float


class Holding(NamedTuple):
    """What a workspace stores."""

    workspace: str
    bytes: int
    files: int


def by_status(conn: Connection, workspace: str | None) -> dict[str, int]:
    """Return how many batches there are, by OpenAI's status words; None: of all workspaces."""
    found: dict[str, int] = {}
    for state, cancelling, count in conn.execute(_COUNTS, {"workspace": workspace}):
        status = states.public_status(state, cancelling=bool(cancelling))
        found[status] = found.get(status, 0) + int(count)
    return found


def hours(conn: Connection, workspace: str | None, now: float) -> list[Hour]:
    """Return the last 24 hours by the clock, the one that runs last; None: of all workspaces."""
    last = int(now) // HOUR
    asked = {"workspace": workspace, "since": (last - HOURS + 1) * HOUR}
    created = {int(hour): int(count) for hour, count in conn.execute(_CREATED, asked)}
    ended = {int(row[0]): tuple(int(each or 0) for each in row[1:]) for row in conn.execute(_ENDED, asked)}
    found, open_ = [], _open(conn, workspace)
    for hour in range(last, last - HOURS, -1):
        new, (over, completed, failed) = created.get(hour, 0), ended.get(hour, (0, 0, 0))
        found.append(Hour(hour * HOUR, new, over, completed, failed, open_))
        open_ += over - new
    return found[::-1]


def _open(conn: Connection, workspace: str | None) -> int:
    counts = by_status(conn, workspace)
    return sum(count for status, count in counts.items() if status not in states.BATCH_ENDS)


def accounts(conn: Connection) -> list[AtAccount]:
    """Return what is open at every account."""
    return [AtAccount(*tuple(row)) for row in conn.execute(_ACCOUNTS)]


def refusals(conn: Connection, since: float) -> list[Refusals]:
    """Return what accounts have refused since then, as far as the last events tell."""
    rows = conn.execute(_REFUSED, {"most": RECENT_EVENTS, "since": since})
    return [Refusals(row[0], row[1] or "", row[2], row[3]) for row in rows]


def holdings(conn: Connection) -> list[Holding]:
    """Return what each workspace stores."""
    rows = conn.execute("SELECT name, bytes, files FROM workspaces ORDER BY bytes DESC")
    return [Holding(*tuple(row)) for row in rows]
