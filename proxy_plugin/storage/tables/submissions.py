"""Submissions: every attempt to create the native job of a part, and what is known of its outcome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, many, one
from proxy_plugin.storage.tables.parts import PartRow

NOT_TAKEN = "retry: "  # begins the reason of a create that was provably not accepted for now: it has no job


class SubmissionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to create the native job of a part."""

    batch_id: str
    part: int
    n: int
    state: str
    account: str
    created_at: float
    fence: str | None = None
    job: str | None = None
    reason: str | None = None
    sent_at: float | None = None
    first_absent_at: float | None = None
    lookups: int = 0
    provisional: int = 0  # adopted for its place and size; its results are yet to show our mark
    not_ours: str | None = None  # JSON list of jobs that showed another's mark
    revoking_at: float | None = None
    revoked_at: float | None = None
    ended_at: float | None = None
    guessed: int = 0  # taken to be absent without a proof, and the part was to be sent again
    sender: str | None = None  # the replica that may still send it; None: none does
    doubled_job: str | None = None  # a job of the part that was made besides the one followed, after such a guess


_COLUMNS = columns(SubmissionRow)
_NAMED = ", ".join(f":{name}" for name in SubmissionRow.__struct_fields__)
_NEWEST = f"SELECT {_COLUMNS} FROM submissions WHERE batch_id = ? AND part = ? ORDER BY n DESC LIMIT 1"


def undecided(conn: Connection, part: PartRow) -> SubmissionRow | None:
    """Return the part's newest submission if nothing proves its outcome yet."""
    newest = _newest(conn, part)
    return newest if newest is not None and newest.state in {"intent", "sent", "unknown"} else None


def _newest(conn: Connection, part: PartRow) -> SubmissionRow | None:
    return one(SubmissionRow, conn.execute(_NEWEST, (part.batch_id, part.n)))


def accepted(conn: Connection, part: PartRow) -> SubmissionRow | None:
    """Return the submission whose job the part follows."""
    newest = _newest(conn, part)
    return newest if newest is not None and newest.state == "accepted" else None


def last_sent(conn: Connection, batch_id: str, n: int) -> float | None:
    """Return when the newest submission of a part was sent, or was written down."""
    query = (
        "SELECT COALESCE(sent_at, created_at) FROM submissions WHERE batch_id = ? AND part = ? ORDER BY n DESC LIMIT 1"
    )
    row = conn.execute(query, (batch_id, n)).fetchone()
    return None if row is None else float(row[0])


def refused_since(conn: Connection, part: PartRow, codes: Iterable[str]) -> float | None:
    """Return when a part was first refused with one of the codes, since a submission of it went another way.

    Tries that the provider did not take for another passing reason are no other way.
    """
    wanted, since = set(codes), None
    query = "SELECT state, reason, ended_at FROM submissions WHERE batch_id = ? AND part = ? ORDER BY n DESC"
    for state, reason, ended_at in conn.execute(query, (part.batch_id, part.n)):
        text = reason or ""
        named = not wanted.isdisjoint(word.strip("():") for word in text.split())
        if state != "refused" or not (named or text.startswith(NOT_TAKEN)):
            break
        since = ended_at if named else since
    return since


def before(conn: Connection, row: SubmissionRow) -> SubmissionRow | None:
    """Return the submission before this one of the same part."""
    query = f"SELECT {_COLUMNS} FROM submissions WHERE batch_id = ? AND part = ? AND n = ?"
    return one(SubmissionRow, conn.execute(query, (row.batch_id, row.part, row.n - 1)))


def fenced_at(conn: Connection, row: SubmissionRow) -> float | None:
    """Return when the fence of a submission was first sent with: attempts that were refused hand it on."""
    query = (
        "SELECT MIN(sent_at) FROM submissions WHERE batch_id = ? AND part = ? AND account = ?"
        " AND COALESCE(fence, '') = COALESCE(?, '')"
    )
    found = conn.execute(query, (row.batch_id, row.part, row.account, row.fence)).fetchone()[0]
    return None if found is None else float(found)


def attempts(conn: Connection, batch_id: str) -> dict[int, int]:
    """Return how many submissions each part of a batch has had; parts without one are left out."""
    query = "SELECT part, COUNT(*) FROM submissions WHERE batch_id = ? GROUP BY part"
    return {row[0]: row[1] for row in conn.execute(query, (batch_id,))}


def claimed(conn: Connection, jobs: Iterable[str]) -> set[str]:
    """Return those of the native jobs that certainly are another submission's; one adopted provisionally is not."""
    query = "SELECT 1 FROM submissions WHERE job = ? AND provisional = 0 LIMIT 1"
    return {job for job in jobs if conn.execute(query, (job,)).fetchone()}


def has_turn(conn: Connection, row: SubmissionRow, since: float) -> bool:
    """Tell whether no other create of the same account, sent after `since`, is in doubt. One given up is not."""
    query = (
        "SELECT 1 FROM submissions s JOIN parts p ON p.batch_id = s.batch_id AND p.n = s.part"
        " WHERE s.account = ? AND s.state IN ('sent', 'unknown') AND p.state = 'creating' AND s.sent_at > ?"
        " AND NOT (s.batch_id = ? AND s.part = ? AND s.n = ?) LIMIT 1"
    )
    return conn.execute(query, (row.account, since, row.batch_id, row.part, row.n)).fetchone() is None


def begin(conn: Connection, part: PartRow, account: str, now: float) -> SubmissionRow:
    """Write down the intent to create the part's job."""
    newest = _newest(conn, part)
    row = SubmissionRow(
        batch_id=part.batch_id,
        part=part.n,
        n=newest.n + 1 if newest else 1,
        state="intent",
        account=account,
        created_at=now,
    )
    conn.execute(f"INSERT INTO submissions ({_COLUMNS}) VALUES ({_NAMED})", msgspec.structs.asdict(row))
    return row


def move(conn: Connection, /, row: SubmissionRow, state: str, **changes: Any) -> SubmissionRow:
    """Move a submission one legal step, or change its columns where `state` is its own."""
    if state != row.state:
        states.check("submission", row.state, state)
    values = changes | {"state": state}
    sets = ", ".join(f"{name} = :{name}" for name in values)
    query = (
        f"UPDATE submissions SET {sets} WHERE batch_id = :id AND part = :part AND n = :n AND state = :was"
        f" RETURNING {_COLUMNS}"
    )
    keys = {"id": row.batch_id, "part": row.part, "n": row.n, "was": row.state}
    moved = one(SubmissionRow, conn.execute(query, values | keys))
    if moved is None:
        raise states.IllegalStep(f"submission is no longer {row.state}")
    return moved


def open_of(conn: Connection, row: SubmissionRow) -> SubmissionRow | None:
    """Return a submission as it is now, if it is still its part's newest and nobody has found out about it or acts."""
    newest = one(SubmissionRow, conn.execute(_NEWEST, (row.batch_id, row.part)))
    if newest is None or (newest.n, newest.sender) != (row.n, row.sender) or newest.revoking_at is not None:
        return None
    return newest if newest.state in {"sent", "unknown"} else None


def sent_no_more(conn: Connection, row: SubmissionRow) -> None:
    """Write down that its sender sends it no more, whatever became of it and whoever looks after it now."""
    query = "UPDATE submissions SET sender = NULL WHERE batch_id = ? AND part = ? AND n = ? AND sender = ?"
    conn.execute(query, (row.batch_id, row.part, row.n, row.sender))


def jobs(conn: Connection, part: PartRow) -> list[str]:
    """Return every job that is certainly the part's own: followed, failed, or made twice by a guess."""
    query = (
        "SELECT job FROM submissions WHERE batch_id = :id AND part = :n AND job IS NOT NULL AND provisional = 0 UNION"
        " SELECT doubled_job FROM submissions WHERE batch_id = :id AND part = :n AND doubled_job IS NOT NULL"
    )
    return [row[0] for row in conn.execute(query, {"id": part.batch_id, "n": part.n})]


def unresolved(conn: Connection) -> list[tuple[str, int]]:
    """Return (slug, count) of submissions whose outcome is unknown and looked for, for operators."""
    rows = conn.execute(
        "SELECT p.slug, COUNT(*) FROM submissions s JOIN parts p ON p.batch_id = s.batch_id AND p.n = s.part"
        " WHERE s.state = 'unknown' AND p.state = 'creating' GROUP BY p.slug"
    )
    return [(row[0], row[1]) for row in rows]


def guessed(conn: Connection, part: PartRow) -> list[SubmissionRow]:
    """Return the submissions of a part that were given up on a guess, first first."""
    query = f"SELECT {_COLUMNS} FROM submissions WHERE batch_id = ? AND part = ? AND guessed = 1 ORDER BY n"
    return many(SubmissionRow, conn.execute(query, (part.batch_id, part.n)))


def guesses(conn: Connection) -> list[tuple[str, int, int]]:
    """Return (slug, sent again on a guess, jobs that were thereby made twice), for operators."""
    again = (
        "EXISTS (SELECT 1 FROM submissions a WHERE a.batch_id = s.batch_id AND a.part = s.part"
        " AND a.n > s.n AND a.sent_at IS NOT NULL)"
    )
    rows = conn.execute(
        f"SELECT p.slug, COUNT(CASE WHEN {again} THEN 1 END), COUNT(s.doubled_job) FROM submissions s"
        " JOIN parts p ON p.batch_id = s.batch_id AND p.n = s.part WHERE s.guessed = 1 GROUP BY p.slug"
    )
    return [(row[0], row[1], row[2]) for row in rows]


def any_accepted(conn: Connection, batch_id: str) -> bool:
    """Tell whether a provider ever took and kept a part of this batch, or has answered calls of one."""
    query = (
        "SELECT 1 FROM submissions WHERE batch_id = :id AND state = 'accepted' UNION ALL"
        " SELECT 1 FROM parts WHERE batch_id = :id AND way = 'direct' AND state = 'collected' LIMIT 1"
    )
    return conn.execute(query, {"id": batch_id}).fetchone() is not None
