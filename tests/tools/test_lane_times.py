"""The table of what each lane costs the suite."""

from __future__ import annotations

import pytest

from tests.support.lane_times import NOBODY, LaneTimes
from tests.support.sharing import scope_of

LANES = ("openai", "azure-openai", "openai-compatible", "x-ai", "z-ai", "google", "claude-platform-google")


@pytest.mark.parametrize(
    ("node", "lane"),
    [
        ("tests/whole/kills/test_kill_matrix.py::test_kill[openai-ordinary-scan.before-1]", "openai"),
        ("tests/whole/kills/test_kill_matrix.py::test_kill[azure-openai-cut off-doubt.after-1]@azure", "azure-openai"),
        ("tests/whole/contract/test_creates.py::test_some[openai-compatible-2]", "openai-compatible"),
        ("tests/whole/lanes/test_cancel.py::test_some[claude-platform-google]", "claude-platform-google"),
        ("tests/providers/lanes/test_azure_openai_adapter.py::test_a_key", "azure-openai"),
        ("tests/providers/lanes/test_openai_services.py::test_some[x-ai]", "x-ai"),
        ("tests/whole/test_costs.py::test_googled_words[max-air]", NOBODY),
    ],
)
def test_a_test_is_of_the_lane_that_its_id_names(node: str, lane: str) -> None:
    assert LaneTimes(LANES).lane_of(node) == lane


def test_the_table_adds_up_all_phases_and_begins_with_the_dearest() -> None:
    times = LaneTimes(LANES)
    for node, when, seconds in (
        ("a.py::t[google]", "setup", 2.0),
        ("a.py::t[google]", "call", 3.5),
        ("a.py::u[x-ai]", "call", 9.0),
        ("a.py::v", "call", 1.0),
    ):
        times.pytest_runtest_logreport(
            pytest.TestReport(node, ("", 0, ""), {}, "passed", None, when, duration=seconds)  # type: ignore[arg-type]
        )
    (line,) = times.table()
    assert line.split() == ["x-ai", "9.0", "(1)", "google", "5.5", "(1)", "no", "lane", "1.0", "(1)"]


@pytest.mark.parametrize(
    ("node", "scope"),
    [
        ("tests/whole/test_demo.py::test_the_demo", "tests/whole/test_demo.py"),
        (
            "tests/whole/kills/test_kill_matrix.py::test_kill[a-1]",
            "tests/whole/kills/test_kill_matrix.py::test_kill[a-1]",
        ),
        ("tests/whole/kills/test_order_trace.py::test_a[google]", "tests/whole/kills/test_order_trace.py"),
        ("tests/whole/contract/test_creates.py::test_a[x-ai-2]", "tests/whole/contract/test_creates.py x-ai"),
        ("tests/whole/contract/test_suite.py::test_all", f"tests/whole/contract/test_suite.py {NOBODY}"),
    ],
)
def test_what_a_test_shares_a_worker_with(node: str, scope: str) -> None:
    assert scope_of(node, LaneTimes(LANES).lane_of) == scope
