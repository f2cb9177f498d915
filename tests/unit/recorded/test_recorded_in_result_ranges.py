"""Recorded batches whose results are collected and merged in ranges: the same bytes as when they were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from proxy_plugin.lines.collect import CollectFacts, collect
from proxy_plugin.lines.collecting import ranges as collecting
from proxy_plugin.lines.collecting.ranges import JoinRows, join_rows
from proxy_plugin.lines.manifest import PartSpec
from proxy_plugin.lines.merge import MergeFacts, merge
from proxy_plugin.lines.merging import ranges as merging
from proxy_plugin.lines.merging.ranges import join, join_jobs, joined
from proxy_plugin.lines.verdicts import Fate
from tests.support.blocks import small_blocks
from tests.support.stages import Stages
from tests.unit.recorded.batches import BATCHES, recorded


class InRanges(Stages):
    """A batch whose results are taken in ranges of a few lines."""

    def collect(self, part: PartSpec, names: Sequence[str], **more: Any) -> CollectFacts:
        job = self.collect_job(part, names, **more)
        self.rows[part.n] = job.folder
        jobs = collecting.ranges_of(job)
        if part.requests or job.keeping or len(jobs) < 2:  # as the engine does it
            return collect(job)
        Path(job.folder).mkdir()
        found = tuple(collect(each) for each in jobs)
        return join_rows(JoinRows(job.folder, tuple(each.folder for each in jobs), found))

    def merge(self, fates: Mapping[int, Fate] | None = None, **more: Any) -> MergeFacts:
        job = self.merge_job(fates, **more)
        jobs = merging.ranges_of(job)
        if len(jobs) < 2:
            return merge(job)
        Path(job.folder).mkdir()
        found = [merge(each) for each in jobs]
        return joined(job, found, [join(each) for each in join_jobs(job, jobs, found)])


@pytest.fixture(autouse=True)
def _small_ranges() -> Iterator[None]:
    ranges = mock.patch.multiple(collecting, LARGE=0, RANGE=4000, _AT_ONCE=7)
    with small_blocks(8), ranges, mock.patch.object(merging, "MOST", 4):
        yield


@pytest.mark.parametrize("name", BATCHES)
def test_results_in_ranges_have_the_bytes_that_they_were_recorded_with(name: str, tmp_path: Path) -> None:
    """The assignment of a rescue is named after its first block, and blocks are small here."""
    found, known = BATCHES[name](tmp_path / "batch", InRanges), recorded()[name]
    assert [what for what, digest in found.items() if digest != known[what] and "rescued" not in what] == []
