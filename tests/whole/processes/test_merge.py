"""A merge in a worker process: its bytes there, killed, and without room."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path

import msgspec
import pytest

from proxy_plugin.lines.manifest import PartSpec
from proxy_plugin.lines.merge import merge
from proxy_plugin.lines.merging.ranges import JoinJob, join
from proxy_plugin.providers.base import native_id
from tests.toy.spawned import run_spawned
from tests.toy.toy_batch import ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")


def split_batch(folder: Path, count: int) -> ToyBatch:
    batch = ToyBatch(folder, [chat(f"id {n}", f"text {n}") for n in range(count)])
    batch.split()
    return batch


def large_row(part: PartSpec, ordinal: int) -> bytes:
    answer = {"text": "x" * 2_000_000, "engine": "wool-1", "read": 10, "wrote": 2}
    return json.dumps([native_id(part.mark, ordinal), "woven", answer]).encode()


def test_merging_there_gives_the_same_bytes(tmp_path: Path) -> None:
    batch = split_batch(tmp_path, 20)
    for part in batch.manifest.parts[:2]:
        batch.collect(part, batch.woven(part))
    assert run_spawned(merge, batch.merge_job(name="there")) == batch.merge()
    assert files_below(tmp_path / "there") == files_below(tmp_path / "merge")


@pytest.mark.parametrize("fail", ["merge.row:9", "merge.written:1"])
def test_a_killed_merge_is_simply_run_again(tmp_path: Path, fail: str) -> None:
    batch = split_batch(tmp_path, 20)
    for part in batch.manifest.parts:
        batch.collect(part, batch.woven(part))
    assert run_spawned(merge, batch.merge_job(), fail) == -signal.SIGKILL
    assert batch.merge().completed == 20


def test_a_killed_join_goes_on(tmp_path: Path) -> None:
    stretches = [b"a\n" * 2000, b"b\n" * 300, b"c\n"]
    for n, stretch in enumerate(stretches):
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "output.jsonl").write_bytes(stretch)
    told = tuple((str(tmp_path / str(n)), len(stretch)) for n, stretch in enumerate(stretches))
    job = JoinJob(str(tmp_path), "output.jsonl", told)
    assert run_spawned(join, job, "merge.joined:1") == -signal.SIGKILL
    assert isinstance(run_spawned(join, job, "merge.joined:1:enospc"), OSError)
    assert (tmp_path / "output.jsonl").read_bytes() == b"".join(stretches)
    assert join(job).bytes == 4602


def test_no_space_is_told_as_no_space(tmp_path: Path, small_disk: Path) -> None:
    batch = split_batch(tmp_path / "batch", 7)
    (part,) = batch.manifest.parts
    batch.collect(part, [large_row(part, n) for n in range(7)])
    told = run_spawned(merge, batch.merge_job(), "merge.row:2:enospc")
    assert isinstance(told, OSError)
    assert told.errno == errno.ENOSPC
    job = msgspec.structs.replace(batch.merge_job(), folder=str(small_disk / "merge"))
    (small_disk / "filler").write_bytes(b"\0" * (44 * 2**20))
    with pytest.raises(OSError, match="No space left") as seen:
        merge(job)
    assert seen.value.errno == errno.ENOSPC
    (small_disk / "filler").unlink()
    assert merge(job).completed == 7
