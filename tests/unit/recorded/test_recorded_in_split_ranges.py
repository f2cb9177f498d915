"""The recorded batches once more, their files scanned and split in ranges where that can be: the same bytes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from proxy_plugin.lines.duplicates import drawn_modulus
from proxy_plugin.lines.manifest import Manifest
from proxy_plugin.lines.ranges.independent import independent
from proxy_plugin.lines.ranges.scan import ScanRange, join_scans, scan_range
from proxy_plugin.lines.scan import Facts
from tests.support.stages import LIMITS, Stages
from tests.toy.toy_ranges import split_at
from tests.unit.recorded.batches import BATCHES, recorded


class InRanges(Stages):
    """Scans and splits in three ranges."""

    def scan(self) -> Facts:
        whole = super().scan()
        text, folder = Path(self.source).read_bytes(), self.folder / "scanned"
        cuts = sorted({0, len(text), *(text.find(b"\n", len(text) * n // 3) + 1 for n in (1, 2))})
        folder.mkdir()
        known, modulus = (str(self.source), str(folder)), drawn_modulus()
        jobs = [ScanRange(*known, n, *each, LIMITS, modulus) for n, each in enumerate(pairwise(cuts))]
        for job in jobs:
            scan_range(job)
        assert join_scans(jobs, str(self.folder / "index"), whole.sha256) == whole
        return whole

    def split(self) -> Manifest:
        job, lines = self.split_job(), self.facts.lines
        cuts = sorted({0, lines // 3, lines // 2, lines})
        found = split_at(job, cuts) if independent(job) else None
        if found is None:
            return super().split()
        self.manifest = found
        return found


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_in_ranges_has_the_bytes_that_it_was_recorded_with(name: str, tmp_path: Path) -> None:
    found, known = BATCHES[name](tmp_path / "batch", InRanges), recorded()[name]
    assert [what for what, digest in found.items() if digest != known[what]] == []
