"""A rescue in a worker process: killed, and without room."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest
from msgspec import structs

from proxy_plugin.lines.manifest import ASSIGNMENT
from proxy_plugin.lines.onward.rescue import Parent, RescueFacts, RescueJob, rescue
from proxy_plugin.lines.split import split
from proxy_plugin.routing.route import Fallback, Rules, To
from tests.toy.spawned import run_spawned
from tests.toy.toy_batch import TARGET, ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def job(tmp_path: Path) -> RescueJob:
    """Seven lines of a job that was refused."""
    targets = (TARGET, structs.replace(TARGET, slug="second", max_lines=4))
    made = ToyBatch(tmp_path, [chat(f"id {n}", f"text {n}") for n in range(7)], targets)
    told = structs.replace(made.split_job(), rules=Rules(rule=Fallback((To(0), To(1)))))
    (part,) = split(told).parts
    assert part.goes_on is not None
    parent = Parent(part.n, str(tmp_path / "split" / ASSIGNMENT), refused=True)
    return RescueJob(structs.replace(told, folder=str(tmp_path / "rescue")), (parent,), part.goes_on, 1)


@pytest.mark.parametrize("fail", ["rescue.row:1", "rescue.row:6", "rescue.written:1"])
def test_a_killed_rescue_is_simply_run_again(job: RescueJob, fail: str) -> None:
    assert run_spawned(rescue, job, fail) == -signal.SIGKILL
    facts = run_spawned(rescue, job)
    assert isinstance(facts, RescueFacts)
    assert [(part.n, part.lines) for part in facts.parts] == [(1, 4), (2, 3)]
    first = files_below(Path(job.folder))
    assert (rescue(job), files_below(Path(job.folder))) == (facts, first)


def test_no_space_is_told_as_no_space(job: RescueJob) -> None:
    told = run_spawned(rescue, job, "rescue.row:2:enospc")
    assert isinstance(told, OSError)
    assert told.errno == errno.ENOSPC
