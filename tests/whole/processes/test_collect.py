"""A collect in a worker process: killed, and without room."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest

from proxy_plugin.lines.collect import CollectFacts, collect
from proxy_plugin.providers.base import Usage
from tests.toy.spawned import run_spawned
from tests.toy.toy_batch import ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def batch(tmp_path: Path) -> ToyBatch:
    """Two parts of seven lines."""
    made = ToyBatch(tmp_path, [chat(f"id {n}", f"text {n}") for n in range(14)])
    made.split()
    return made


@pytest.mark.parametrize("fail", ["collect.row:4", "collect.written:1"])
def test_a_killed_collect_is_simply_run_again(batch: ToyBatch, fail: str) -> None:
    part = batch.manifest.parts[0]
    job = batch.collect_job(part, batch.woven(part))
    assert run_spawned(collect, job, fail) == -signal.SIGKILL
    used = Usage(input_tokens=7 * 20, output_tokens=7 * 6)
    assert run_spawned(collect, job) == CollectFacts(
        7, ok=7, failed=0, foreign=0, corrupt=0, usage=used, lines=7, ran=7, answered=7
    )
    first = files_below(Path(job.folder))
    assert collect(job).rows == 7
    assert files_below(Path(job.folder)) == first


def test_no_space_is_told_as_no_space(batch: ToyBatch) -> None:
    part = batch.manifest.parts[0]
    told = run_spawned(collect, batch.collect_job(part, batch.woven(part)), "collect.row:2:enospc")
    assert isinstance(told, OSError)
    assert told.errno == errno.ENOSPC
