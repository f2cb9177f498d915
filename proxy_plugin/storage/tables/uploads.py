"""Uploads in parts: what was announced, the parts that have come, and the file that they became.

A part's bytes live in the blob named by its id, and are counted to the workspace, until `removed_at`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, files, holdings, many, one
from proxy_plugin.storage.tables.files import FileRow

MAX_PARTS = 10_000  # each is a file of its own on the disk


class UploadRow(msgspec.Struct, frozen=True, kw_only=True):
    """One upload. `bytes` is what its parts have to add up to; `kept_seconds` is the life of the file to come."""

    id: str
    workspace: str
    purpose: str
    filename: str
    mime_type: str
    bytes: int
    kept_seconds: int
    created_at: int
    expires_at: int
    state: str = "pending"
    file_id: str | None = None

    def status(self, now: float) -> str:
        """Return OpenAI's status word: pending, completed, cancelled or expired."""
        return "expired" if self.state == "pending" and self.expires_at <= now else self.state


class UploadPartRow(msgspec.Struct, frozen=True, kw_only=True):
    """One part. `place` is its position in the completed file."""

    id: str
    upload_id: str
    bytes: int
    created_at: int
    place: int | None = None
    removed_at: int | None = None


class Closed(Exception):
    """The upload is not pending any more. Carries its status."""


class TooMuch(Exception):
    """The upload would have more parts, or more bytes in them, than it may."""


_COLUMNS = columns(UploadRow)
_NAMED = ", ".join(f":{name}" for name in UploadRow.__struct_fields__)
_PART_COLUMNS = columns(UploadPartRow)
_PART_NAMED = ", ".join(f":{name}" for name in UploadPartRow.__struct_fields__)


def insert(conn: Connection, row: UploadRow, most: int) -> None:
    """Add an upload. Raises holdings.TooManyFiles where its workspace has `most` files already."""
    holdings.require_file(conn, row.workspace, most)
    holdings.add(conn, row.workspace, 0, 1)
    conn.execute(f"INSERT INTO uploads ({_COLUMNS}) VALUES ({_NAMED})", msgspec.structs.asdict(row))


def visible(conn: Connection, workspace: str, upload_id: str) -> UploadRow | None:
    """Return an upload of this workspace, whatever its state."""
    query = f"SELECT {_COLUMNS} FROM uploads WHERE id = ? AND workspace = ?"
    return one(UploadRow, conn.execute(query, (upload_id, workspace)))


def add_part(conn: Connection, part: UploadPartRow, most: int) -> None:
    """Add a part and count its bytes to the workspace. Raises Closed, TooMuch, TooManyFiles.

    The bytes may come to twice those of the upload: a part whose reply was lost is sent again, and the first one stays.
    """
    upload = _pending(conn, part.upload_id, part.created_at)
    query = "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM upload_parts WHERE upload_id = ?"
    count, total = conn.execute(query, (upload.id,)).fetchone()
    if count >= MAX_PARTS or total + part.bytes > 2 * upload.bytes:
        raise TooMuch
    holdings.require_file(conn, upload.workspace, most)
    query = f"INSERT INTO upload_parts ({_PART_COLUMNS}) VALUES ({_PART_NAMED})"
    conn.execute(query, msgspec.structs.asdict(part))
    holdings.add(conn, upload.workspace, part.bytes, 1)


def parts(conn: Connection, upload_id: str) -> list[UploadPartRow]:
    """Return all parts of an upload; those of the completed file come first, in its order."""
    query = f"SELECT {_PART_COLUMNS} FROM upload_parts WHERE upload_id = ? ORDER BY place IS NULL, place, created_at"
    return many(UploadPartRow, conn.execute(query, (upload_id,)))


def complete(conn: Connection, upload_id: str, file: FileRow, part_ids: Sequence[str]) -> list[str]:
    """Add the file, which has all bytes, and give up the parts; return the ids of their blobs. Raises Closed.

    The parts began to be put together in time, so an upload that has expired meanwhile is completed all the same.
    """
    upload = _pending(conn, upload_id, 0)
    files.insert(conn, file)
    places = [(place, part_id) for place, part_id in enumerate(part_ids)]
    conn.executemany("UPDATE upload_parts SET place = ? WHERE id = ?", places)
    conn.execute("UPDATE uploads SET state = 'completed', file_id = ? WHERE id = ?", (file.id, upload_id))
    return _give_up_parts(conn, upload, file.created_at)


def cancel(conn: Connection, upload_id: str, now: float) -> list[str]:
    """Cancel a pending upload and give up its parts; return the ids of their blobs. Raises Closed."""
    upload = _pending(conn, upload_id, now)
    conn.execute("UPDATE uploads SET state = 'cancelled' WHERE id = ?", (upload_id,))
    return _give_up_parts(conn, upload, now)


def expire(conn: Connection, upload_id: str, now: float) -> list[str]:
    """Note that an upload has expired and give up its parts; return the ids of their blobs. Raises Closed."""
    upload = _pending(conn, upload_id, 0)
    conn.execute("UPDATE uploads SET state = 'expired' WHERE id = ?", (upload_id,))
    return _give_up_parts(conn, upload, now)


def expired(conn: Connection, before: float, limit: int = 100) -> list[str]:
    """Return ids of uploads that expired at or before this moment and still have the state of a pending one."""
    query = "SELECT id FROM uploads WHERE state = 'pending' AND expires_at <= ? LIMIT ?"
    return [row[0] for row in conn.execute(query, (before, limit))]


def kept_of(conn: Connection, part_ids: Iterable[str]) -> set[str]:
    """Return those of the parts whose bytes are kept."""
    query = "SELECT id FROM upload_parts WHERE id = ? AND removed_at IS NULL"
    found = (conn.execute(query, (each,)).fetchone() for each in part_ids)
    return {row[0] for row in found if row is not None}


def kept(conn: Connection) -> set[str]:
    """Return the ids of all parts whose bytes are kept."""
    return {row[0] for row in conn.execute("SELECT id FROM upload_parts WHERE removed_at IS NULL")}


def _pending(conn: Connection, upload_id: str, now: float) -> UploadRow:
    row = one(UploadRow, conn.execute(f"SELECT {_COLUMNS} FROM uploads WHERE id = ?", (upload_id,)))
    assert row is not None
    if row.status(now) != "pending":
        raise Closed(row.status(now))
    return row


def _give_up_parts(conn: Connection, upload: UploadRow, now: float) -> list[str]:
    query = "UPDATE upload_parts SET removed_at = ? WHERE upload_id = ? AND removed_at IS NULL RETURNING id, bytes"
    given_up = conn.execute(query, (int(now), upload.id)).fetchall()
    holdings.add(conn, upload.workspace, -sum(row[1] for row in given_up), -1 - len(given_up))  # itself included
    return [row[0] for row in given_up]
