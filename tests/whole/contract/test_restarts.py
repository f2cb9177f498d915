"""A gateway that is killed and started again goes on where it was: nothing is lost and nothing is sent twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Literal

import pytest

from tests.support.lines import jsonl
from tests.support.waiting import until
from tests.whole.contract.cases import Case, Wires, keeper_of
from tests.whole.contract.checks import MISSING, check_lines, check_paid_once, lines_of
from tests.whole.contract.client import Client, Keeper
from tests.whole.contract.wire import Wire

Moment = Literal["upload", "create", "accepted", "ended", "lost", "merged"]
MOMENTS: tuple[Moment, ...] = ("upload", "create", "accepted", "ended", "lost", "merged")
LINES, JOBS, SLUG = 12, 3, "four"  # lines a job: four


@pytest.fixture(scope="module")
def keeper(case: Case, wires: Wires, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    """The keeper of a gateway to be killed. This provider alone is registered."""
    made = keeper_of([case], wires, tmp_path_factory)
    yield made
    made.close()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_batch_survives_a_kill(case: Case, gateway: Client, wire: Wire, moment: Moment) -> None:
    """After each of: upload, create, acceptance there, the end there; while a create is in doubt; and at the end."""
    wire.slow(0.3)
    if moment == "lost":
        wire.lose_reply(JOBS)
    lines = lines_of(case, LINES, odd={2: "duplicate", 5: "missing"})
    upload = gateway.upload(jsonl(lines))
    if moment == "upload":
        gateway.again()
    batch_id = gateway.order(upload, SLUG)["id"]
    _pass(moment, gateway, wire, batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "completed"
    check_lines(case, gateway, batch, lines, {"line 5": MISSING})
    check_paid_once(wire, LINES)
    assert len(wire.accepted()) == JOBS


def _pass(moment: Moment, gateway: Client, wire: Wire, batch_id: str) -> None:
    """Bring the batch to a moment behind its create, and kill the gateway there."""
    if moment in {"accepted", "lost", "ended"}:
        until(lambda: len(wire.accepted()) == JOBS, "all jobs")
    if moment == "ended":
        gateway.kill(signal.SIGSTOP)  # so that it cannot have seen the end
        until(lambda: sum(wire.ran().values()) == LINES, "the end of all jobs")
    if moment == "merged":
        before = gateway.until(batch_id)
        gateway.again()
        assert gateway.batch(batch_id) == before
    elif moment != "upload":
        gateway.again()


def test_a_cancel_survives_a_kill_and_is_asked_once(case: Case, gateway: Client, wire: Wire) -> None:
    wire.slow(30)
    lines = lines_of(case, LINES)
    batch_id = gateway.order(gateway.upload(jsonl(lines)), SLUG)["id"]
    until(lambda: len(wire.accepted()) == JOBS, "all jobs")
    gateway.cancel(batch_id)
    gateway.again()
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    check_lines(case, gateway, batch, lines, {line["custom_id"]: "batch_cancelled" for line in lines})
    assert sorted(set(wire.cancelled())) == sorted(wire.accepted())
    assert len(wire.accepted()) == len(set(wire.accepted())) == JOBS
