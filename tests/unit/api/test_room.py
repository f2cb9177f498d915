"""Claims of uploads before a database that takes its time to answer, as one behind a network does."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.api.files.room import Store
from proxy_plugin.api.files.spool import Bound, spooling
from proxy_plugin.config.bounds import Limits
from proxy_plugin.gateway import Traffic
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.ground.errors import NoSpace, TooManyRequests
from proxy_plugin.storage import room as rooms
from proxy_plugin.storage.room import NEW, RESULTS, Claim, Room, Shares
from proxy_plugin.storage.space import Space

QUOTA, FILE = 100, 60


class SlowRegistry:
    """Knows how many bytes are stored, and gives others a turn between looking and answering."""

    def __init__(self) -> None:
        self.stored = self.documents = self.scans = 0

    async def read(self, *_: object) -> int:
        found = self.stored
        await asyncio.sleep(0.01)
        return found

    async def scan(self, *_: object) -> int:
        self.scans += 1
        return self.documents


@pytest.fixture
def registry() -> SlowRegistry:
    return SlowRegistry()


@pytest.fixture
def store(tmp_path: Path, registry: SlowRegistry) -> Store:
    blobs = SimpleNamespace(space=Space(tmp_path))
    limits = Limits(max_uploads=1)
    room = Room(cast("Any", registry), blobs.space, Shares(QUOTA, 1.0, 0))
    return Store(cast("Any", registry), cast("Any", blobs), SystemClock(), limits, Traffic(), room)


async def admitted(store: Store) -> bool:
    with Claim(store.room, "team") as claim:
        try:
            await claim.cover(FILE)
        except NoSpace:
            return False
        await asyncio.sleep(0.01)
    return True


async def test_uploads_that_ask_at_once_do_not_pass_the_quota_together(store: Store) -> None:
    assert sum(await asyncio.gather(*(admitted(store) for _ in range(5)))) <= 1
    assert store.room.claims == {}
    assert await admitted(store)


async def test_an_upload_that_ends_while_another_asks_is_counted(store: Store, registry: SlowRegistry) -> None:
    with Claim(store.room, "team") as first:
        await first.cover(FILE)
        second = asyncio.create_task(admitted(store))
        await asyncio.sleep(0)
        registry.stored = FILE  # its row, which the second has looked for already
    assert not await second
    assert store.room.claims == {}


async def test_an_upload_takes_its_turn_where_it_begins(store: Store) -> None:
    bound = Bound(FILE, "too long", "file")
    store.traffic.uploads = 1
    with pytest.raises(TooManyRequests):
        async with spooling(store, "team", bound, 0):
            pass
    assert store.traffic.uploads == 1


@pytest.mark.parametrize("shared", [True, False])
async def test_documents_that_other_replicas_hold_take_room_from_what_is_new(
    tmp_path: Path, registry: SlowRegistry, shared: bool
) -> None:
    room = Room(cast("Any", registry), Space(tmp_path), Shares(QUOTA, 1.0, 0), shared=shared)
    registry.documents = QUOTA - FILE + 1
    room.working.add("team", "batch_0", QUOTA - FILE)  # is among them
    for rank, is_full in ((NEW, shared), (RESULTS, False), (NEW, shared)):
        with pytest.raises(NoSpace) if is_full else nullcontext():
            await room.require("team", FILE, rank)
    assert registry.scans == shared, "asked for each claim"
    room.working.add("team", "batch_0", 2)
    with pytest.raises(NoSpace):
        await room.require("team", FILE)


async def test_what_other_replicas_hold_is_asked_for_again(
    store: Store, registry: SlowRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(cast("Any", registry), cast("Any", store.blobs.space), Shares(QUOTA, 1.0, 0), shared=True)
    await room.require("team", FILE)
    registry.documents = QUOTA
    await room.require("team", FILE)  # known a moment ago
    monkeypatch.setattr(rooms, "KNOWN_SECONDS", 0.0)
    with pytest.raises(NoSpace):
        await room.require("team", FILE)
    registry.documents = 0
    await room.require("team", FILE)
