"""Batches: one row each, from the client's create to the terminal state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import WOKEN, charges, clearings, columns, holdings, many, one, waits, webhooks

RETRY_WINDOW = 30 * 60.0  # a create that says it is a retry equals one this recent
UNSEEN_WINDOW = 10 * 60.0  # a create whose reply the client did not get equals the next one within this time
KEY_KEPT = 86_400.0
_END_FIELD = {"completed": "completed_at", "failed": "failed_at", "expired": "expired_at", "cancelled": "cancelled_at"}


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """One batch. `metadata`, `route`, `errors`, `usage` are JSON texts; `sealed` are credentials a caller brought."""

    id: str
    workspace: str
    caller: str
    input_file_id: str
    endpoint: str
    completion_window: str
    route: str
    request_hash: str
    trace_id: str
    state: str
    created_at: int
    expires_at: int
    metadata: str | None = None
    output_expires_after: int | None = None
    idempotency_key: str | None = None
    replied_at: float | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    deadline_at: int | None = None
    errors: str | None = None
    model: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    usage: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    split_dir: str | None = None
    rejected: int = 0
    sealed: str | None = None
    due_at: float | None = None
    tries: int = 0
    suspects: str | None = None  # JSON: lines of its file that a provider has refused together before
    cached: int = 0  # lines whose answers were at hand when they were split
    identity: str | None = None  # JSON: whose key of LiteLLM's made it
    webhook: str | None = None  # URL that is told of its end

    @property
    def stopping(self) -> str | None:
        """Why nothing new may be sent: `batch_cancelled`, `batch_expired` or None. A cancel outranks the deadline."""
        if self.cancelling_at is not None:
            return "batch_cancelled"
        return "batch_expired" if self.deadline_at is not None else None


class KeyReused(Exception):
    """The Idempotency-Key came with another body before."""


class NotCancellable(Exception):
    """The batch has ended, or its results are being written. Carries the public status."""


_COLUMNS = columns(BatchRow)
_NAMED = ", ".join(f":{name}" for name in BatchRow.__struct_fields__)
_GET = f"SELECT {_COLUMNS} FROM batches WHERE id = ?"


def insert(conn: Connection, row: BatchRow, *, is_retry: bool, most: int | None = None) -> BatchRow:
    """Add a batch, or return the earlier one that this create repeats. Decided inside the transaction.

    Raises holdings.TooManyBatches where the workspace has `most` batches that have not ended.
    With an Idempotency-Key: the same key within 24 h is the same batch; KeyReused if the request differs. Without:
    an equal request that says it is a retry, or whose earlier reply was never fully written.
    """
    repeated = earlier(conn, row, is_retry=is_retry)
    if repeated is not None:
        return repeated
    if most is not None:
        holdings.require_batch(conn, row.workspace, most)
    conn.execute(f"INSERT INTO batches ({_COLUMNS}) VALUES ({_NAMED})", msgspec.structs.asdict(row))
    event(conn, row.id, None, float(row.created_at), "created")
    return row


def earlier(conn: Connection, row: BatchRow, *, is_retry: bool) -> BatchRow | None:
    """Return the batch that `insert` would return instead of adding this one. Raises KeyReused."""
    return _by_key(conn, row) if row.idempotency_key else _repeated(conn, row, is_retry=is_retry)


def keyed(conn: Connection, row: BatchRow) -> BatchRow | None:
    """Return the batch that a create with this Idempotency-Key made in the last 24 hours, whatever it asked for."""
    query = (
        f"SELECT {_COLUMNS} FROM batches WHERE workspace = ? AND idempotency_key = ? AND created_at > ?"
        " ORDER BY seq DESC LIMIT 1"
    )
    since = row.created_at - KEY_KEPT
    return one(BatchRow, conn.execute(query, (row.workspace, row.idempotency_key, since)))


def _by_key(conn: Connection, row: BatchRow) -> BatchRow | None:
    earlier = keyed(conn, row)
    if earlier is not None and earlier.request_hash != row.request_hash:
        raise KeyReused
    return earlier


def _repeated(conn: Connection, row: BatchRow, *, is_retry: bool) -> BatchRow | None:
    query = (
        f"SELECT {_COLUMNS} FROM batches WHERE workspace = ? AND caller = ? AND request_hash = ?"
        " AND idempotency_key IS NULL ORDER BY seq DESC LIMIT 1"
    )
    earlier = one(BatchRow, conn.execute(query, (row.workspace, row.caller, row.request_hash)))
    if earlier is None:
        return None
    age = row.created_at - earlier.created_at
    unseen = earlier.replied_at is None and age <= UNSEEN_WINDOW
    return earlier if unseen or (is_retry and age <= RETRY_WINDOW) else None


def is_stopping(conn: Connection, batch_id: str) -> bool:
    """Tell whether a batch has been cancelled, or its window is over: `BatchRow.stopping`, without the row."""
    query = "SELECT 1 FROM batches WHERE id = ? AND (cancelling_at IS NOT NULL OR deadline_at IS NOT NULL)"
    return conn.execute(query, (batch_id,)).fetchone() is not None


def replied(conn: Connection, batch_id: str, now: float) -> None:
    """Remember that the client has been given the reply to its create."""
    conn.execute("UPDATE batches SET replied_at = ? WHERE id = ? AND replied_at IS NULL", (now, batch_id))


def get(conn: Connection, batch_id: str) -> BatchRow | None:
    """Return a batch of any workspace (the engine's view)."""
    return one(BatchRow, conn.execute(_GET, (batch_id,)))


def trace_id(conn: Connection, batch_id: str) -> str | None:
    """Return the trace id of the request that created a batch; None where there is no such batch."""
    found = conn.execute("SELECT trace_id FROM batches WHERE id = ?", (batch_id,)).fetchone()
    return None if found is None else str(found[0])


def visible(conn: Connection, workspace: str, batch_id: str) -> BatchRow | None:
    """Return a batch that this workspace can see."""
    row = get(conn, batch_id)
    return row if row is not None and row.workspace == workspace else None


_AT = """ AND CASE WHEN EXISTS (SELECT 1 FROM parts p WHERE p.batch_id = batches.id)
    THEN EXISTS (SELECT 1 FROM parts p WHERE p.batch_id = batches.id
        AND (p.provider = :provider OR :provider IS NULL)
        AND (p.slug IN (SELECT value FROM json_each(:slugs)) OR :slugs IS NULL))
    ELSE EXISTS (SELECT 1 FROM json_each(batches.route, '$.targets') t
        WHERE (json_extract(t.value, '$.provider') = :provider OR :provider IS NULL)
        AND (json_extract(t.value, '$.slug') IN (SELECT value FROM json_each(:slugs)) OR :slugs IS NULL)) END"""

_HAS = f""" AND ({states.SQL_STATUS} IN (SELECT value FROM json_each(:statuses)) OR :statuses IS NULL)
    AND (created_at >= :since OR :since IS NULL)"""


def page(
    conn: Connection,
    workspace: str,
    *,
    after: str | None,
    limit: int,
    provider: str | None = None,
    slugs: list[str] | None = None,
    statuses: list[str] | None = None,
    since: int | None = None,
) -> list[BatchRow] | None:
    """Return up to `limit` batches, newest first, behind the cursor `after`; None if the cursor names nothing.

    `provider` and `slugs` leave those that have parts there, or may get some; `statuses`, in OpenAI's words, and
    `since`, Unix seconds, those that have one of them and were created then or later.
    """
    start = None
    if after is not None:
        found = conn.execute("SELECT seq FROM batches WHERE id = ? AND workspace = ?", (after, workspace)).fetchone()
        if found is None:
            return None
        start = found[0]
    query = (
        f"SELECT {_COLUMNS} FROM batches WHERE workspace = :workspace AND (seq < :start OR :start IS NULL)"
        f"{'' if provider is None and slugs is None else _AT}{'' if statuses is None and since is None else _HAS}"
        " ORDER BY seq DESC LIMIT :limit"
    )
    place = {"provider": provider, "slugs": _json(slugs), "statuses": _json(statuses), "since": since}
    return many(BatchRow, conn.execute(query, {"workspace": workspace, "start": start, "limit": limit} | place))


def _json(names: list[str] | None) -> str | None:
    return None if names is None else msgspec.json.encode(names).decode()


def wake(conn: Connection, batch_id: str) -> None:
    """Let the engine look at the batch at once."""
    conn.execute("UPDATE batches SET due_at = 0 WHERE id = ? AND due_at IS NOT NULL", (batch_id,))


def postpone(conn: Connection, batch_id: str, due_at: float, *, tries: int = 0) -> None:
    """Look at the batch again at `due_at`, unless something has woken it meanwhile."""
    conn.execute(
        "UPDATE batches SET due_at = ?, tries = tries + ? WHERE id = ? AND due_at IS NOT NULL",
        (due_at, tries, batch_id),
    )


def move(conn: Connection, /, batch: BatchRow, state: str, **changes: Any) -> BatchRow:
    """Move a batch one legal step; raises states.IllegalStep. `changes` are columns."""
    states.check("batch", batch.state, state)
    waits.over(conn, batch.id)
    values: dict[str, Any] = {"due_at": 0.0, "tries": 0} | changes | {"state": state}
    sets = ", ".join(f"{name} = :{name}" for name in values)
    query = f"UPDATE batches SET {sets} WHERE id = :id AND state = :was RETURNING {_COLUMNS}"
    moved = one(BatchRow, conn.execute(query, values | {"id": batch.id, "was": batch.state}))
    if moved is None:
        raise states.IllegalStep(f"batch is no longer {batch.state}")
    return moved


def end(conn: Connection, /, batch: BatchRow, state: str, now: float, **changes: Any) -> BatchRow:
    """Move a batch to a terminal state and stamp it. Its caller's credentials have served, but to clear up."""
    event(conn, batch.id, None, now, state)
    waits.all_over(conn, batch.id)
    clearings.keep_sealed(conn, batch.id)
    clearings.release(conn, batch.id)
    charges.close(conn, batch.id)
    webhooks.book(conn, batch.id, f"batch.{state}", now)
    return move(conn, batch, state, due_at=None, sealed=None, **{_END_FIELD[state]: int(now)}, **changes)


def cancel(conn: Connection, batch: BatchRow, now: float) -> BatchRow:
    """Set the durable cancel flag; an earlier one stays. Raises NotCancellable, decided inside the transaction."""
    query = (
        "UPDATE batches SET cancelling_at = COALESCE(cancelling_at, :now), due_at = 0 WHERE id = :id"
        f" AND state IN ('validating', 'splitting', 'running') RETURNING {_COLUMNS}"
    )
    row = one(BatchRow, conn.execute(query, {"id": batch.id, "now": int(now)}))
    if row is None:
        current = get(conn, batch.id)
        assert current is not None
        if current.cancelling_at is not None and current.state == "merging":
            return current
        raise NotCancellable(states.public_status(current.state, cancelling=False))
    conn.execute(f"UPDATE parts SET due_at = {WOKEN} WHERE batch_id = ? AND due_at IS NOT NULL", (batch.id,))
    event(conn, batch.id, None, now, "cancel asked")
    return row


def deadline(conn: Connection, batch: BatchRow, now: float) -> None:
    """Set the durable flag that the completion window is over, and wake the parts."""
    conn.execute("UPDATE batches SET deadline_at = COALESCE(deadline_at, ?) WHERE id = ?", (int(now), batch.id))
    conn.execute(f"UPDATE parts SET due_at = {WOKEN} WHERE batch_id = ? AND due_at IS NOT NULL", (batch.id,))
    event(conn, batch.id, None, now, "window over")


def event(conn: Connection, batch_id: str, part: int | None, at: float, what: str, detail: str = "") -> None:
    """Keep one line of a batch's history. `detail` holds no user content and no secret."""
    conn.execute(
        "INSERT INTO events (batch_id, part, at, what, detail) VALUES (?, ?, ?, ?, ?)",
        (batch_id, part, at, what, detail),
    )


def told(conn: Connection, batch_id: str, what: str) -> bool:
    """Tell whether a batch's history has such an event."""
    query = "SELECT 1 FROM events WHERE batch_id = ? AND what = ? LIMIT 1"
    return conn.execute(query, (batch_id, what)).fetchone() is not None


def armed(conn: Connection, batch_id: str, sealed: str | None, now: float) -> None:
    """Wake the parts of a batch whose caller gave its credentials again, and keep these if they were sealed.

    Those of one that has ended serve to clear up.
    """
    query = (
        "UPDATE batches SET sealed = COALESCE(?, sealed) WHERE id = ?"
        " AND state IN ('validating', 'splitting', 'running', 'merging') RETURNING id"
    )
    if conn.execute(query, (sealed, batch_id)).fetchone() is not None:
        conn.execute(f"UPDATE parts SET due_at = {WOKEN} WHERE batch_id = ? AND due_at IS NOT NULL", (batch_id,))
        event(conn, batch_id, None, now, "credentials given again")
    else:
        clearings.keep_sealed(conn, batch_id, sealed)
        clearings.wake(conn, batch_id)


def ended(conn: Connection, batch_ids: Iterable[str]) -> list[str]:
    """Return those of the batches that have reached a terminal state."""
    found = (get(conn, batch_id) for batch_id in batch_ids)
    return [row.id for row in found if row is not None and row.state in states.BATCH_ENDS]


def without_files(conn: Connection, batch_ids: Iterable[str]) -> list[str]:
    """Return those of the batches that have ended and whose output and error files are gone, or never were."""
    query = (
        "SELECT 1 FROM batches b WHERE b.id = ? AND NOT EXISTS (SELECT 1 FROM files f"
        " WHERE f.id IN (b.output_file_id, b.error_file_id) AND f.removed_at IS NULL)"
    )
    return [each for each in ended(conn, batch_ids) if conn.execute(query, (each,)).fetchone()]


def ledgers(conn: Connection, batch_ids: Iterable[str]) -> dict[str, str | None]:
    """Return after which file the ledger of each batch is named, "" where it has none, None while it has not ended."""
    query = (
        "SELECT b.id, b.state, COALESCE(b.output_file_id, b.error_file_id), EXISTS (SELECT 1 FROM files f"
        " WHERE f.id IN (b.output_file_id, b.error_file_id) AND f.removed_at IS NULL) FROM batches b WHERE b.id = ?"
    )
    rows = [row for each in batch_ids if (row := conn.execute(query, (each,)).fetchone()) is not None]
    return {row[0]: (row[2] or "" if row[3] else "") if row[1] in states.BATCH_ENDS else None for row in rows}


def workspaces(conn: Connection, batch_ids: Iterable[str]) -> dict[str, str]:
    """Return whose each of the batches is."""
    found = (conn.execute("SELECT id, workspace FROM batches WHERE id = ?", (each,)).fetchone() for each in batch_ids)
    return {row[0]: row[1] for row in found if row is not None}


def by_state(conn: Connection) -> dict[str, int]:
    """Return how many batches there are in each state that a batch is in."""
    return {row[0]: row[1] for row in conn.execute("SELECT state, COUNT(*) FROM batches GROUP BY state")}


def past_window(conn: Connection, before: float) -> int:
    """Return how many batches have not ended although their window was over at a moment."""
    query = (
        "SELECT COUNT(*) FROM batches WHERE state IN ('validating', 'splitting', 'running', 'merging')"
        " AND expires_at < ?"
    )
    return int(conn.execute(query, (before,)).fetchone()[0])


def live_ids(conn: Connection) -> set[str]:
    """Return the ids of batches that have not ended."""
    rows = conn.execute("SELECT id FROM batches WHERE state IN ('validating', 'splitting', 'running', 'merging')")
    return {row[0] for row in rows}
