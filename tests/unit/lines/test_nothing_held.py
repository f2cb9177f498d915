"""What a worker's task held is free when it ends: the garbage collector may not look before many tasks later."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec import structs

from proxy_plugin.lines.collect import collect
from proxy_plugin.lines.collecting.ranges import JoinRows, join_rows
from proxy_plugin.lines.merge import merge
from proxy_plugin.lines.ranges.parts import PartsJob, plan_parts
from proxy_plugin.lines.ranges.pieces import RangeJob, translate_range
from proxy_plugin.lines.ranges.scan import ScanRange, join_scans, scan_range
from tests.support.lines import chat_lines, jsonl
from tests.support.stages import LIMITS, Stages, target

T = TypeVar("T")
LINES = 2_000
LEAST_BYTES = 4 * 1024  # a few closures; what there is of each line has more


@contextmanager
def garbage_kept() -> Iterator[None]:
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()


def run(task: Callable[[], T]) -> T:
    """Return what a task returns, which leaves nothing of any size to the garbage collector."""
    with garbage_kept():
        found = task()
        gc.collect()
        assert sum(map(sys.getsizeof, gc.garbage)) < LEAST_BYTES, {type(each).__qualname__ for each in gc.garbage}
    return found


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    (tmp_path / "source").write_bytes(jsonl(chat_lines(LINES)))
    found = Stages(tmp_path, tmp_path / "source", (target("lane", "openai"),))
    found.scan()
    return found


def test_a_range_of_a_scan_and_its_join_leave_nothing(stages: Stages, tmp_path: Path) -> None:
    job = ScanRange(str(stages.source), str(tmp_path), 0, 0, stages.source.stat().st_size, LIMITS, 2**61 - 1)
    run(lambda: scan_range(job))
    facts = run(lambda: join_scans([job], str(tmp_path / "joined"), ""))
    assert facts is not None
    assert facts.lines == LINES


def test_a_range_of_a_split_and_its_plan_leave_nothing(stages: Stages) -> None:
    job = stages.split_job()
    run(lambda: translate_range(RangeJob(job, 0, 0, LINES)))
    assert run(lambda: len(plan_parts(PartsJob(job, (0,))))) == 1


def test_a_collect_its_join_and_a_range_of_a_merge_leave_nothing(stages: Stages, tmp_path: Path) -> None:
    (part,) = stages.split().parts
    job = stages.collect_job(part, stages.answer(part))
    (name,) = [name for name in job.names if name == "output"]
    span = (0, Path(job.results, name).stat().st_size)
    job = structs.replace(job, names=(name,), span=span, folder=str(tmp_path / "rows" / "range"))
    facts = run(lambda: collect(job))
    assert run(lambda: join_rows(JoinRows(str(tmp_path / "rows"), (job.folder,), (facts,)))) == facts
    stages.rows[part.n] = str(tmp_path / "rows")
    assert run(lambda: merge(stages.merge_job(ordinals=(0, LINES)))).completed == LINES
