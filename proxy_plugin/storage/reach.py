"""Whether the database and the object store of a configuration can be used: for `check --live`, and before a start.

All block, and return why not in one line without credentials, an empty text where they can.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Protocol

from proxy_plugin.ground.masking import mask
from proxy_plugin.storage.errors import StorageError, StoreAway
from proxy_plugin.storage.replicas import clocks

_SOON = {"connect_timeout": "3s", "timeout": "5s"}  # of a store's client
_MAY = "SELECT pg_is_in_recovery() OR NOT has_schema_privilege(current_schema(), 'CREATE')"


class TriedStore(Protocol):
    """What is tried of an object store."""

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write an object."""

    def listed(self, folder: str) -> object:
        """List a folder."""

    def read(self, key: str, start: int, stop: int) -> memoryview:
        """Read of an object."""

    def delete(self, keys: list[str]) -> None:
        """Delete objects."""


def database(url: str) -> tuple[str, str]:
    """Open a session, and ask whether tables can be made there, and what time it is.

    The second text is what is wrong with the clocks, where the first is empty.
    """
    import psycopg  # noqa: PLC0415 - an extra

    from proxy_plugin.storage import sessions  # noqa: PLC0415

    try:
        with closing(sessions.connect(url)) as session:
            refused = sessions.command(session, _MAY) == "t"
            skew = clocks.measured(session.tables, time.time)
    except (psycopg.Error, StorageError) as error:
        return _one_line(error), ""
    return ("it is a standby, or the role may make no tables in it", "") if refused else ("", skew.problem)


def store(url: str, options: Mapping[str, str]) -> str:
    """Write, list, read and delete an object."""
    from proxy_plugin.storage.blobs.object_store import Objects  # noqa: PLC0415 - obstore is an extra

    made = Objects(url, options)
    try:
        return tried(made)
    finally:
        made.close()


def refusal(url: str, options: Mapping[str, str]) -> str:
    """Ask for an object once, and return why nobody will ever be let in; "" where that works, or the store is away."""
    from proxy_plugin.storage.blobs.object_store import Objects  # noqa: PLC0415 - obstore is an extra

    made = Objects(url, {**options, **_SOON}, once=True)
    try:
        return _one_line(StoreAway(found)) if (found := made.refuses()) else ""
    finally:
        made.close()


def tried(made: TriedStore) -> str:
    """Do so, and tell what was refused."""
    folder, data = f"check/{secrets.token_hex(8)}", b"written by check --live, and deleted"
    key = f"{folder}/object"
    tries: tuple[tuple[str, Callable[[], object]], ...] = (
        ("written", lambda: made.put_bytes(key, data)),
        ("listed", lambda: made.listed(folder)),
        ("read", lambda: made.read(key, 0, len(data))),
        ("deleted", lambda: made.delete([key])),
    )
    for what, act in tries:
        try:
            act()
        except (StoreAway, OSError, ValueError) as error:
            return f"no object can be {what} ({_one_line(error)})"
    return ""


def _one_line(error: Exception) -> str:
    return mask(" ".join(str(error).split())[:500]) or type(error).__name__
