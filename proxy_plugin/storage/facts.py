"""What all gateways of one database have in common: the secret of their fingerprints, and whether it is being filled.

The secret keys account fingerprints, the hashes of what callers bring and the secrets of webhooks. One gateway of its
own has it in `data_dir/secret`; replicas have it in a row, which the first one makes.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.registry import Registry

SECRET, MIGRATION = "secret", "migration"
DONE = "done"
SECRET_BYTES = 32


class HalfFilled(StorageError):
    """A migration into this database has begun and not ended."""


def get(conn: Connection, name: str) -> str | None:
    """Return a fact, None for one that nobody has written."""
    row = conn.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def put(conn: Connection, name: str, value: str) -> None:
    """Write a fact down, in the place of what it was."""
    sql = "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    conn.execute(sql, (name, value))


def first(conn: Connection, name: str, value: str) -> str:
    """Return a fact; where nobody has written it, this value becomes it."""
    conn.execute("INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, value))
    return get(conn, name) or value


def shared_secret(registry: Registry) -> bytes:
    """Return the secret of all gateways of a database. Blocking: the registry is opened, and closed again.

    Raises what `Registry.open` raises, StorageError, and HalfFilled while the database is being filled.
    """
    registry.open()
    try:
        with ThreadPoolExecutor(1) as beside:  # the caller may run in an event loop, which has not begun to serve
            return beside.submit(asyncio.run, registry.write(_secret, os.urandom(SECRET_BYTES).hex())).result()
    finally:
        registry.close()


def _secret(conn: Connection, fresh: str) -> bytes:
    state = get(conn, MIGRATION)
    if state not in (None, DONE):
        raise HalfFilled("it is being filled by `proxy-plugin migrate`, which has to end first: run it again")
    return bytes.fromhex(first(conn, SECRET, fresh))
