"""Rows on disk: what goes in comes out, by bucket and in order, and a torn file is noticed."""

from __future__ import annotations

import errno
import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest

from proxy_plugin.ground.durable import GrowingFiles, HashedFile, empty_folder, write_atomically
from proxy_plugin.lines.manifest import BLOCK, REJECTED, Assignment
from proxy_plugin.lines.row_store import (
    ERROR,
    FAILED,
    NOTE,
    OK,
    RowMeta,
    RowReader,
    RowWriter,
    StoredRow,
    TruncatedRows,
    bucket_path,
    buckets,
    rows,
    spans,
)
from proxy_plugin.providers.base import Usage

ROWS = [
    StoredRow(3, 0, OK, RowMeta(model="m", usage=Usage(1, 2, 3, 4)), b'{"status_code":200}'),
    StoredRow(0, 0, FAILED, RowMeta(code="422"), b'{"status_code":422}'),
    StoredRow(3, 1, ERROR, RowMeta(code="batch_expired"), b'{"code":"batch_expired"}'),
    StoredRow(7, 2, NOTE, RowMeta(dropped=("seed", "user")), b""),
    StoredRow(8, REJECTED, ERROR, RowMeta(code="x", param="body.n", provider="toy", slug="s"), b'{"code":"x"}'),
]


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def write(folder: Path, content: list[StoredRow]) -> Path:
    writer = RowWriter(folder)
    for row in content:
        writer.add(*row)
    writer.close()
    return folder


def test_rows_come_back_as_they_were_in_the_order_of_writing(tmp_path: Path) -> None:
    folder = write(tmp_path / "rows", ROWS)
    assert list(rows(folder)) == ROWS
    assert [path.name for path in folder.iterdir()] == ["000000.rows"]


def test_each_bucket_of_65536_ordinals_has_a_file_of_its_own(tmp_path: Path) -> None:
    ordinals = [200_000, 65_536, 5, 65_535, 131_071]
    folder = write(tmp_path / "rows", [StoredRow(each, 0, OK, RowMeta(), b"%d" % each) for each in ordinals])
    assert buckets(folder) == [0, 1, 3]
    assert [row.ordinal for row in rows(folder)] == [5, 65_535, 65_536, 131_071, 200_000]
    assert [span.ordinal for span in spans(bucket_path(folder, 1))] == [65_536, 131_071]


def test_a_store_without_rows_is_an_empty_folder(tmp_path: Path) -> None:
    assert buckets(write(tmp_path / "rows", [])) == []


@pytest.mark.parametrize("size", [0, 65_535, 65_536, 262_144, 5_000_000])
def test_rows_of_any_size_stand_between_small_ones(tmp_path: Path, size: int) -> None:
    content = [ROWS[0], StoredRow(1, 9, OK, RowMeta(model="big"), os.urandom(size)), ROWS[1]]
    assert list(rows(write(tmp_path / "rows", content))) == content


def test_a_file_that_ends_within_its_last_record_is_refused_at_every_byte(tmp_path: Path) -> None:
    path = bucket_path(write(tmp_path / "rows", ROWS[:2]), 0)
    whole = path.read_bytes()
    first, second = spans(path)
    for length in range(second.offset + 1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(TruncatedRows, match=f"byte {second.offset} "):
            list(spans(path))
        with RowReader() as reader:
            assert reader.read(path, first.offset, first.length) == ROWS[0]
            with pytest.raises(TruncatedRows, match=f"byte {second.offset} "):
                reader.read(path, second.offset, second.length)


def test_listing_a_bucket_does_not_hold_its_rows(tmp_path: Path) -> None:
    text = b"x" * 100_000
    folder = write(tmp_path / "rows", [StoredRow(n, 0, OK, RowMeta(), text) for n in range(300)])
    tracemalloc.start()
    try:
        assert sum(1 for _ in spans(bucket_path(folder, 0))) == 300
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_reader_of_many_stores_keeps_few_files_open(tmp_path: Path) -> None:
    stores = [bucket_path(write(tmp_path / str(n), [StoredRow(n, n, OK, RowMeta(), b"1")]), 0) for n in range(100)]
    before = open_descriptors()
    with RowReader() as reader:
        for _ in range(2):
            for n, path in enumerate(stores):
                assert reader.read(path, *next(spans(path))[3:]).part == n
        assert open_descriptors() - before <= 64
    assert open_descriptors() == before


def test_files_that_grow_side_by_side_keep_their_bytes_apart(tmp_path: Path) -> None:
    growing = GrowingFiles()
    files = [growing.file(tmp_path / str(n)) for n in range(50)]
    expected = {n: b"".join(b"%d-%d " % (n, turn) + b"." * (turn * 1500) for turn in range(20)) for n in range(50)}
    before = open_descriptors()
    for turn in range(20):
        for n, file in enumerate(files):
            file.append(b"%d-%d " % (n, turn), b"." * (turn * 1500))
    assert open_descriptors() == before
    for n, file in enumerate(files):
        file.sync()
        assert (tmp_path / str(n)).read_bytes() == expected[n]


def test_bytes_that_wait_for_many_files_are_bounded(tmp_path: Path) -> None:
    growing = GrowingFiles()
    files = [growing.file(tmp_path / str(n)) for n in range(400)]
    tracemalloc.start()
    try:
        for _ in range(50):
            for file in files:
                file.append(b"x" * 1000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000  # of 20 MB that were appended
    finally:
        tracemalloc.stop()


def test_a_full_disk_is_told_as_what_it_is(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    file = GrowingFiles().file(full)
    file.append(b"one line")
    with pytest.raises(OSError, match="No space left") as told:
        file.sync()
    assert told.value.errno == errno.ENOSPC


def test_the_facts_of_a_hashed_file_are_those_of_its_bytes(tmp_path: Path) -> None:
    with HashedFile(tmp_path / "a.jsonl") as file:
        file.write_line(b"abc", b"\n")
        file.write_line(b"x" * 300_000, b"\n")
        file.write_line(b"d\n")
        facts = file.finish()
    assert (facts.name, facts.bytes, facts.lines) == ("a.jsonl", 300_007, 3)
    content = (tmp_path / "a.jsonl").read_bytes()
    assert content == b"abc\n" + b"x" * 300_000 + b"\nd\n"
    assert facts.sha256 == hashlib.sha256(content).hexdigest()


def test_a_folder_is_made_or_emptied_and_a_file_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "attempt"
    empty_folder(folder)
    write_atomically(folder / "facts.json", b"old")
    write_atomically(folder / "facts.json", b"new")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"facts.json": b"new"}
    (folder / "deep").mkdir()
    empty_folder(folder)
    assert list(folder.iterdir()) == []


def test_an_assignment_is_read_across_its_blocks(tmp_path: Path) -> None:
    path = tmp_path / "assignment"
    parts = {0: 5, BLOCK - 1: 6, BLOCK: 7, 3 * BLOCK + 2: 8}
    entries = [parts.get(n, REJECTED) for n in range(3 * BLOCK + 3)]
    path.write_bytes(b"".join(each.to_bytes(4, "little") for each in entries))
    with Assignment(path) as assignment:
        assert len(assignment) == 3 * BLOCK + 3
        assert {n: assignment.part(n) for n in parts} == parts
        assert [assignment.part(n) for n in (-1, 1, 3 * BLOCK + 3, 36**8 - 1)] == [None] * 4
