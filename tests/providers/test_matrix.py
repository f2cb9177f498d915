"""What is told of a lane is what its record says: in the README's table, and where `check` shows it."""

from __future__ import annotations

import pytest

from proxy_plugin.providers import catalog, matrix
from proxy_plugin.providers.base import Confirms


@pytest.mark.parametrize("name", sorted(catalog.BUILT_IN))
def test_a_lane_is_told_whole(name: str) -> None:
    facts = catalog.load(name).capabilities
    line, *caveats = matrix.described(name)
    assert line.startswith(f"{facts.title}: ")
    assert all(endpoint in line for endpoint in facts.endpoints)
    assert f"{1 - facts.discount:.0%}".replace("%", " %") in line
    assert f"found by {facts.found_by}" in line
    for limit in (facts.max_lines, facts.max_bytes):
        assert limit is None or f"{limit:,}" in line
    assert tuple(caveats) == facts.caveats
    (row,) = (row for row in matrix.markdown().splitlines() if f"| `{name}`" in row)
    assert f"| {facts.found_by}" in row


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("openai", "our mark in its list"),
        ("anthropic", "marks in its results"),
        ("deepinfra", "our input file in its list"),
        ("together-ai", "our input file in its list"),
        ("fireworks-ai", "the job id that we chose"),
    ],
)
def test_how_a_lost_create_is_found(name: str, found: str) -> None:
    assert catalog.load(name).capabilities.found_by == found


def test_only_lanes_that_confirm_are_told_to_look_into_results() -> None:
    for name in catalog.BUILT_IN:
        lane = catalog.load(name)
        assert isinstance(lane, Confirms) is (lane.capabilities.found_by == "marks in its results")
