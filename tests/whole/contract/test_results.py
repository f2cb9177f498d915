"""Results for every lane: waited for while answers are announced, read once, and told of when they never come."""

from __future__ import annotations

import pytest

from proxy_plugin.engine.steps_results import READINGS
from tests.support.waiting import until
from tests.whole.contract.cases import Case
from tests.whole.contract.checks import MISSING, check_lines, check_paid_once, lines_of, rows_of
from tests.whole.contract.client import Client
from tests.whole.contract.sandbox_wire import SEVERAL
from tests.whole.contract.wire import Wire

ABSURD = (10**30, 150, -1, 2**63, 2**31)


def _readings(case: Case, wire: Wire) -> int:
    return sum(call.name == case.stand_in.results for call in wire.requests())


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_a_job_may_be_over_before_its_results_are_there(case: Case, gateway: Client, wire: Wire, looks: int) -> None:
    wire.results_late(looks)
    lines = lines_of(case, 6, odd={1: "error", 4: "error"})
    batch = gateway.run(lines)
    assert batch["status"] == "completed"
    check_lines(case, gateway, batch, lines, dict.fromkeys(("line 1", "line 4"), case.error_code))
    check_paid_once(wire, 6 if case.stand_in.errors_paid else 4)
    assert set(wire.downloads().values()) == {1}


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_a_batch_ends_although_every_so_manieth_call_is_refused(
    case: Case, gateway: Client, wire: Wire, n: int, offset: int
) -> None:
    """What a step has of several calls it does not ask for again: one refusal in the middle costs one call."""
    wire.refuse_every(n, offset)
    lines = lines_of(case, 6, odd={2: "error"})
    check_lines(case, gateway, gateway.run(lines), lines, {"line 2": case.error_code})
    check_paid_once(wire, 6 if case.stand_in.errors_paid else 5)
    assert set(wire.downloads().values()) == {1}


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("n", [2, 3])
def test_a_lost_create_is_found_although_every_so_manieth_call_is_refused(
    case: Case, gateway: Client, wire: Wire, n: int, offset: int
) -> None:
    """What is looked at to tell whose a job is takes several calls, too."""
    wire.lose_reply(1)
    wire.refuse_every(n, offset)
    lines = lines_of(case, SEVERAL)
    batch_id = gateway.submit(lines)
    until(lambda: wire.accepted() != [], "the job")
    wire.stranger(2)
    batch = gateway.until(batch_id)
    check_lines(case, gateway, batch, lines)
    check_paid_once(wire, len(lines))


def test_a_job_is_cancelled_although_every_second_call_is_refused(case: Case, gateway: Client, wire: Wire) -> None:
    wire.slow(30)
    batch_id = gateway.submit(lines_of(case, 4))
    until(lambda: wire.accepted() != [], "the job")
    wire.refuse_every(2)
    gateway.cancel(batch_id)
    assert gateway.until(batch_id)["status"] == "cancelled"


def test_empty_results_are_read_again(case: Case, gateway: Client, wire: Wire) -> None:
    wire.empty(3)
    lines = lines_of(case, 5)
    check_lines(case, gateway, gateway.run(lines), lines)
    check_paid_once(wire, len(lines))
    assert _readings(case, wire) == 4


def test_results_that_stay_empty_are_read_so_often_and_no_more(case: Case, gateway: Client, wire: Wire) -> None:
    wire.empty(1000)
    lines = lines_of(case, 5)
    batch = gateway.run(lines)
    check_lines(case, gateway, batch, lines, dict.fromkeys((line["custom_id"] for line in lines), MISSING))
    check_paid_once(wire, len(lines))
    assert _readings(case, wire) == READINGS
    for row in rows_of(gateway, batch)[1]:
        assert "reported an answer for this line" in row["error"]["message"]
        assert "of the 5 results" in row["error"]["message"]


def test_a_result_that_never_comes_is_said_to_have_been_announced(case: Case, gateway: Client, wire: Wire) -> None:
    lines = lines_of(case, 5, odd={3: "missing"})
    wire.tell(5, 0)
    batch = gateway.run(lines)
    check_lines(case, gateway, batch, lines, {"line 3": MISSING})
    (row,) = rows_of(gateway, batch)[1]
    assert "reported an answer for this line" in row["error"]["message"]
    assert "it gave 4" in row["error"]["message"]


@pytest.mark.parametrize("number", ABSURD)
def test_counts_that_cannot_be_are_not_believed(case: Case, gateway: Client, wire: Wire, number: int) -> None:
    wire.tell(number, number)
    lines = lines_of(case, 3)
    batch_id = gateway.submit(lines)
    shown = []

    def ended() -> bool:
        shown.append(gateway.call("GET", f"/batches/{batch_id}?include=jobs"))
        return bool(shown[-1]["status"] == "completed")

    until(ended, "the end")
    for batch in shown:
        for counts in (batch["request_counts"], *(job["request_counts"] for job in batch["jobs"])):
            assert 0 <= counts["completed"] + counts["failed"] <= counts["total"] in (0, 3)
    check_lines(case, gateway, gateway.batch(batch_id), lines)
    check_paid_once(wire, len(lines))
