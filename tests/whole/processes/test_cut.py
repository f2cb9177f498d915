"""A cut in a worker process: killed, and without room."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest

from proxy_plugin.lines.cut import CutFacts, CutJob, cut_document
from proxy_plugin.lines.manifest import ASSIGNMENT
from tests.toy.spawned import run_spawned
from tests.toy.toy_batch import ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def job(tmp_path: Path) -> CutJob:
    """Seven lines of which one is taken out."""
    made = ToyBatch(tmp_path, [chat(f"id {n}", f"text {n}") for n in range(7)])
    (part,) = made.split().parts
    return CutJob(
        provider=part.provider,
        part=part.n,
        mark=part.mark,
        lines=part.lines,
        document=str(tmp_path / "split" / part.file),
        assignment=str(tmp_path / "split" / ASSIGNMENT),
        index=str(made.index),
        folder=str(tmp_path / "cut"),
        out=(4,),
        pieces=2,
    )


@pytest.mark.parametrize("fail", ["cut.row:1", "cut.row:5", "cut.written:1"])
def test_a_killed_cut_is_simply_run_again(job: CutJob, fail: str) -> None:
    assert run_spawned(cut_document, job, fail) == -signal.SIGKILL
    facts = run_spawned(cut_document, job)
    assert isinstance(facts, CutFacts)
    assert ([line.ordinal for line in facts.out], [piece.lines for piece in facts.pieces]) == ([3], [3, 3])
    first = files_below(Path(job.folder))
    assert (cut_document(job), files_below(Path(job.folder))) == (facts, first)


def test_no_space_is_told_as_no_space(job: CutJob) -> None:
    told = run_spawned(cut_document, job, "cut.row:2:enospc")
    assert isinstance(told, OSError)
    assert told.errno == errno.ENOSPC
