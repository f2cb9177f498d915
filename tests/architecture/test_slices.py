"""What the suite leaves to the campaign is drawn, and drawn for every lane."""

from __future__ import annotations

import pytest

from proxy_plugin.providers.sandbox.stand_ins import names
from tests.whole.conftest import ONE_IN, WHOLE, in_slice

TESTS = [f"tests/whole/lanes/test_some.py::test_{n}" for n in range(1000)]


@pytest.mark.parametrize("name", names())
def test_every_lane_has_its_part(name: str) -> None:
    kept = sum(in_slice(f"{test}[{name}-later]") for test in TESTS)
    assert kept == len(TESTS) if name in WHOLE else 0.5 < kept * ONE_IN / len(TESTS) < 1.5


def test_together_the_lanes_have_nearly_all() -> None:
    others = [name for name in names() if name not in WHOLE]
    seen = sum(any(in_slice(f"{test}[{name}]") for name in others) for test in TESTS)
    assert seen / len(TESTS) > 1 - (1 - 1 / ONE_IN) ** len(others) - 0.05


def test_a_test_of_no_lane_is_never_left_out() -> None:
    assert all(in_slice(f"{test}{parameters}") for test in TESTS for parameters in ("", "[drop-1]", "[openai]"))
