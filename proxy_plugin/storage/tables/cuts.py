"""Parts that took the place of another: which lines they have, and what proves that they may be sent."""

from __future__ import annotations

import msgspec

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import columns, many, parts
from proxy_plugin.storage.tables.parts import PartRow

_COLUMNS = columns(PartRow)


class StoredCut(msgspec.Struct, frozen=True):
    """Where a part that the split did not make comes from: the column `cut`.

    It has those lines of `parent` from ordinal `first` to `last` that no part with a narrower range has. `root` is the
    part of the manifest from which all of them came.
    """

    parent: int
    root: int
    first: int
    last: int

    def text(self) -> str:
        """Return the value of the column `cut`."""
        return msgspec.json.encode(self).decode()


class Suspects(msgspec.Struct, frozen=True):
    """Lines of a batch's file, from ordinal `first` to `last`, that an account refused when it got them together."""

    first: int
    last: int
    slug: str
    model: str | None
    code: str


_read = msgspec.json.Decoder(StoredCut).decode
_read_suspects = msgspec.json.Decoder(tuple[Suspects, ...]).decode


def cut_of(part: PartRow) -> StoredCut | None:
    """Return where a part comes from, None for one of the manifest."""
    return None if part.cut is None else _read(part.cut)


def root_of(part: PartRow) -> int:
    """Return the part of the manifest that a part is, or comes from."""
    cut = cut_of(part)
    return part.n if cut is None else cut.root


def suspects_of(text: str | None) -> tuple[Suspects, ...]:
    """Return the lines that are told in a batch's column `suspects`."""
    return () if text is None else _read_suspects(text)


def of_batch(conn: Connection, batch_id: str) -> list[PartRow]:
    """Return the parts of a batch that took another's place."""
    query = f"SELECT {_COLUMNS} FROM parts WHERE batch_id = ? AND cut IS NOT NULL ORDER BY n"
    return many(PartRow, conn.execute(query, (batch_id,)))


def family(conn: Connection, part: PartRow) -> list[PartRow]:
    """Return all parts that came from the same part of the manifest, that one first."""
    root = root_of(part)
    first = parts.get(conn, part.batch_id, root)
    assert first is not None
    return [first, *(row for row in of_batch(conn, part.batch_id) if root_of(row) == root)]


def next_number(conn: Connection, batch_id: str) -> int:
    """Return the number of the next part of a batch."""
    return int(conn.execute("SELECT MAX(n) + 1 FROM parts WHERE batch_id = ?", (batch_id,)).fetchone()[0])


def nothing_ran(conn: Connection, part: PartRow) -> bool:
    """Tell whether every submission of a part is proven to have run nothing.

    What was given up on a guess may have made a job; one that was adopted provisionally may have been a stranger's.
    """
    query = (
        "SELECT 1 FROM submissions WHERE batch_id = ? AND part = ?"
        " AND (state NOT IN ('refused', 'absent') OR guessed = 1 OR provisional = 1) LIMIT 1"
    )
    return conn.execute(query, (part.batch_id, part.n)).fetchone() is None
