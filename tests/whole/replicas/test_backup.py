"""The commands of the guide make a copy of a database that is the same, and that a gateway starts on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_plugin.storage import facts
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.moving import rows
from proxy_plugin.storage.moving.rows import Sum, Table
from proxy_plugin.storage.opening import registry_of
from proxy_plugin.storage.sqlite import connect, migrate
from tests.support import backups
from tests.support.postgres import Databases
from tests.support.rows import BATCH_ID, put_batch, put_file, put_part


@pytest.fixture
def restored(databases: Databases) -> Iterator[str]:
    url = databases.fresh()
    yield url
    databases.drop(url)


def tables() -> list[Table]:
    conn = connect(Path(":memory:"))
    migrate(conn)
    found = rows.tables(conn)
    conn.close()
    return found


def summed(conn: Connection) -> dict[str, Sum]:
    return {table.name: rows.summed(conn, table) for table in tables()}


def seen(url: str, *, fill: bool = False) -> tuple[bytes, dict[str, Sum]]:
    """Return the secret and the sums of all tables of a database, which gets some rows before if that is wished."""
    secret = facts.shared_secret(registry_of(Path(), url))
    registry = registry_of(Path(), url)
    registry.open()

    async def look() -> dict[str, Sum]:
        if fill:
            await put_file(registry, filename="ümläut \\ \t.jsonl")
            await put_batch(registry)
            await put_part(registry, BATCH_ID, state="running")
        return await registry.scan(summed)

    try:
        return secret, asyncio.run(look())
    finally:
        registry.close()


def test_a_dump_of_the_guide_comes_back_as_it_was(database: str, restored: str, tmp_path: Path) -> None:
    before = seen(database, fill=True)
    assert before[1]["events"].rows > 0
    assert len(backups.commands()) == 2
    backups.restore(database, restored, tmp_path)
    assert seen(restored) == before


def test_who_is_given_another_database_has_another_secret(database: str, restored: str) -> None:
    assert seen(database)[0] != seen(restored)[0]
    assert seen(database)[0] == seen(database)[0]
