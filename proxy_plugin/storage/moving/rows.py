"""Rows of one database, copied into another and compared: table by table, in an order that foreign keys allow.

A stretch of rows and how far they go are one transaction, so a copy that was interrupted goes on behind its last row.
What is compared is a sum of hashes of rows, which is the same in whatever order a database gives them.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

import msgspec

from proxy_plugin.storage import facts
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.registry import Registry

TOGETHER = 1000  # rows in a transaction
OF_REPLICAS = frozenset({"claims", "facts", "holds", "replicas", "schema_version"})  # they say who runs, not what
_BITS = 256
Row = tuple[Any, ...]


class Table(NamedTuple):
    """One table: `key` are the columns of its primary key."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def mark(self) -> str:
        """The name of the fact that says how far a copy is."""
        return f"moved {self.name}"


class Sum(NamedTuple):
    """How many rows there are, and the sum of their hashes."""

    rows: int = 0
    hashes: int = 0


def tables(conn: sqlite3.Connection) -> list[Table]:
    """Return what is to be copied, each table behind those that it refers to."""
    names = [row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    wanted = [name for name in names if name not in OF_REPLICAS and not name.startswith("sqlite_")]
    needs = {name: {row[2] for row in conn.execute(f"PRAGMA foreign_key_list({name})")} - {name} for name in wanted}
    return [_table(conn, name) for name in TopologicalSorter(needs).static_order()]


def _table(conn: sqlite3.Connection, name: str) -> Table:
    found = conn.execute(f"PRAGMA table_info({name})").fetchall()
    key = sorted((each[5], each[1]) for each in found if each[5])
    return Table(name, tuple(each[1] for each in found), tuple(column for _, column in key))


async def copy(source: sqlite3.Connection, target: Registry, table: Table) -> None:
    """Copy the rows that the target has not. Raises StorageError."""
    after = _key_in(await target.read(facts.get, table.mark))
    while rows := await asyncio.to_thread(_stretch, source, table, after):
        after = _key_of(table, rows[-1])
        await target.write(_store, table, rows, msgspec.json.encode(after).decode())
    if table.key == ("seq",) and target.dialect == "postgres":
        await target.write(_count_on, table)


async def differences(source: sqlite3.Connection, target: Registry, table: Table) -> str | None:
    """Return how a table differs, None where both have the same rows."""
    ours = await asyncio.to_thread(summed, source, table)
    theirs = await target.scan(summed, table)
    if ours == theirs:
        return None
    unequal = ", unequal" if ours.rows == theirs.rows else ""
    return f"{table.name} has {ours.rows} rows here, {theirs.rows} there{unequal}"


def holds_rows(conn: Connection, table: Table) -> bool:
    """Tell whether a table has any row."""
    return conn.execute(f"SELECT 1 FROM {table.name} LIMIT 1").fetchone() is not None


def summed(conn: Connection, table: Table) -> Sum:
    """Return what the rows of a table add up to."""
    rows = hashes = 0
    for row in _every(conn, table):
        rows += 1
        hashes += int.from_bytes(hashlib.sha256(msgspec.json.encode(row)).digest())
    return Sum(rows, hashes % 2**_BITS)


def _every(conn: Connection, table: Table) -> Iterator[Row]:
    after: Row | None = None
    while rows := _stretch(conn, table, after):
        yield from rows
        after = _key_of(table, rows[-1])


def _stretch(conn: Connection, table: Table, after: Row | None) -> list[Row]:
    key = ", ".join(table.key)
    behind = "" if after is None else f" WHERE ({key}) > ({', '.join('?' * len(after))})"
    query = f"SELECT {', '.join(table.columns)} FROM {table.name}{behind} ORDER BY {key} LIMIT {TOGETHER}"
    return [tuple(map(_writable, row)) for row in conn.execute(query, after or ())]


def _writable(value: Any) -> Any:
    """Return a value as PostgreSQL can have it: its texts hold no NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value


def _store(conn: Connection, table: Table, rows: Sequence[Row], after: str) -> None:
    places = ", ".join("?" * len(table.columns))
    conn.executemany(f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({places})", rows)
    facts.put(conn, table.mark, after)


def _count_on(conn: Connection, table: Table) -> None:
    """Let the next row that numbers itself come behind those that brought their numbers."""
    most = conn.execute(f"SELECT MAX(seq) FROM {table.name}").fetchone()[0]
    if most is not None:
        conn.execute("SELECT setval(pg_get_serial_sequence(?, 'seq'), ?)", (table.name, most))


def _key_of(table: Table, row: Row) -> Row:
    return tuple(row[table.columns.index(name)] for name in table.key)


def _key_in(text: str | None) -> Row | None:
    return None if text is None else tuple(msgspec.json.decode(text))
