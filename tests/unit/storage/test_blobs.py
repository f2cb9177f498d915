"""Named bytes on the disk: adopted, found, removed, swept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_plugin.storage.blobs import Blobs

NAME = "file-0123456789abcdef01234567"
OTHER = "file-0123456789abcdef01234568"


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[Blobs]:
    """The blobs of an empty data directory."""
    made = Blobs(tmp_path / "data")
    yield made
    made.close()


def _store(blobs: Blobs, name: str, data: bytes = b"line\n") -> None:
    temp = blobs.temp_path()
    temp.write_bytes(data)
    blobs.adopt(temp, name)


def test_an_adopted_file_has_its_name_and_no_other(blobs: Blobs, tmp_path: Path) -> None:
    _store(blobs, NAME, b"content\n")
    assert blobs.path(NAME).read_bytes() == b"content\n"
    assert list((tmp_path / "data" / "tmp").iterdir()) == []


def test_only_the_owner_can_look_into_the_folders(blobs: Blobs, tmp_path: Path) -> None:
    _store(blobs, NAME)
    folders = [tmp_path / "data", tmp_path / "data" / "tmp", blobs.path(NAME).parents[1], blobs.path(NAME).parent]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_temporary_paths_differ_and_are_free(blobs: Blobs) -> None:
    paths = {blobs.temp_path() for _ in range(100)}
    assert len(paths) == 100
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize("name", ["", "ab", "../../etc/passwd", "a/b", "file-1.index", "file-\n", "f" * 129, "fïle"])
def test_a_name_that_could_leave_the_folder_is_refused(blobs: Blobs, name: str) -> None:
    with pytest.raises(ValueError, match="not a name of a blob"):
        blobs.path(name)


def test_a_removed_blob_takes_its_index_along_and_open_readers_go_on(blobs: Blobs) -> None:
    _store(blobs, NAME, b"content\n")
    blobs.index_path(NAME).write_bytes(b"index")
    with blobs.path(NAME).open("rb") as reading:
        blobs.remove(NAME)
        assert reading.read() == b"content\n"
    assert not blobs.path(NAME).exists()
    assert not blobs.index_path(NAME).exists()
    blobs.remove(NAME)  # again: a crash may have come between the row and the blob


def test_the_sweep_keeps_what_rows_name_and_nothing_else(blobs: Blobs, tmp_path: Path) -> None:
    for name in (NAME, OTHER):
        _store(blobs, name)
        blobs.index_path(name).write_bytes(b"index")
    blobs.temp_path().write_bytes(b"half an upload")
    folder = blobs.temp_path()
    folder.mkdir()
    (folder / "bucket").write_bytes(b"half a scan")
    assert blobs.sweep({NAME}) == 1
    left = sorted(path.name for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert left == [NAME, f"{NAME}.index"]
    assert blobs.sweep({NAME}) == 0


async def test_a_cancelled_task_ends_only_after_its_write(blobs: Blobs) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        go_on.wait(10)
        done.set()

    task = asyncio.create_task(blobs.write(write))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_writes_that_hang_do_not_hold_up_reads(blobs: Blobs) -> None:
    go_on = threading.Event()
    writes = [asyncio.create_task(blobs.write(go_on.wait, 10)) for _ in range(20)]
    try:
        assert await asyncio.wait_for(blobs.read(lambda: "read"), 5) == "read"
    finally:
        go_on.set()
        await asyncio.gather(*writes)
