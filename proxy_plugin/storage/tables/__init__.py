"""Typed rows and the SQL that reads and changes them. Functions take a connection and never commit."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from proxy_plugin.storage.connection import Cursor

R = TypeVar("R", bound=msgspec.Struct)


def one(kind: type[R], cursor: Cursor) -> R | None:
    """Return the first row as `kind`, or None."""
    row = cursor.fetchone()
    return None if row is None else kind(**dict(row))


def many(kind: type[R], cursor: Cursor) -> list[R]:
    """Return all rows as `kind`."""
    return [kind(**dict(row)) for row in cursor]


def columns(kind: type[msgspec.Struct]) -> str:
    """Return the column list that `kind` is made of."""
    return ", ".join(kind.__struct_fields__)
