"""Claims: which replica takes the steps of a row now, and does a duty that one replica does at a time.

A claim counts until somebody else has taken it: a holder that comes late and was not replaced goes on. `token` is a
number that a holder gives out once, so a claim that was lost and taken again by the same holder is another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proxy_plugin.storage.connection import Connection

DUTY = "duty"  # the kind of claims that are no row's
CALLS = "calls"  # that of accounts that ordinary calls are made of; others wait for a minute more, as its limits do
MINUTE = 63.0  # seconds that a call counts from its beginning, at most: see `direct/pace.py`
_LATER = f"CASE kind WHEN '{CALLS}' THEN {MINUTE} ELSE 0 END"


class Named(NamedTuple):
    """What can be claimed: a row of the reconciler by kind, id and number, or a duty by its name."""

    kind: str
    id: str
    n: int = 0


class ClaimRow(NamedTuple):
    """One claim. `until` is Unix time, and over where nobody has renewed it."""

    kind: str
    id: str
    n: int
    holder: str
    token: int
    until: float


def take(
    conn: Connection, wanted: Sequence[Named], holder: str, token: int, *, ended: float, until: float
) -> set[Named]:
    """Claim what nobody holds, what ended before `ended`, and what the holder has itself; return what was got."""
    if not wanted:
        return set()
    values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(wanted))
    query = (
        f"INSERT INTO claims (kind, id, n, holder, token, until) VALUES {values} ON CONFLICT (kind, id, n) DO UPDATE"
        " SET holder = excluded.holder, token = excluded.token, until = excluded.until"
        " WHERE claims.until <= ? OR claims.holder = excluded.holder RETURNING kind, id, n"
    )
    more = {CALLS: MINUTE}
    given = [value for each in sorted(wanted) for value in (*each, holder, token, until + more.get(each.kind, 0.0))]
    return {Named(*tuple(row)) for row in conn.execute(query, (*given, ended))}


def stands(conn: Connection, claimed: Named, holder: str, token: int) -> bool:
    """Tell whether a claim is still this one."""
    query = "SELECT 1 FROM claims WHERE kind = ? AND id = ? AND n = ? AND holder = ? AND token = ?"
    return conn.execute(query, (*claimed, holder, token)).fetchone() is not None


def renew(conn: Connection, holder: str, until: float) -> dict[Named, int]:
    """Let all claims of a holder last until then; return which it has, with their tokens."""
    query = f"UPDATE claims SET until = ? + {_LATER} WHERE holder = ? RETURNING kind, id, n, token"
    return {Named(*found): token for *found, token in map(tuple, conn.execute(query, (until, holder)))}


def give_back(conn: Connection, claimed: Mapping[Named, int], holder: str) -> None:
    """Let others have what a holder has no more use for, by its tokens: what it has taken anew since stays."""
    if claimed:
        names = ", ".join(["(?, ?, ?, ?)"] * len(claimed))
        query = f"DELETE FROM claims WHERE holder = ? AND (kind, id, n, token) IN (VALUES {names})"
        conn.execute(query, (holder, *(value for each, token in sorted(claimed.items()) for value in (*each, token))))


def give_back_all(conn: Connection, holder: str) -> int:
    """Let others have all that a holder claims, but for accounts, whose minute goes on; return how much that was."""
    return conn.execute("DELETE FROM claims WHERE holder = ? AND kind <> ?", (holder, CALLS)).rowcount


def forget(conn: Connection, ended: float) -> None:
    """Remove claims that ended before and that nobody has taken."""
    conn.execute("DELETE FROM claims WHERE until <= ?", (ended,))


def holder_of(conn: Connection, claimed: Named, ended: float) -> str | None:
    """Return who holds something, None where it can be taken: nobody does, or the claim ended before `ended`."""
    query = "SELECT holder FROM claims WHERE kind = ? AND id = ? AND n = ? AND until > ?"
    row = conn.execute(query, (*claimed, ended)).fetchone()
    return None if row is None else str(row[0])


def any_over(conn: Connection, ended: float) -> bool:
    """Tell whether a claim ended before `ended`, and was neither renewed nor given back."""
    return conn.execute("SELECT 1 FROM claims WHERE until <= ? LIMIT 1", (ended,)).fetchone() is not None


def of_all(conn: Connection) -> list[ClaimRow]:
    """Return all claims, for operators."""
    rows = conn.execute("SELECT kind, id, n, holder, token, until FROM claims ORDER BY holder, kind, id, n")
    return [ClaimRow(*tuple(row)) for row in rows]
