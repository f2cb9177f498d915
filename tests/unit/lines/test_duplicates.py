"""Repeated ids are found exactly, in memory and through bucket files, whatever their hashes do."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.duplicates import IDS_IN_MEMORY, Buckets, Duplicate, DuplicateIds, Duplicates, settle

DRAWN = 1_214_956_992_497_571_439  # a modulus as scans draw theirs


class Colliding(str):
    """An id whose hash says nothing."""

    __slots__ = ()

    def __hash__(self) -> int:
        return -7


def found(ids: list[str], in_memory: int = IDS_IN_MEMORY) -> Duplicates:
    with tempfile.TemporaryDirectory() as folder:
        with DuplicateIds(Path(folder), in_memory=in_memory) as duplicates:
            for ordinal, custom_id in enumerate(ids):
                duplicates.add(ordinal, custom_id)
            settled = duplicates.settle(ids.__getitem__)
        assert list(Path(folder).iterdir()) == [], "bucket files are removed"
        return settled


def by_a_dictionary(ids: list[str]) -> Duplicates:
    first: dict[str, int] = {}
    pairs = [Duplicate(n, first[str(each)]) for n, each in enumerate(ids) if first.setdefault(str(each), n) != n]
    return Duplicates(tuple(pairs[:100]), len(pairs))


few_ids = st.sampled_from(["a", "b", "A", "é", "e\u0301", "\ud83d", "😀", "a ", "x" * 200, "../a"])
some_ids = st.lists(few_ids | st.text(st.characters(exclude_categories=()), max_size=3), max_size=60)


@settings(max_examples=30, deadline=None)
@given(ids=some_ids, in_memory=st.sampled_from([5, 20, 60, IDS_IN_MEMORY]))
def test_duplicates_are_those_of_a_dictionary(ids: list[str], in_memory: int) -> None:
    assert found(ids, in_memory) == by_a_dictionary(ids)


@settings(max_examples=30, deadline=None)
@given(ids=some_ids, in_memory=st.sampled_from([5, 20, 60, IDS_IN_MEMORY]))
@example(ids=["\ud83d", "\udc00", "?"], in_memory=5)
def test_equal_hashes_alone_make_no_duplicate(ids: list[str], in_memory: int) -> None:
    assert found([Colliding(each) for each in ids], in_memory) == by_a_dictionary(ids)


@pytest.mark.parametrize("in_memory", [IDS_IN_MEMORY, 1000])
def test_the_first_hundred_are_reported_and_all_are_counted(in_memory: int) -> None:
    ids = [f"r-{number % 4000}" for number in range(9000)]
    settled = found(ids, in_memory)
    assert settled.total == 5000
    assert settled.reported == tuple(Duplicate(4000 + n, n) for n in range(100))


def test_real_ids_are_read_only_where_hashes_repeat(tmp_path: Path) -> None:
    asked: list[int] = []
    ids = ["a", "b", "c", "b", "d"]

    def read_id(ordinal: int) -> str:
        asked.append(ordinal)
        return ids[ordinal]

    with DuplicateIds(tmp_path) as duplicates:
        for ordinal, custom_id in enumerate(ids):
            duplicates.add(ordinal, custom_id)
        duplicates.settle(read_id)
    assert sorted(asked) == [1, 3]


def test_few_ids_touch_no_disk() -> None:
    with DuplicateIds(Path("/nowhere/at/all")) as duplicates:
        for ordinal in range(IDS_IN_MEMORY - 1):
            duplicates.add(ordinal, f"r-{ordinal}")
        assert duplicates.settle(str).total == 0


def test_another_attempts_buckets_are_neither_read_nor_removed(tmp_path: Path) -> None:
    with DuplicateIds(tmp_path, in_memory=8) as dead:
        for ordinal in range(8):
            dead.add(ordinal + 100, f"r-{ordinal}")
        (left,) = tmp_path.iterdir()
        with DuplicateIds(tmp_path, in_memory=8) as again:
            for ordinal in range(20):
                again.add(ordinal, f"r-{ordinal}")
            assert again.settle(lambda ordinal: f"r-{ordinal % 100}").total == 0
        assert list(tmp_path.iterdir()) == [left]


def test_a_missing_folder_is_made_and_removed(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    with DuplicateIds(scratch, in_memory=2) as duplicates:
        for ordinal in range(3):
            duplicates.add(ordinal, "same")
        assert scratch.is_dir()
        assert duplicates.settle(lambda _: "same").total == 2
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=30, deadline=None)
@given(
    ids=some_ids,
    cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    in_memory=st.sampled_from([1, 5, 20, IDS_IN_MEMORY]),
    modulus=st.sampled_from([2**61 - 1, 3]),
)
def test_ranges_in_blocks_have_the_duplicates_of_a_dictionary(
    ids: list[str], cuts: tuple[int, int], in_memory: int, modulus: int
) -> None:
    """Whatever their hashes do: with a modulus of 3 they say next to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        places = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
        saved = [(Path(folder, str(n)), start) for n, start in enumerate(places[:-1])]
        for (path, start), stop in zip(saved, places[1:], strict=True):
            buckets = Buckets(path, modulus, in_memory=in_memory)
            for ordinal, custom_id in enumerate(ids[start:stop]):
                buckets.add(ordinal, custom_id)
            buckets.save()
        assert settle(partial(Buckets.read, saved), ids.__getitem__) == by_a_dictionary(ids)


@pytest.mark.parametrize("form", ["ticket-{:08d}", "{}", "{:x}", "row {} of the file"])
def test_ids_that_are_counted_up_fill_all_buckets_alike(form: str, tmp_path: Path) -> None:
    """The bucket with the most ids is what the search needs memory for."""
    buckets = Buckets(tmp_path / "ids", DRAWN)
    for ordinal in range(20_000):
        buckets.add(ordinal, form.format(ordinal))
    buckets.save()
    sizes = [sum(1 for _ in Buckets.read([(tmp_path / "ids", 0)], bucket)) for bucket in range(256)]
    assert sum(sizes) == 20_000
    assert max(sizes) < 3 * 20_000 / 256
