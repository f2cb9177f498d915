"""Objects that no row names go when they are old, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.engine.sharing import orphans
from proxy_plugin.storage.blobs import StoredBlobs
from proxy_plugin.storage.blobs.object_store import Objects
from proxy_plugin.storage.sqlite import SqliteRegistry
from tests.support.orphans import KEPT, ORPHANS, rows


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Any]:
    registry = SqliteRegistry(tmp_path)
    blobs = StoredBlobs(tmp_path / "data", Objects(f"file://{tmp_path / 'store'}"), 2**20)
    registry.open()
    yield SimpleNamespace(registry=registry, blobs=blobs, clock=SimpleNamespace(now=time.time))
    registry.close()
    blobs.close()


async def test_old_objects_without_a_row_go(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await gateway.registry.write(rows)
    for key in KEPT | ORPHANS:
        gateway.blobs.tree.store.put_bytes(key, b"x")
    assert await orphans.sweep(cast("Any", gateway)) == 0  # none is old
    monkeypatch.setattr(orphans, "OLD_SECONDS", -60.0)
    assert await orphans.sweep(cast("Any", gateway)) == len(ORPHANS)
    store = gateway.blobs.tree.store
    assert {found.key for folder in ("files", "batches") for found in store.listed(folder)} == KEPT
    assert await orphans.sweep(cast("Any", gateway)) == 0
