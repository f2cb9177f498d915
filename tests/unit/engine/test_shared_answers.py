"""Answers of ordinary calls in pieces: what one machine has published another has, once each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.direct.answers import NAME, Answers, Busy, rows_behind
from proxy_plugin.engine.sharing.answers import Gathering, Risk
from proxy_plugin.storage.blobs.cache import Copies
from proxy_plugin.storage.blobs.object_store import Objects
from proxy_plugin.storage.blobs.tree import Tree
from proxy_plugin.storage.errors import StoreAway

PART = Path("batches/b/results-00000-x-1")


def row(record: int, text: str = "", *, ok: bool = True) -> bytes:
    return b'{"id":"%s-%d","text":"%s"}\n' % (b"ok" if ok else b"no", record, text.encode())


class Machine:
    """One replica: its copy of the answers of one part."""

    def __init__(self, home: Path, store: Objects) -> None:
        self.tree = Tree(home, store, Copies(home, 2**30))
        self.folder, self.gathering = home / PART, Gathering()
        self.folder.mkdir(parents=True)

    def answer(self, *rows: bytes) -> None:
        with (self.folder / NAME).open("ab") as file:
            file.writelines(rows)

    async def publish(self) -> None:
        await self.gathering.publish(self.tree, self.folder)

    async def take(self) -> list[bytes]:
        await self.gathering.take(self.tree, self.folder)
        path = self.folder / NAME
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    def pieces(self) -> int:
        return len(self.tree.store.listed(PART.as_posix()))


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[tuple[Machine, Machine]]:
    store = Objects("memory:///")
    yield Machine(tmp_path / "one", store), Machine(tmp_path / "two", store)
    store.close()


async def test_the_next_machine_goes_on_with_what_was_published(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    one.answer(row(0), row(1))
    await one.publish()
    await one.publish()
    one.answer(row(2))
    await one.publish()
    one.answer(row(3), b'{"id":"ok-4","te')  # lost with the machine: a second's, and what was being written
    assert one.pieces() == 2
    assert await two.take() == [row(0), row(1), row(2)]
    two.answer(row(3, "again"), row(4))
    await two.publish()
    assert await two.take() == [row(0), row(1), row(2), row(3, "again"), row(4)]


async def test_a_machine_that_comes_back_joins_what_it_had_left(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    one.answer(row(0))
    await one.publish()
    await two.take()
    two.answer(row(1, "two"))
    await two.publish()
    one.answer(row(1, "one"), row(2, "one"))
    assert await one.take() == [row(0), row(1, "one"), row(2, "one")]  # of two answers, both paid, one counts
    assert await two.take() == [row(0), row(1, "two"), row(2, "one")]


async def test_a_process_that_begins_again_publishes_what_is_on_its_disk(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    one.answer(row(0))
    await one.publish()
    one.answer(row(1))
    again = Gathering()
    await again.publish_left(one.tree, [one.folder])
    assert one.pieces() == 2
    assert await two.take() == [row(0), row(1)]


async def test_a_row_that_was_taken_back_is_not_cut_out_of_the_next(machines: tuple[Machine, Machine]) -> None:
    """On a full disk the worker truncates what it could not sync; it may have been published by then."""
    one, two = machines
    one.answer(row(0), row(1, "taken back"))
    await one.publish()
    (one.folder / NAME).write_bytes(row(0))
    one.answer(row(1, "made again, and longer than before"), row(2))
    await one.publish()
    assert await two.take() == [row(0), row(1, "taken back"), row(2)]


async def test_nobody_joins_while_a_worker_writes(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    one.answer(row(0))
    await one.publish()
    async with Answers(two.folder):
        with pytest.raises(Busy):
            await two.take()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_plugin.direct.answers.LOCK_SECONDS", 0.0)


async def test_a_store_that_takes_nothing_for_long_ends_the_turn(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = machines
    moment = [1000.0]
    monkeypatch.setattr("proxy_plugin.engine.sharing.answers.monotonic", lambda: moment[0])
    refused = [True]

    def put(self: Objects, key: str, data: bytes) -> None:
        if refused[0]:
            raise StoreAway("not now")

    monkeypatch.setattr(Objects, "put_bytes", put)
    risk = Risk(one.gathering, one.tree, one.folder)
    one.answer(row(0))
    for _ in range(3):
        assert not risk.too_high
        risk.look()
        await risk.end()
        moment[0] += 25
    assert risk.too_high
    refused[0] = False
    for _ in range(2):
        risk.look()
        await risk.end()
    assert not risk.too_high


async def test_alone_nothing_is_published(tmp_path: Path) -> None:
    gathering, risk = Gathering(), Risk(Gathering(), None, tmp_path)
    await gathering.take(None, tmp_path)
    await gathering.publish(None, tmp_path)
    risk.look()
    assert not risk.too_high
    await risk.end()


@given(rows=st.lists(st.integers(0, 400), max_size=12), tail=st.integers(0, 24), start=st.integers(0, 12))
def test_only_whole_rows_are_told(rows: list[int], tail: int, start: int) -> None:
    with TemporaryDirectory() as folder:
        check_told(Path(folder) / NAME, rows, tail, start)


def check_told(path: Path, rows: list[int], tail: int, start: int) -> None:
    whole = [row(n, "x" * size) for n, size in enumerate(rows)]
    path.write_bytes(b"".join(whole) + row(99)[:tail])
    begin = sum(map(len, whole[:start]))
    assert rows_behind(path, begin) == (begin, b"".join(whole[start:]))
