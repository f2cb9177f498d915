"""A split in a worker process: its manifest there, killed, and without room."""

from __future__ import annotations

import errno
import pickle
import signal
from pathlib import Path

import msgspec
import pytest

from proxy_plugin.lines.manifest import read_manifest
from proxy_plugin.lines.ranges.documents import DocumentsJob, FinishJob, finish, write_documents
from proxy_plugin.lines.ranges.parts import PartsJob, plan_parts
from proxy_plugin.lines.ranges.pieces import RangeJob, translate_range
from proxy_plugin.lines.split import split
from tests.toy.spawned import run_spawned
from tests.toy.toy_batch import ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")


def test_jobs_and_manifests_travel_between_processes(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat(f"{n}") for n in range(9)])
    here = batch.split()
    assert run_spawned(split, batch.split_job("there")) == here
    assert files_below(tmp_path / "there") == files_below(tmp_path / "split")
    assert pickle.loads(pickle.dumps(batch.split_job())) == batch.split_job()


@pytest.mark.parametrize("fail", ["split.row:5", "split.written:1"])
def test_a_killed_split_leaves_no_manifest_and_the_next_one_is_whole(tmp_path: Path, fail: str) -> None:
    batch = ToyBatch(tmp_path, [chat(f"{n}") for n in range(9)])
    assert run_spawned(split, batch.split_job(), fail) == -signal.SIGKILL
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / "split")
    assert batch.split() == split(batch.split_job("undisturbed"))
    assert files_below(tmp_path / "split") == files_below(tmp_path / "undisturbed")


def test_killed_ranges_are_done_again(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat(f"{n}") for n in range(9)])
    whole, apart = batch.split(), batch.split_job("apart")
    ranges = [RangeJob(apart, 0, 0, 5), RangeJob(apart, 1, 5, 9)]
    assert run_spawned(translate_range, ranges[0], "split.row:5") == -signal.SIGKILL
    for each in ranges:
        translate_range(each)
    assert plan_parts(PartsJob(apart, (0, 5))) == tuple(part.bytes for part in whole.parts)
    last = FinishJob(apart, write_documents(DocumentsJob(apart, 0, len(whole.parts))))
    assert run_spawned(finish, last, "split.written:1") == -signal.SIGKILL
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / "apart")
    assert run_spawned(finish, last) == whole
    assert files_below(tmp_path / "apart") == files_below(tmp_path / "split")


def test_no_space_is_told_as_no_space(tmp_path: Path, small_disk: Path) -> None:
    batch = ToyBatch(tmp_path / "batch", [chat(f"{n}", "x" * 30_000) for n in range(60)])
    told = run_spawned(split, batch.split_job(), "split.row:3:enospc")
    assert isinstance(told, OSError)
    assert told.errno == errno.ENOSPC
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * (47 * 2**20))
    with pytest.raises(OSError, match="No space left") as seen:
        split(msgspec.structs.replace(batch.split_job(), folder=str(small_disk / "split")))
    assert seen.value.errno == errno.ENOSPC
    filler.unlink()
    assert split(msgspec.structs.replace(batch.split_job(), folder=str(small_disk / "split"))).total == 60
