"""What all gateways of one database have in common, made once; and folders that are not for a gateway to start on."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy_plugin.ground.fingerprints import SECRET_BYTES
from proxy_plugin.storage import facts
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.data_dir import DataDirLock, mark_moved, require_scratch
from proxy_plugin.storage.errors import DataDirBusy, DataDirMoved
from proxy_plugin.storage.opening import registry_of
from proxy_plugin.storage.sqlite import SqliteRegistry


def test_a_fact_is_the_first_one_that_was_written(empty: Connection) -> None:
    assert facts.get(empty, facts.SECRET) is None
    assert facts.first(empty, facts.SECRET, "a") == "a"
    assert facts.first(empty, facts.SECRET, "b") == "a"
    facts.put(empty, facts.SECRET, "c")
    assert facts.get(empty, facts.SECRET) == "c"


async def test_replicas_that_begin_at_once_have_one_secret(migrated: str) -> None:
    """Also inside an event loop, which is where an application is set up."""
    with ThreadPoolExecutor(4) as beside:
        begun = [beside.submit(facts.shared_secret, registry_of(Path(), migrated)) for _ in range(4)]
        found = {facts.shared_secret(registry_of(Path(), migrated)), *(each.result() for each in begun)}
    (secret,) = found
    assert len(secret) == SECRET_BYTES


def test_nobody_begins_on_a_database_that_is_being_filled(tmp_path: Path) -> None:
    registry = SqliteRegistry(tmp_path)
    registry.open()
    asyncio.run(registry.write(facts.put, facts.MIGRATION, "of a folder"))
    registry.close()
    with pytest.raises(facts.HalfFilled, match="proxy-plugin migrate"):
        facts.shared_secret(SqliteRegistry(tmp_path))


def test_a_folder_of_a_gateway_of_its_own_is_no_scratch(tmp_path: Path) -> None:
    require_scratch(tmp_path)
    (tmp_path / "registry.sqlite3").touch()
    with pytest.raises(DataDirMoved, match="migrate --to postgres"):
        require_scratch(tmp_path)
    mark_moved(tmp_path, "was moved to x")
    require_scratch(tmp_path)  # and its lock refuses it
    with pytest.raises(DataDirBusy, match="was moved to x; it is kept as it was"):
        DataDirLock(tmp_path)
    DataDirLock(tmp_path, expected=True).release()
