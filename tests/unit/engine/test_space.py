"""What a step does where its guess of what it writes is wrong, or where there is no room."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from proxy_plugin.engine import space
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.space import Full
from proxy_plugin.engine.waiting import cause_of
from proxy_plugin.ground.allowance import Overdrawn, within
from proxy_plugin.ground.durable import GrowingFiles, HashedFile, empty_folder, write_atomically
from proxy_plugin.ground.workers import Terms
from proxy_plugin.providers.base import TryLater
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.room import ENDING, NEW, RESULTS, DiskFull, Rank, Room, Shares
from proxy_plugin.storage.tables import waits
from tests.support.rows import batch_row

SHARE = 1_000_000
TERMS = Terms("default", 60.0)


class Registry:
    """Nothing is stored yet."""

    stored = 0

    async def read(self, *_: object) -> int:
        return self.stored


class Disk:
    """A disk of which so much is free."""

    def __init__(self, free: int) -> None:
        self.free = free

    def room(self) -> int:
        return self.free

    def size(self) -> int:
        return 1 << 60

    def claim(self, count: int) -> None:
        self.free -= count

    def wrote(self, count: int) -> None:
        """It is the file system's to count."""


class Inline:
    """Workers that run in this process, and count."""

    def __init__(self) -> None:
        self.runs = 0

    async def run(self, _: Terms, function: Callable[..., Any], *args: Any) -> Any:
        self.runs += 1
        return function(*args)


class Job(msgspec.Struct, frozen=True):
    folder: str
    size: int
    breaks: bool = False


def write(job: Job) -> int:
    folder = Path(job.folder)
    empty_folder(folder)
    file = GrowingFiles().file(folder / "document")
    for _ in range(0, job.size, 1000):
        file.append(b"x" * 1000)
    file.sync()
    if job.breaks:
        raise OSError(errno.ENOSPC, "full")
    return (folder / "document").stat().st_size


def desk_of(tmp_path: Path, free: int = 1 << 40, reserve: int = 0) -> Desk:
    room = Room(cast("Any", Registry()), cast("Any", Disk(free)), Shares(SHARE, 1.0, reserve))
    gateway = SimpleNamespace(room=room, workers=Inline(), clock=SimpleNamespace(now=lambda: 0.0))
    return Desk(cast("Any", gateway), BatchFolders(tmp_path))


BATCH = batch_row(state="splitting", workspace="one")


def held(desk: Desk) -> int:
    return desk.gateway.room.working.of("one")


@pytest.mark.parametrize("size", [0, 1000, 65_000, 66_000, 150_000, 400_000])
async def test_a_guess_that_was_too_small_is_doubled(tmp_path: Path, size: int) -> None:
    desk, job = desk_of(tmp_path), Job(str(tmp_path / "split"), size)
    assert await space.run(desk, BATCH, NEW, 0, TERMS, write, job) == size
    assert held(desk) == size
    assert desk.gateway.room.claims == {}
    allowed = [space.LEAST << n for n in range(8)]
    assert cast("Any", desk.gateway.workers).runs == 1 + sum(size > most for most in allowed)


@pytest.mark.parametrize(("size", "expected"), [(900_000, 0), (100, 2_000_000), (5_000_000, 500_000)])
async def test_what_finds_no_room_leaves_nothing_and_waits(tmp_path: Path, size: int, expected: int) -> None:
    desk, job = desk_of(tmp_path), Job(str(tmp_path / "split"), size)
    desk.gateway.room.claims["one"] = 200_000
    with pytest.raises(Full) as caught:
        await space.run(desk, BATCH, NEW, expected, TERMS, write, job)
    assert cause_of(caught.value, "split", frozenset()).reason == waits.WORKSPACE_FULL
    assert not Path(job.folder).exists()
    assert (held(desk), desk.gateway.room.claims) == (0, {"one": 200_000})


async def test_a_disk_that_is_full_all_the_same_leaves_nothing(tmp_path: Path) -> None:
    desk, job = desk_of(tmp_path), Job(str(tmp_path / "split"), 5_000, breaks=True)
    with pytest.raises(OSError, match="full"):
        await space.run(desk, BATCH, NEW, 5_000, TERMS, write, job)
    assert not Path(job.folder).exists()
    assert (held(desk), desk.gateway.room.claims) == (0, {})


@pytest.mark.parametrize(
    ("rank", "held_before", "free", "reason"),
    [
        (NEW, 0, 1 << 40, None),
        (NEW, SHARE, 1 << 40, waits.WORKSPACE_FULL),
        (RESULTS, SHARE, 1 << 40, None),
        (RESULTS, SHARE * 3 // 2, 1 << 40, waits.WORKSPACE_FULL),
        (ENDING, SHARE * 9, 1 << 40, None),
        (NEW, 0, 999_999, waits.DISK_FULL),
        (RESULTS, 0, 999_999, None),
        (ENDING, SHARE * 9, 700_000, None),
        (RESULTS, 0, 500_000, waits.DISK_FULL),
        (ENDING, 0, 500_000, waits.DISK_FULL),
    ],
)
async def test_who_is_paid_for_goes_further(
    tmp_path: Path, rank: Rank, held_before: int, free: int, reason: str | None
) -> None:
    desk = desk_of(tmp_path, free, reserve=1_000_000)
    desk.gateway.room.working.add("one", "batch_other", held_before)
    try:
        await space.run(desk, BATCH, rank, 10, TERMS, write, Job(str(tmp_path / "x"), 10))
        found = None
    except Full as full:
        found = full.reason
    assert found == reason


async def test_results_count_until_they_are_in_a_file(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    with space.claiming(desk, BATCH, RESULTS, 3) as claim:
        results = space.Results(claim, 10_000, cuts=False)
        await results.take(1_000)
        assert desk.gateway.room.claims == {"one": 3_000}
        await results.take(500)
    assert (held(desk), desk.gateway.room.claims) == (4_500, {})
    folder = tmp_path / "batches" / BATCH.id
    there = {"results-00000-a-1/output.jsonl": 700, "rows-00000-a-2/000000.rows": 100, "split-a-1/x": 10}
    for name, size in there.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"x" * size)
    await space.measure(desk, {BATCH.id: "one"})
    assert held(desk) == 3 * 700 + 2 * 100 + 10
    await space.measure(desk, {"batch_unknown": "one"})
    desk.gateway.room.working.forget([BATCH.id])
    assert held(desk) == 0


def test_a_wait_for_room_is_told_through_the_words_around_it() -> None:
    told = TryLater("the results cannot be read")
    told.__cause__ = Full(DiskFull())
    assert cause_of(told, "fetch", frozenset()).reason == waits.DISK_FULL


@pytest.mark.parametrize("way", ["growing", "hashed", "atomic"])
def test_nothing_is_written_beyond_the_allowance(tmp_path: Path, way: str) -> None:
    def work(size: int) -> None:
        if way == "growing":
            file = GrowingFiles().file(tmp_path / "f")
            file.append(b"x" * size)
            file.sync()
        elif way == "hashed":
            with HashedFile(tmp_path / f"h{size}") as hashed:
                hashed.write_line(b"x" * size)
                hashed.finish()
        else:
            write_atomically(tmp_path / "a", b"x" * size)

    assert within(100_000, work, 100_000)[1] == 100_000
    with pytest.raises(Overdrawn):
        within(99_999, work, 100_001)
    work(200_000)  # outside of an allowance everything goes
