"""Webhooks: who is told, and what each is told of a batch, one delivery a receiver and event.

A delivery is written in the transaction that changes the batch, so there is none of what did not happen and none is
missing of what did. It is `due` until its receiver has taken it (`delivered`), or three days of tries are over
(`failed`), or its endpoint went (`dropped`). Its id is the `webhook-id` of every try: receivers know it again by it.

Of one batch a receiver gets one event after the other: a later one waits until the one before it is due no more.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from proxy_plugin.ground.webhooks import ENDS, PROGRESS
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, due, many, one

CONFIG, API = "config", "api"  # where an endpoint comes from
EACH, OF_ONE_TARGET, LOOKED_AT = 4, 2, 50  # deliveries of one workspace, of one receiver at once; rows that are read


class EndpointRow(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver of a workspace's events. `event_types` is JSON, a list of names."""

    id: str
    workspace: str
    source: str
    name: str
    url: str
    event_types: str
    created_at: int
    updated_at: int
    removed_at: int | None = None


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one receiver. Without an endpoint it goes to `url`, which its batch named.

    `target` keeps receivers apart. `since` is when the three days began, `status` the last HTTP status, `error` what
    went wrong with the last try. One without a batch is a test, and is tried once.
    """

    seq: int
    id: str
    workspace: str
    endpoint_id: str | None
    url: str | None
    target: str
    batch_id: str | None
    type: str
    body: str
    state: str
    created_at: float
    since: float
    due_at: float | None
    tries: int
    tried_at: float | None
    status: int | None
    error: str | None


_ENDPOINT, _DELIVERY = columns(EndpointRow), columns(DeliveryRow)
_NAMED = ", ".join(f":{name}" for name in EndpointRow.__struct_fields__)
_WORKSPACES = due.workspaces_of("webhook_deliveries")
_DUE = (
    f"SELECT {_DELIVERY} FROM webhook_deliveries d WHERE workspace = ? AND due_at <= ? AND NOT EXISTS"
    " (SELECT 1 FROM webhook_deliveries e WHERE e.target = d.target AND e.batch_id = d.batch_id AND e.seq < d.seq"
    " AND e.due_at IS NOT NULL) ORDER BY due_at, seq LIMIT ?"
)


# ---- what is to be told ----


def book(conn: Connection, /, batch_id: str, what: str, now: float, **more: object) -> None:
    """Have everybody told who wants to know of this event. `more` is in its `data`: no user content and no secret."""
    workspace, url = conn.execute("SELECT workspace, webhook FROM batches WHERE id = ?", (batch_id,)).fetchone()
    query = (
        "SELECT id FROM webhook_endpoints WHERE workspace = ? AND removed_at IS NULL"
        " AND EXISTS (SELECT 1 FROM json_each(event_types) WHERE value = ?) ORDER BY seq"
    )
    wanted: list[tuple[str | None, str | None]] = [(row[0], None) for row in conn.execute(query, (workspace, what))]
    if url is not None and what in ENDS:
        wanted.append((None, url))
    body = event_body(what, now, {"id": batch_id, **more}) if wanted else ""
    for endpoint_id, own_url in wanted:
        _insert(conn, workspace, endpoint_id, own_url, batch_id, what, body, now)


def book_progress(conn: Connection, batch_id: str, now: float) -> None:
    """Have a tenth of a batch's lines told that is done since the last time, but for the last one."""
    query = "SELECT total, completed, failed, tenths FROM batches WHERE id = ?"
    total, completed, failed, told = conn.execute(query, (batch_id,)).fetchone()
    tenths = min(10 * (completed + failed) // total if total else 0, 9)
    if tenths <= told:
        return
    conn.execute("UPDATE batches SET tenths = ? WHERE id = ?", (tenths, batch_id))
    counts = {"total": total, "completed": completed, "failed": failed}
    book(conn, batch_id, PROGRESS, now, request_counts=counts)


def book_test(conn: Connection, endpoint: EndpointRow, what: str, now: float) -> str:
    """Have an endpoint sent a sample of an event; return the delivery's id."""
    body = event_body(what, now, {"id": "batch_test"})
    return _insert(conn, endpoint.workspace, endpoint.id, None, None, what, body, now)


def event_body(what: str, now: float, data: Mapping[str, object]) -> str:
    """Return an event as OpenAI writes it."""
    event = {"id": f"evt_{secrets.token_hex(16)}", "object": "event", "created_at": int(now), "type": what}
    return msgspec.json.encode({**event, "data": data}).decode()


def _insert(
    conn: Connection,
    workspace: str,
    endpoint_id: str | None,
    url: str | None,
    batch_id: str | None,
    what: str,
    body: str,
    now: float,
) -> str:
    delivery_id = f"wh_{secrets.token_hex(16)}"
    target = endpoint_id or f"{workspace}/{urlsplit(url or '').netloc}"
    before = (  # what is due and may not be sent yet would be looked at again and again
        "SELECT due_at FROM webhook_deliveries WHERE target = ? AND batch_id = ? AND due_at IS NOT NULL"
        " ORDER BY seq DESC LIMIT 1"
    )
    found = conn.execute(before, (target, batch_id)).fetchone()
    conn.execute(
        "INSERT INTO webhook_deliveries"
        " (id, workspace, endpoint_id, url, target, batch_id, type, body, state, created_at, since, due_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'due', ?, ?, ?)",
        (delivery_id, workspace, endpoint_id, url, target, batch_id, what, body, now, now, found[0] if found else now),
    )
    return delivery_id


# ---- sending ----


def sendable(conn: Connection, now: float) -> list[list[DeliveryRow]]:
    """Return what may be sent now, of each workspace a few: the first of each batch and receiver, longest due first."""
    found = [row[0] for row in conn.execute(_WORKSPACES, {"now": now})]
    return [_few(many(DeliveryRow, conn.execute(_DUE, (name, now, LOOKED_AT)))) for name in found]


def _few(rows: Sequence[DeliveryRow]) -> list[DeliveryRow]:
    chosen: list[DeliveryRow] = []
    for row in rows:
        if len(chosen) < EACH and sum(each.target == row.target for each in chosen) < OF_ONE_TARGET:
            chosen.append(row)
    return chosen


def next_after(conn: Connection, now: float) -> float | None:
    """Return when, after `now`, the next delivery falls due."""
    row = conn.execute("SELECT MIN(due_at) FROM webhook_deliveries WHERE due_at > ?", (now,)).fetchone()
    return None if row is None else row[0]


def delivered(conn: Connection, row: DeliveryRow, status: int, now: float) -> None:
    """Remember that a receiver has taken an event. What only waited for that, or for it to be there, goes at once."""
    query = (
        "UPDATE webhook_deliveries SET state = 'delivered', due_at = NULL, tries = tries + 1, tried_at = ?, status = ?,"
        " error = NULL WHERE id = ?"
    )
    conn.execute(query, (now, status, row.id))
    query = "UPDATE webhook_deliveries SET due_at = ? WHERE target = ? AND due_at > ? AND (tries = 0 OR status IS NULL)"
    conn.execute(query, (now, row.target, now))


def not_delivered(
    conn: Connection, row: DeliveryRow, status: int | None, error: str, now: float, due_at: float | None
) -> None:
    """Remember a try that came to nothing. It is made again at `due_at`; None: no more."""
    query = (
        "UPDATE webhook_deliveries SET state = ?, due_at = ?, tries = tries + 1, tried_at = ?, status = ?, error = ?"
        " WHERE id = ? AND state = 'due'"
    )
    conn.execute(query, ("failed" if due_at is None else "due", due_at, now, status, error, row.id))
    query = (
        "UPDATE webhook_deliveries SET due_at = ?"
        " WHERE target = ? AND batch_id = ? AND seq > ? AND due_at IS NOT NULL AND tries = 0"
    )
    conn.execute(query, (now if due_at is None else due_at, row.target, row.batch_id, row.seq))


def hold(conn: Connection, target: str, now: float, until: float) -> None:
    """Let what is due at a receiver that does not answer wait, so that it takes no place from others."""
    query = "UPDATE webhook_deliveries SET due_at = ? WHERE target = ? AND due_at <= ? AND batch_id IS NOT NULL"
    conn.execute(query, (until, target, now))


def replay(conn: Connection, workspace: str, delivery_id: str, now: float) -> DeliveryRow | None:
    """Have an event sent once more under its id, whatever became of it; None where the workspace has no such one."""
    query = (
        "UPDATE webhook_deliveries SET state = 'due', due_at = ?, since = ?, tries = 0 WHERE id = ? AND workspace = ?"
        f" RETURNING {_DELIVERY}"
    )
    return one(DeliveryRow, conn.execute(query, (now, now, delivery_id, workspace)))


def forget(conn: Connection, before: float) -> None:
    """Remove deliveries that ended and are older than that."""
    conn.execute("DELETE FROM webhook_deliveries WHERE due_at IS NULL AND created_at < ?", (before,))


def delivery(conn: Connection, workspace: str, delivery_id: str) -> DeliveryRow | None:
    """Return a delivery that this workspace can see."""
    query = f"SELECT {_DELIVERY} FROM webhook_deliveries WHERE id = ? AND workspace = ?"
    return one(DeliveryRow, conn.execute(query, (delivery_id, workspace)))


def deliveries(
    conn: Connection,
    workspace: str,
    limit: int,
    *,
    after: str | None = None,
    endpoint_id: str | None = None,
    batch_id: str | None = None,
) -> list[DeliveryRow]:
    """Return deliveries, newest first, behind `after`; only those of an endpoint or a batch where one is named."""
    query = (
        f"SELECT {_DELIVERY} FROM webhook_deliveries WHERE workspace = :workspace"
        f"{'' if endpoint_id is None else ' AND endpoint_id = :endpoint_id'}"
        f"{'' if batch_id is None else ' AND batch_id = :batch_id'}"
        " AND (seq < (SELECT seq FROM webhook_deliveries WHERE id = :after) OR :after IS NULL)"
        " ORDER BY seq DESC LIMIT :limit"
    )
    given = {"workspace": workspace, "endpoint_id": endpoint_id, "batch_id": batch_id, "after": after, "limit": limit}
    return many(DeliveryRow, conn.execute(query, given))


# ---- endpoints ----


def insert(conn: Connection, row: EndpointRow, most: int) -> bool:
    """Add an endpoint; False where the workspace has as many of its own as it may."""
    query = "SELECT COUNT(*) FROM webhook_endpoints WHERE workspace = ? AND source = 'api' AND removed_at IS NULL"
    if conn.execute(query, (row.workspace,)).fetchone()[0] >= most:
        return False
    conn.execute(f"INSERT INTO webhook_endpoints ({_ENDPOINT}) VALUES ({_NAMED})", msgspec.structs.asdict(row))
    return True


def change(conn: Connection, row: EndpointRow) -> None:
    """Keep what is new of an endpoint; what is due goes to its new URL."""
    query = "UPDATE webhook_endpoints SET name = ?, url = ?, event_types = ?, updated_at = ? WHERE id = ?"
    conn.execute(query, (row.name, row.url, row.event_types, row.updated_at, row.id))


def remove(conn: Connection, endpoint_id: str, now: float) -> None:
    """Tell an endpoint nothing more."""
    conn.execute("UPDATE webhook_endpoints SET removed_at = ? WHERE id = ?", (int(now), endpoint_id))
    query = "UPDATE webhook_deliveries SET state = 'dropped', due_at = NULL WHERE target = ? AND due_at IS NOT NULL"
    conn.execute(query, (endpoint_id,))


def endpoint(conn: Connection, endpoint_id: str) -> EndpointRow | None:
    """Return an endpoint that is there, of any workspace."""
    query = f"SELECT {_ENDPOINT} FROM webhook_endpoints WHERE id = ? AND removed_at IS NULL"
    return one(EndpointRow, conn.execute(query, (endpoint_id,)))


def endpoints(conn: Connection, workspace: str) -> list[EndpointRow]:
    """Return the endpoints of a workspace, the oldest first."""
    query = f"SELECT {_ENDPOINT} FROM webhook_endpoints WHERE workspace = ? AND removed_at IS NULL ORDER BY seq"
    return many(EndpointRow, conn.execute(query, (workspace,)))


def configured(conn: Connection, rows: Iterable[EndpointRow], now: float) -> None:
    """Let the endpoints of the configuration be these and no others; one that was there keeps what is due to it."""
    wanted = {row.id: row for row in rows}
    query = f"SELECT {_ENDPOINT} FROM webhook_endpoints WHERE source = 'config' AND removed_at IS NULL"
    known = {row.id: row for row in many(EndpointRow, conn.execute(query))}
    for gone in known.keys() - wanted.keys():
        remove(conn, gone, now)
    for row in wanted.values():
        before = known.get(row.id)
        if before is None:
            conn.execute("DELETE FROM webhook_endpoints WHERE id = ?", (row.id,))  # it was there once, and comes back
            conn.execute(f"INSERT INTO webhook_endpoints ({_ENDPOINT}) VALUES ({_NAMED})", msgspec.structs.asdict(row))
        elif (before.event_types, before.name) != (row.event_types, row.name):
            change(conn, row)


# ---- generations of secrets that the gateway makes ----


def generation(conn: Connection, owner: str, now: float) -> tuple[int, bool]:
    """Return which secret of an owner counts, from 0, and whether the one before it does, too."""
    query = "SELECT generation, previous_until FROM webhook_secrets WHERE owner = ?"
    found = conn.execute(query, (owner,)).fetchone()
    return (0, False) if found is None else (found[0], now < found[1])


def rotate(conn: Connection, owner: str, now: float, keep_seconds: float) -> int:
    """Begin the next secret of an owner and return its number. The one before it signs, too, for so long."""
    query = (
        "INSERT INTO webhook_secrets (owner, generation, previous_until) VALUES (:owner, 1, :until) ON CONFLICT (owner)"
        " DO UPDATE SET generation = webhook_secrets.generation + 1, previous_until = :until RETURNING generation"
    )
    given = {"owner": owner, "until": int(now + keep_seconds)}
    conn.execute("UPDATE webhook_endpoints SET updated_at = ? WHERE id = ?", (int(now), owner))
    return int(conn.execute(query, given).fetchone()[0])
