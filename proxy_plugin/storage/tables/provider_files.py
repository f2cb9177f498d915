"""Where files are whose bytes a provider keeps.

Such a file has an ordinary row in `files`, so that one list and one rule show both kinds; its `removed_at` is set from
the first moment, because no bytes of it are here. This table says where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, files, one
from proxy_plugin.storage.tables.files import FileRow


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The account and the id under which a provider keeps a file. `slug` may be that of a caller's own key."""

    slug: str
    provider: str
    provider_id: str


_COLUMNS = columns(Place)


def insert(conn: Connection, row: FileRow, place: Place, *, spare_id: str) -> FileRow:
    """Add a file and return it as it was stored: as `spare_id` if a file has its id already, whoever owns that."""
    if files.get(conn, row.id) is not None:
        row = msgspec.structs.replace(row, id=spare_id)
    files.insert(conn, row)
    conn.execute(
        f"INSERT INTO provider_files (id, {_COLUMNS}) VALUES (?, ?, ?, ?)",
        (row.id, place.slug, place.provider, place.provider_id),
    )
    return row


def place(conn: Connection, file_id: str) -> Place | None:
    """Return where the bytes of a file are, None for a file that the gateway itself stores."""
    return one(Place, conn.execute(f"SELECT {_COLUMNS} FROM provider_files WHERE id = ?", (file_id,)))


def slugs(conn: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return {file id: virtual key} of those files that a provider keeps."""
    query = "SELECT id, slug FROM provider_files WHERE id IN (SELECT value FROM json_each(?))"
    return {row[0]: row[1] for row in conn.execute(query, (msgspec.json.encode(ids).decode(),))}
