"""The start of a replica without its database: what is waited for, what is not, and for how long at most."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from proxy_plugin.storage.errors import DatabaseAway, StorageError
from proxy_plugin.storage.replicas.arrival import DatabaseRefuses, until_there
from tests.support.ports import free_port
from tests.support.postgres import Databases
from tests.support.waiting import eventually

PASSWORD = "pw-Hidden-0815"
GUEST = "guest"


def nobody() -> str:
    """Return a URL where nobody answers."""
    return f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d"


@pytest.fixture
def guest(databases: Databases) -> Iterator[str]:
    """A role that has to say a password."""
    rules = databases.server.data / "pg_hba.conf"
    before = rules.read_text()
    databases.ask(f"CREATE ROLE {GUEST} LOGIN PASSWORD 'right' CONNECTION LIMIT 0")
    rules.write_text(f"host all {GUEST} 127.0.0.1/32 scram-sha-256\n{before}")
    databases.ask("SELECT pg_reload_conf()")
    yield GUEST
    rules.write_text(before)
    databases.ask("SELECT pg_reload_conf()")
    databases.ask(f"DROP ROLE {GUEST}")


def waits(caplog: pytest.LogCaptureFixture) -> bool:
    return any(record.message == "database_awaited" for record in caplog.records)


async def test_a_database_that_is_there_is_not_waited_for(migrated: str) -> None:
    assert await until_there(migrated, asyncio.Event())


async def test_one_that_does_not_come_is_named_without_its_password() -> None:
    url = nobody()
    with pytest.raises(DatabaseAway, match="no session within 0 s") as raised:
        await until_there(url, asyncio.Event(), patience=0.0)
    assert url.rpartition("/")[0].rpartition(":")[2] in str(raised.value), "the port"
    assert "storage.database_url" in str(raised.value)
    assert PASSWORD not in str(raised.value)


async def test_a_stop_ends_the_waiting(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "proxy_plugin")
    stopped = asyncio.Event()
    waiting = asyncio.create_task(until_there(nobody(), stopped))
    await eventually(lambda: waits(caplog))
    stopped.set()
    assert not await waiting


async def test_what_a_server_refuses_for_good_is_told_at_once(databases: Databases, guest: str) -> None:
    as_guest = databases.server.url().replace("postgres@", f"{guest}:{PASSWORD}@")
    await refused(as_guest, "password authentication failed")
    for url, said in (
        (databases.server.url("no_such_database"), '"no_such_database" does not exist'),
        (databases.server.url().replace("postgres@", "nobody@"), '"nobody" does not exist'),
        (f"{databases.server.url()}?sslmode=require", "does not support SSL"),
        (f"{databases.server.url()}?sslmode=of-course", "sslmode"),
    ):
        await refused(url, said)
    with pytest.raises(StorageError, match="cannot be read"):
        await until_there(f"postgresql://u:{PASSWORD}@[h/d", asyncio.Event())


async def refused(url: str, said: str) -> None:
    with pytest.raises(DatabaseRefuses, match=said) as raised:
        await until_there(url, asyncio.Event())
    assert "storage.database_url" in str(raised.value)
    assert PASSWORD not in str(raised.value)


async def test_a_server_that_has_no_place_is_waited_for(databases: Databases, guest: str) -> None:
    url = databases.server.url().replace("postgres@", f"{guest}:right@")
    with pytest.raises(DatabaseAway, match="too many connections"):
        await until_there(url, asyncio.Event(), patience=0.0)
