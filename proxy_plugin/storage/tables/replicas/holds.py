"""Holds: accounts that a provider has asked to be left alone, and until when, for all replicas.

`account` is a keyed hash: which account it is only those can tell who have its credentials.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy_plugin.storage.connection import Connection


def hold(conn: Connection, account: str, now: float, until: float) -> None:
    """Leave an account alone until then, or longer where that is so already. Holds that are over are forgotten."""
    conn.execute("DELETE FROM holds WHERE until <= ?", (now,))
    query = (
        "INSERT INTO holds (account, until) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET until = excluded.until"
    )
    conn.execute(f"{query} WHERE holds.until < excluded.until", (account, until))


def current(conn: Connection, now: float) -> Mapping[str, float]:
    """Return until when accounts are to be left alone."""
    return {row[0]: row[1] for row in conn.execute("SELECT account, until FROM holds WHERE until > ?", (now,))}
