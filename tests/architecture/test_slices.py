"""What the suite leaves to the campaign is drawn, and drawn for every lane."""

from __future__ import annotations

import pytest

from proxy_plugin.providers.sandbox.stand_ins import names
from tests.whole.conftest import ONE_IN, PAIR, in_slice

TESTS = [f"test_some.py::test_{n}" for n in range(2000)]
BOTH = {(test, "*-later") for test in TESTS}


@pytest.mark.parametrize("name", [each for each in names() if each not in PAIR])
def test_every_lane_has_its_part(name: str) -> None:
    kept = sum(in_slice(test, f"{name}-later") for test in TESTS)
    assert 0.5 < kept * ONE_IN / len(TESTS) < 1.5


def test_of_a_test_that_both_lanes_of_the_pair_could_run_one_does() -> None:
    runs = [[name for name in PAIR if in_slice(test, f"{name}-later", BOTH)] for test in TESTS]
    assert {len(each) for each in runs} == {1}
    assert all(sum(each == [name] for each in runs) > len(TESTS) / 3 for name in PAIR)


def test_what_one_of_the_pair_lacks_the_other_runs() -> None:
    assert all(in_slice(test, name) for test in TESTS for name in PAIR)


def test_together_the_lanes_have_nearly_all() -> None:
    others = [name for name in names() if name not in PAIR]
    seen = sum(any(in_slice(test, name) for name in others) for test in TESTS)
    assert seen / len(TESTS) > 1 - (1 - 1 / ONE_IN) ** len(others) - 0.05


def test_a_test_of_no_lane_is_never_left_out() -> None:
    assert all(in_slice(test, parameters, BOTH) for test in TESTS for parameters in ("", "drop-1", "openair"))
