"""Batches that were recorded have the same bytes in every file that somebody keeps, sends or is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stages import Stages
from tests.unit.recorded.batches import BATCHES, recorded


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_has_the_bytes_that_it_was_recorded_with(name: str, tmp_path: Path) -> None:
    """`results` are the stand-ins' own: where they are among what differs, a stand-in answers otherwise than it did."""
    found, known = BATCHES[name](tmp_path / "batch", Stages), recorded()[name]
    assert found.keys() == known.keys()
    assert [what for what, digest in found.items() if digest != known[what]] == []


def test_nothing_is_recorded_that_is_not_run() -> None:
    assert recorded().keys() == BATCHES.keys()
