"""Files: what a workspace uploaded and what its batches produced.

A file's bytes live in the blob named by its id. Deleting or expiring hides the name at once, from callers alone: live
batches go on reading the bytes, which go when none needs them (`removable`, `mark_removed`).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, holdings, many, one

_LIVE_BATCH = (
    "EXISTS (SELECT 1 FROM batches b WHERE b.input_file_id = files.id"
    " AND b.state IN ('validating', 'splitting', 'running', 'merging'))"
)
_VISIBLE = "hidden_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"


class FileRow(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `facts` is the JSON of `scan.Facts` once `state` is `processed`.

    `wish` is what was said with its upload of where its batches go: JSON, `provider` and `models`.
    """

    id: str
    workspace: str
    purpose: str
    filename: str
    bytes: int
    sha256: str
    created_at: int
    expires_at: int | None
    state: str
    facts: str | None = None
    hidden_at: int | None = None
    removed_at: int | None = None
    due_at: float | None = None
    tries: int = 0
    wish: str | None = None


_COLUMNS = columns(FileRow)
_NAMED = ", ".join(f":{name}" for name in FileRow.__struct_fields__)


def insert(conn: Connection, row: FileRow) -> None:
    """Add a file and count it to its workspace, unless its bytes are not kept here."""
    conn.execute(f"INSERT INTO files ({_COLUMNS}) VALUES ({_NAMED})", msgspec.structs.asdict(row))
    if row.removed_at is None:
        holdings.add(conn, row.workspace, row.bytes, 1)


def insert_new(conn: Connection, row: FileRow, most: int) -> None:
    """Add a file that somebody sends. Raises holdings.TooManyFiles where the workspace has `most` already."""
    holdings.require_file(conn, row.workspace, most)
    insert(conn, row)


def stored_bytes(conn: Connection, workspace: str) -> int:
    """Return how many bytes a workspace stores."""
    row = conn.execute("SELECT bytes FROM workspaces WHERE name = ?", (workspace,)).fetchone()
    return int(row[0]) if row else 0


def visible(conn: Connection, workspace: str, file_id: str, now: float) -> FileRow | None:
    """Return a file that this workspace can see now."""
    query = f"SELECT {_COLUMNS} FROM files WHERE id = :id AND workspace = :workspace AND {_VISIBLE}"
    return one(FileRow, conn.execute(query, {"id": file_id, "workspace": workspace, "now": now}))


def get(conn: Connection, file_id: str) -> FileRow | None:
    """Return a file whether or not its name is hidden."""
    return one(FileRow, conn.execute(f"SELECT {_COLUMNS} FROM files WHERE id = ?", (file_id,)))


def same_bytes(conn: Connection, one_id: str, other_id: str) -> bool:
    """Tell whether two files, of which the bytes may be gone, hold the same."""
    row, other = get(conn, one_id), get(conn, other_id)
    return row is not None and other is not None and row.sha256 == other.sha256 != ""


def page(
    conn: Connection,
    workspace: str,
    *,
    now: float,
    after: str | None,
    limit: int,
    order: str,
    purpose: str | None,
) -> list[FileRow] | None:
    """Return up to `limit` files behind the cursor `after`; None if the cursor names nothing of this workspace."""
    start = None
    if after is not None:
        found = conn.execute("SELECT seq FROM files WHERE id = ? AND workspace = ?", (after, workspace)).fetchone()
        if found is None:
            return None
        start = found[0]
    down = order == "desc"
    query = (
        f"SELECT {_COLUMNS} FROM files WHERE workspace = :workspace AND {_VISIBLE}"
        " AND (purpose = :purpose OR :purpose IS NULL)"
        f" AND (seq {'<' if down else '>'} :start OR :start IS NULL)"
        f" ORDER BY seq {'DESC' if down else 'ASC'} LIMIT :limit"
    )
    values = {"workspace": workspace, "now": now, "purpose": purpose, "start": start, "limit": limit}
    return many(FileRow, conn.execute(query, values))


def hide(conn: Connection, workspace: str, file_id: str, now: float) -> bool:
    """Delete a file's name; False if there is none. Its scan is still due where a live batch waits for it."""
    if visible(conn, workspace, file_id, now) is None:
        return False
    due_at = f"CASE WHEN {_LIVE_BATCH} THEN due_at END"
    conn.execute(f"UPDATE files SET hidden_at = ?, due_at = {due_at} WHERE id = ?", (int(now), file_id))
    return True


def scanned(conn: Connection, file_id: str, state: str, facts: str | None) -> None:
    """Record the outcome of a scan and wake the batches that wait for it."""
    row = get(conn, file_id)
    if row is None or row.state != "uploaded":
        return
    states.check("file", row.state, state)
    conn.execute("UPDATE files SET state = ?, facts = ?, due_at = NULL WHERE id = ?", (state, facts, file_id))
    conn.execute("UPDATE batches SET due_at = 0 WHERE input_file_id = ? AND state = 'validating'", (file_id,))


def postpone(conn: Connection, file_id: str, due_at: float) -> None:
    """Try the scan again later."""
    conn.execute(
        "UPDATE files SET due_at = ?, tries = tries + 1 WHERE id = ? AND due_at IS NOT NULL", (due_at, file_id)
    )


def removable(conn: Connection, now: float, limit: int = 100) -> list[str]:
    """Return ids of files whose bytes nobody can ask for any more."""
    query = (
        "SELECT id FROM files WHERE removed_at IS NULL AND (hidden_at IS NOT NULL OR expires_at <= ?)"
        f" AND NOT {_LIVE_BATCH} LIMIT ?"
    )
    return [row[0] for row in conn.execute(query, (now, limit))]


def mark_removed(conn: Connection, file_id: str, now: float) -> bool:
    """Give the bytes back to the workspace's sums, once; False if a batch has come to need them meanwhile."""
    found = conn.execute(
        "UPDATE files SET removed_at = ?, hidden_at = COALESCE(hidden_at, ?), due_at = NULL"
        f" WHERE id = ? AND removed_at IS NULL AND NOT {_LIVE_BATCH} RETURNING workspace, bytes",
        (int(now), int(now), file_id),
    ).fetchone()
    if found is None:
        return False
    holdings.add(conn, found[0], -found[1], -1)
    return True


def kept_of(conn: Connection, file_ids: Iterable[str]) -> set[str]:
    """Return those of the files whose bytes are kept."""
    query = "SELECT id FROM files WHERE id = ? AND removed_at IS NULL"
    found = (conn.execute(query, (each,)).fetchone() for each in file_ids)
    return {row[0] for row in found if row is not None}


def kept(conn: Connection) -> set[str]:
    """Return the ids of all files whose bytes are kept."""
    return {row[0] for row in conn.execute("SELECT id FROM files WHERE removed_at IS NULL")}
