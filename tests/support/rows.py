"""Rows of the registry that a test puts there, in states that the engine leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Any

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.tables import batches, files, parts
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.storage.tables.parts import PartRow

Fresh = Callable[[], AbstractContextManager[Connection]]  # opens a database without rows
BATCH_ID = "batch_0123456789abcdef"
CREATED = 1_700_000_000


def file_row(file_id: str = "file-1", **columns: Any) -> FileRow:
    """Return a file whose scan is never due, so that a batch of it stays `validating`."""
    values: dict[str, Any] = {
        "workspace": "one",
        "purpose": "batch",
        "filename": "in.jsonl",
        "bytes": 3,
        "sha256": "",
        "created_at": CREATED,
        "expires_at": None,
        "state": "uploaded",
    }
    return FileRow(id=file_id, **(values | columns))


def batch_row(batch_id: str = BATCH_ID, **columns: Any) -> BatchRow:
    """Return a batch that runs and has no parts."""
    values: dict[str, Any] = {
        "workspace": "one",
        "caller": "first",
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "route": "{}",
        "request_hash": batch_id,
        "trace_id": "t",
        "state": "running",
        "created_at": CREATED,
        "expires_at": CREATED + 86_400,
    }
    return BatchRow(id=batch_id, **(values | columns))


def part_row(batch_id: str, **columns: Any) -> PartRow:
    """Return the first part of a batch."""
    values: dict[str, Any] = {
        "slug": "lane",
        "provider": "openai",
        "endpoint": "/v1/chat/completions",
        "model": None,
        "partition_key": "",
        "lines": 1,
        "bytes": 1,
        "sha256": "",
        "mark": "mark",
        "file": "parts/0",
    }
    return PartRow(batch_id=batch_id, n=0, **(values | columns))


def make_schema(url: str) -> None:
    """Give a database of PostgreSQL the schema."""
    from proxy_plugin.storage import postgres, sessions  # here, for most tests have no use for psycopg

    with closing(sessions.connect(url)) as session:
        postgres.migrate(session)


def add_workspace(conn: Connection, name: str) -> int:
    """Add a workspace and return how many rows that were."""
    return conn.execute("INSERT INTO workspaces (name, bytes) VALUES (?, 1)", (name,)).rowcount


def workspaces(conn: Connection) -> list[str]:
    """Return the names of all workspaces."""
    return [row[0] for row in conn.execute("SELECT name FROM workspaces ORDER BY name")]


async def put_file(registry: Registry, file_id: str = "file-1", **columns: Any) -> str:
    """Put a file there and return its id."""
    await registry.write(files.insert, file_row(file_id, **columns))
    return file_id


async def put_batch(registry: Registry, batch_id: str = BATCH_ID, **columns: Any) -> BatchRow:
    """Put a batch there."""
    return await registry.write(batches.insert, batch_row(batch_id, **columns), is_retry=False)


async def put_part(registry: Registry, batch_id: str, **columns: Any) -> None:
    """Put the first part of a batch there."""
    await registry.write(parts.insert, part_row(batch_id, **columns))
