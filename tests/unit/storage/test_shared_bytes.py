"""Bytes that replicas share: two data directories, each of a machine, on one store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.blobs import Blobs, StoredBlobs
from proxy_plugin.storage.blobs.cache import Copies
from proxy_plugin.storage.blobs.growing import PIECE_BYTES
from proxy_plugin.storage.blobs.object_store import Objects
from proxy_plugin.storage.blobs.sources import FEW, SMALL_BYTES, WINDOW_BYTES, StoredSource

NAME, BATCH = "file-0123456789abcdef01234567", "batch_0"
MUCH = 2**30


class Machine:
    """The blobs and batch folders of one replica."""

    def __init__(self, home: Path, store: Objects, cache_bytes: int = MUCH) -> None:
        self.blobs = StoredBlobs(home, store, cache_bytes)
        self.folders = BatchFolders(home, self.blobs.tree)

    async def keep(self, name: str, data: bytes) -> None:
        temp = self.blobs.temp_path()
        temp.write_bytes(data)
        self.blobs.adopt(temp, name)
        await self.blobs.publish(name)

    def write(self, path: str, data: bytes) -> Path:
        """Write a file of the batch as a worker does."""
        file = self.folders.folder(BATCH) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Objects]:
    made = Objects(f"file://{tmp_path / 'store'}")
    yield made
    made.close()


@pytest.fixture
async def machines(tmp_path: Path, store: Objects) -> AsyncIterator[tuple[Machine, Machine]]:
    found = Machine(tmp_path / "one", store), Machine(tmp_path / "two", store)
    yield found
    for each in found:
        each.blobs.close()


async def test_what_one_machine_has_published_is_present_on_the_other(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    await one.keep(NAME, b"line\n")
    one.blobs.index_path(NAME).write_bytes(b"index")
    await one.blobs.publish_index(NAME)
    assert (await two.blobs.present_with_index(NAME)).read_bytes() == b"line\n"
    assert two.blobs.index_path(NAME).read_bytes() == b"index"
    await two.blobs.discard(NAME)
    assert not two.blobs.path(NAME).exists()
    assert two.blobs.tree.store.listed("files") == []
    with pytest.raises(FileNotFoundError):
        await Machine(two.blobs.tree.root.with_name("three"), two.blobs.tree.store).blobs.present(NAME)


async def test_a_blob_without_an_index_has_none_to_publish(machines: tuple[Machine, Machine]) -> None:
    one, _ = machines
    await one.keep(NAME, b"line\n")
    await one.blobs.publish_index(NAME)
    assert [found.key for found in one.blobs.tree.store.listed("files")] == [f"files/67/{NAME}"]


async def test_a_folder_is_there_with_all_that_is_in_it(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    folder = one.write("split-a-1/manifest.json", b"{}").parent
    one.write("split-a-1/parts/00000.jsonl", b"1\n")
    one.write("split-a-1/.parts.new", b"half")
    (folder / "rejected").mkdir()
    await one.folders.publish(folder)
    await two.folders.present(BATCH, "split-a-1/parts/00000.jsonl", "split-a-1/rejected", "split-a-1/keys")
    theirs = two.folders.folder(BATCH) / "split-a-1"
    assert (theirs / "parts" / "00000.jsonl").read_bytes() == b"1\n"
    assert list((theirs / "rejected").iterdir()) == []  # a store without rows is no store that is missing
    assert sorted(path.name for path in theirs.iterdir()) == ["parts", "rejected"]  # and nothing else was asked for
    await two.folders.present(BATCH, "split-a-1")
    assert sorted(path.name for path in theirs.iterdir()) == ["manifest.json", "parts", "rejected"]


async def test_what_another_has_removed_is_asked_for_again_and_not_there(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    rows = one.write("rows-00000-a-1/000.rows", b"r").parent
    ledger = one.write(one.folders.ledger(BATCH, "file-out").name, b"l\n")
    await one.folders.share(rows, ledger)
    await one.folders.drop_ended(BATCH)
    await two.folders.present(BATCH, "rows-00000-a-1")
    assert not (two.folders.folder(BATCH) / "rows-00000-a-1").exists()
    source = two.folders.open(two.folders.ledger(BATCH, "file-out"))
    assert source.pread(10, 0) == b"l\n"
    await two.folders.drop_all(BATCH)
    assert two.blobs.tree.store.listed("batches") == []


def test_a_ledger_is_named_after_its_own_merge_where_others_may_merge(tmp_path: Path, store: Objects) -> None:
    shared = Machine(tmp_path / "one", store).folders
    assert shared.ledger(BATCH, "file-1").name != shared.ledger(BATCH, "file-2").name
    alone = BatchFolders(tmp_path)
    assert alone.ledger(BATCH, "file-1").name == alone.ledger(BATCH).name == "ledger.jsonl"


async def test_pictures_of_both_machines_are_present_on_both(machines: tuple[Machine, Machine]) -> None:
    for n, machine in enumerate(machines):
        await machine.folders.present_media(BATCH)
        machine.write(f"media/{n}", b"png")
        await machine.folders.share(machine.folders.media(BATCH))
    for machine in machines:
        await machine.folders.present_media(BATCH)
        assert sorted(path.name for path in machine.folders.media(BATCH).iterdir()) == ["0", "1"]


async def test_one_download_serves_all_who_wait_and_the_first_may_go(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    await one.keep(NAME, b"line\n")
    first, *others = [asyncio.create_task(two.blobs.present(NAME)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    assert {path.read_bytes() for path in await asyncio.gather(*others)} == {b"line\n"}
    with pytest.raises(asyncio.CancelledError):
        await first


# ---- the cache ----


async def test_copies_are_bounded_and_what_is_held_stays(tmp_path: Path, store: Objects) -> None:
    machine = Machine(tmp_path / "one", store)
    cache = machine.blobs.tree.cache = Copies(tmp_path / "one", most_bytes=25, grace=0)
    names = [f"file-00{n}" for n in range(5)]
    with machine.blobs.held():
        await machine.keep(names[0], b"x" * 10)
        for name in names[1:]:
            await asyncio.create_task(machine.keep(name, b"x" * 10))  # its tasks hold for it
        assert all(machine.blobs.path(name).exists() for name in names)
    assert (cache.bytes, cache.trim()) == (50, 3)
    assert [machine.blobs.path(name).exists() for name in names] == [False, False, False, True, True]
    assert (await machine.blobs.present(names[0])).read_bytes() == b"x" * 10
    assert not machine.blobs.path(names[3]).exists()  # the one used longest ago made room


def copied(root: Path, cache: Copies, key: str) -> None:
    (root / key).parent.mkdir(parents=True, exist_ok=True)
    (root / key).write_bytes(b"copy")
    cache.add(key, 4)


def test_a_copy_that_somebody_has_removed_is_none(tmp_path: Path) -> None:
    cache = Copies(tmp_path, MUCH)
    copied(tmp_path, cache, "files/ab/x")
    (tmp_path / "files/ab/x").unlink()
    assert (cache.has("files/ab/x"), cache.bytes) == (False, 0)


def test_a_copy_that_was_just_asked_for_can_be_opened(tmp_path: Path) -> None:
    cache = Copies(tmp_path, most_bytes=0)
    copied(tmp_path, cache, "files/ab/x")
    assert (cache.trim(), cache.has("files/ab/x")) == (0, True)


def test_a_folder_is_forgotten_but_for_its_ledger(tmp_path: Path) -> None:
    cache = Copies(tmp_path, MUCH)
    for key in ("batches/b/rows-1/0", "batches/b/f.ledger.jsonl", "batches/bb/x"):
        copied(tmp_path, cache, key)
    cache.forget("batches/b", but="ledger.jsonl")
    assert [cache.has(key) for key in ("batches/b/rows-1/0", "batches/b/f.ledger.jsonl", "batches/bb/x")] == [
        False,
        True,
        True,
    ]
    assert cache.bytes == 8


# ---- reading in ranges ----


class Held:
    """Bytes as a store gives them, which counts what is asked."""

    def __init__(self, data: bytes) -> None:
        self.data, self.reads = data, list[tuple[int, int]]()

    def size(self, _: str) -> int:
        return len(self.data)

    def read(self, _: str, start: int, stop: int) -> memoryview:
        self.reads.append((start, stop))
        return memoryview(self.data)[start:stop]


@given(spans=st.lists(st.tuples(st.integers(0, 3 * WINDOW_BYTES), st.integers(0, WINDOW_BYTES + 9)), max_size=8))
def test_any_bytes_are_read_by_windows(spans: list[tuple[int, int]]) -> None:
    held = Held(os.urandom(WINDOW_BYTES * 5 // 2))
    source = StoredSource(held, "key")  # type: ignore[arg-type]
    for offset, count in spans:
        assert source.pread(count, offset) == held.data[offset : offset + count]


def test_what_is_read_in_order_is_asked_for_once() -> None:
    held = Held(bytes(WINDOW_BYTES * 2 + 5))
    source = StoredSource(held, "key")  # type: ignore[arg-type]
    for offset in range(0, source.size, 64 * 1024):
        source.pread(64 * 1024, offset)
    assert len(held.reads) == 3


def test_what_was_read_to_its_end_is_in_memory_no_more() -> None:
    source = StoredSource(Held(bytes(WINDOW_BYTES * 2 + 5)), "key")  # type: ignore[arg-type]
    for offset in range(0, source.size, 64 * 1024):
        source.pread(64 * 1024, offset)
        assert len(source._windows) == ((offset + 64 * 1024) % WINDOW_BYTES > 0 and offset + 64 * 1024 < source.size)


async def test_of_many_that_are_read_at_once_each_has_less_in_memory(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machines
    await one.keep(NAME, bytes(WINDOW_BYTES))
    reads, read = list[int](), Objects.read

    def counted(self: Objects, key: str, start: int, stop: int) -> memoryview:
        reads.append(stop - start)
        return read(self, key, start, stop)

    monkeypatch.setattr(Objects, "read", counted)
    sources = [two.blobs.open(NAME) for _ in range(FEW + 1)]
    for each in (sources[0], sources[-1]):
        assert each.pread(5, 9) == bytes(5)
    assert reads == [WINDOW_BYTES, SMALL_BYTES]
    each.close()
    del sources, each
    two.blobs.open(NAME).pread(1, 0)
    assert reads[-1] == WINDOW_BYTES


async def test_a_blob_is_streamed_from_where_it_is(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    one, two = machines
    data = os.urandom(700_000)
    await one.keep(NAME, data)
    alone = Blobs(tmp_path / "alone")
    (temp := alone.temp_path()).write_bytes(data)
    alone.adopt(temp, NAME)
    for blobs in (one.blobs, two.blobs, alone):
        assert b"".join([block async for block in blobs.stream(NAME, 5, 600_000)]) == data[5:600_000]
    assert not two.blobs.path(NAME).exists()
    alone.close()


# ---- uploads on their way ----


async def test_an_upload_is_in_the_store_when_its_last_byte_is_here(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    data, path = os.urandom(2 * PIECE_BYTES + 17), one.blobs.temp_path()
    path.write_bytes(data[:1000])
    growing = one.blobs.growing(NAME, path)
    assert growing is not None
    growing.grew(1000)
    with path.open("ab") as file:
        file.write(data[1000:])
    growing.grew(len(data))
    assert await growing.finish()
    assert (await two.blobs.present(NAME)).read_bytes() == data


async def test_an_upload_that_is_given_up_leaves_no_object(machines: tuple[Machine, Machine]) -> None:
    one, _ = machines
    path = one.blobs.temp_path()
    path.write_bytes(b"x" * 1000)
    growing = one.blobs.growing(NAME, path)
    assert growing is not None
    growing.grew(1000)
    await growing.give_up()
    assert one.blobs.tree.store.listed("files") == []


# ---- alone ----


async def test_a_gateway_of_its_own_asks_nothing(tmp_path: Path) -> None:
    blobs, folders = Blobs(tmp_path / "data"), BatchFolders(tmp_path / "data")
    assert await blobs.present(NAME) == await blobs.present_with_index(NAME) == blobs.path(NAME)
    await blobs.publish(NAME)
    await blobs.publish_index(NAME)
    await folders.share(tmp_path / "nowhere")
    await folders.present(BATCH, "nowhere")
    assert blobs.growing(NAME, tmp_path) is None
    assert await blobs.away() is None
    blobs.close()
