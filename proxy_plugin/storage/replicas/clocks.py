"""How far the clock of a replica is from that of its database, and whether that is too far.

Rows hold Unix time of the replica that wrote them, and are compared with that of the one that reads:

    claims      until, 15 s ahead, renewed each 5 s: a reader 10 s ahead of the holder takes what is being worked on
    due times   a step begins, and a poll comes, so much sooner or later
    holds       a pause ends so much sooner or later for others than for who was told
    looks       two for a lost create lie a settle time apart, a minute or more, and may be of two replicas
    expiries    of files, uploads, windows and idempotency keys: hours, and more

So claims bound it. Each replica is held against the database alone; two of them may differ by twice as much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import StorageError

WARNED = 1.0  # seconds
REFUSED = 2.5  # two replicas are 5 s apart then: a claim is still seen to stand where its renewal is up to 5 s late
TRIES = 3  # at a start; the one with the shortest way there and back counts
_REMEDY = "let NTP (chrony, systemd-timesyncd) keep the clocks of all replicas and of the database"
_THEIRS = "SELECT extract(epoch FROM clock_timestamp())"


class ClocksApart(StorageError):
    """A clock is so wrong that replicas would take each other's rows."""


class Skew(NamedTuple):
    """How far the clock here is ahead of the database's, and by how much that may be wrong. Both in seconds."""

    ahead: float
    unsure: float = 0.0

    @property
    def least(self) -> float:
        """The seconds that they are apart at least, whichever is ahead."""
        return max(0.0, abs(self.ahead) - self.unsure)

    @property
    def problem(self) -> str:
        """What is wrong and what mends it; "" where the clocks agree to a second."""
        if self.least <= WARNED:
            return ""
        side = "ahead of" if self.ahead > 0 else "behind"
        return f"the clock of this machine is {abs(self.ahead):.1f} s {side} the database's: {_REMEDY}"

    @property
    def too_far(self) -> bool:
        """Whether claims cannot be told to stand or to be over any more."""
        return self.least > REFUSED


def judged(before: float, theirs: float, after: float) -> Skew:
    """Return what follows from the database's time, asked for and answered at these times of ours.

    It was read somewhere between them: half the way there and back is not known.
    """
    return Skew((before + after) / 2 - theirs, abs(after - before) / 2)


def measured(conn: Connection, now: Callable[[], float], tries: int = TRIES) -> Skew:
    """Ask the database for its time and return the surest answer. PostgreSQL alone has a clock of its own."""
    return min((_asked(conn, now) for _ in range(tries)), key=lambda found: found.unsure)


def _asked(conn: Connection, now: Callable[[], float]) -> Skew:
    before = now()
    theirs = float(conn.execute(_THEIRS).fetchone()[0])
    return judged(before, theirs, now())


def require(skew: Skew) -> None:
    """Raise ClocksApart where a replica must not begin."""
    if skew.too_far:
        raise ClocksApart(f"{skew.problem}; above {REFUSED} s replicas take each other's rows: this one does not start")
