"""How the engine has work done in ranges where several workers may, and in one go where there is no room for that."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
from msgspec import structs

from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.ranges.collecting import collect_ranges
from proxy_plugin.engine.space import Full
from proxy_plugin.engine.steps_merge import merged
from proxy_plugin.ground.workers import Terms
from proxy_plugin.lines.collect import SEEN_HEAD, collect
from proxy_plugin.lines.collecting import ranges as collecting
from proxy_plugin.lines.merge import merge
from proxy_plugin.lines.merging import ranges
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.room import Room, Shares
from tests.support.blocks import small_blocks
from tests.support.rows import batch_row
from tests.toy.toy_batch import ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")
BATCH = batch_row(state="merging", workspace="one", total=20)
EVERY = 1 << 40


class Workers:
    """Workers that run in this process, and note what they run. The disk is full when so many tasks have run."""

    def __init__(self, each: int, full_after: int | None = None) -> None:
        self.each, self.ran, self._full_after = each, list[str](), full_after

    async def run(self, _: Terms, function: Callable[..., Any], *args: Any) -> Any:
        self.ran.append(args[1].__name__)
        if len(self.ran) - 1 == self._full_after:
            raise OSError(errno.ENOSPC, "full")
        return function(*args)


class Disk:
    """A disk of which so much is free."""

    def __init__(self, free: int) -> None:
        self.free = free

    def room(self) -> int:
        return self.free

    def claim(self, count: int) -> None:
        self.free -= count

    def wrote(self, count: int) -> None:
        """It is the file system's to count."""


class Registry:
    """Nothing is stored."""

    async def read(self, *_: object) -> None:
        return None


def desk_of(folder: Path, workers: Workers, free: int = EVERY) -> Desk:
    registry = cast("Any", Registry())
    gateway = SimpleNamespace(
        room=Room(registry, cast("Any", Disk(free)), Shares(EVERY, 1.0, 0)),
        workers=workers,
        registry=registry,
        terms=lambda workspace, size, times: Terms(workspace, size * times),
    )
    return Desk(cast("Any", gateway), BatchFolders(folder))


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[ToyBatch]:
    """A batch whose twenty lines are three blocks."""
    made = ToyBatch(tmp_path, [chat(f"id {n}") for n in range(20)])
    made.split()
    with small_blocks(8):
        for part in made.manifest.parts:
            made.collect(part, made.woven(part))
        yield made


@pytest.mark.parametrize(("each", "ran"), [(2, ["merge"] * 3 + ["join"] * 3), (1, ["merge"])])
async def test_a_batch_is_merged_in_ranges_where_workers_may_do_so_at_once(
    batch: ToyBatch, tmp_path: Path, each: int, ran: list[str]
) -> None:
    workers = Workers(each)
    desk = desk_of(tmp_path, workers)
    job = batch.merge_job(name="merge-1")
    facts = await merged(desk, BATCH, job)
    assert workers.ran == ran
    assert facts == merge(batch.merge_job())
    found = files_below(tmp_path / "merge-1")
    assert found == files_below(tmp_path / "merge")
    assert desk.gateway.room.working.of("one") == sum(map(len, found.values()))
    assert desk.gateway.room.claims == {}


@pytest.mark.parametrize("full_after", range(6))
async def test_what_has_no_room_in_ranges_is_merged_in_one_go(batch: ToyBatch, tmp_path: Path, full_after: int) -> None:
    workers = Workers(2, full_after)
    assert await merged(desk_of(tmp_path, workers), BATCH, batch.merge_job(name="merge-1")) == merge(batch.merge_job())
    assert workers.ran[-1] == "merge"
    assert len(workers.ran) > full_after + 1
    assert files_below(tmp_path / "merge-1") == files_below(tmp_path / "merge")


async def test_what_has_no_room_at_all_waits(batch: ToyBatch, tmp_path: Path) -> None:
    with pytest.raises(Full):
        await merged(desk_of(tmp_path, Workers(2), free=1000), BATCH, batch.merge_job(name="merge-1"))
    assert not (tmp_path / "merge-1").exists()


async def test_results_are_collected_in_ranges(batch: ToyBatch, tmp_path: Path) -> None:
    part = batch.manifest.parts[0]
    job = batch.collect_job(part, batch.woven(part), folder=str(tmp_path / "rows-a"))
    desk, other = desk_of(tmp_path, Workers(2)), structs.replace(job, folder=str(tmp_path / "rows-b"))
    with mock.patch.multiple("proxy_plugin.lines.collecting.ranges", LARGE=0, RANGE=200):
        jobs = collecting.ranges_of(other)
    assert len(jobs) > 2
    assert await collect_ranges(desk, BATCH, Terms("one", 9.0), other, jobs) == collect(job)
    found = files_below(tmp_path / "rows-b")
    assert found == files_below(tmp_path / "rows-a")
    seen = len(jobs) * (SEEN_HEAD.size + 8)  # a byte for each line of a block
    assert desk.gateway.room.working.of("one") == 2 * (sum(map(len, found.values())) + seen)


async def test_a_range_that_fails_leaves_nothing(
    batch: ToyBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "passing", _broken)
    with pytest.raises(ValueError, match="broken"):
        await merged(desk_of(tmp_path, Workers(2)), BATCH, batch.merge_job(name="merge-1"))
    assert not (tmp_path / "merge-1").exists()


def _broken(_: str) -> None:
    raise ValueError("broken")
