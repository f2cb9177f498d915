"""Promise 2 for every lane: whatever becomes of a create, the provider has each part exactly once."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.waiting import until
from tests.whole.contract.cases import KEYS, Case
from tests.whole.contract.checks import CANCELLED, Lines, check_lines, check_paid_once, lines_of, rows_of
from tests.whole.contract.client import Client
from tests.whole.contract.wire import Wire

WAIT = 0.4  # seconds that a 429 asks for; of itself the gateway would call again after 0.1
LONGER = 0.8
FEW = "few"  # lines a job: three


def test_a_create_whose_reply_is_lost_is_found_and_not_repeated(case: Case, gateway: Client, wire: Wire) -> None:
    wire.lose_reply(4)
    lines = lines_of(case, 12)
    check_lines(case, gateway, gateway.run(lines, FEW), lines)
    check_paid_once(wire, len(lines))
    assert len(wire.accepted()) == 4


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_create_that_was_accepted_and_answered_with_an_error_is_found_and_not_repeated(
    case: Case, gateway: Client, wire: Wire, status: int
) -> None:
    wire.error_after_accept(4, status)
    lines = lines_of(case, 12)
    check_lines(case, gateway, gateway.run(lines, FEW), lines)
    check_paid_once(wire, len(lines))
    assert len(wire.accepted()) == 4


def test_a_create_that_never_arrived_is_sent_again_after_the_settle_time_and_never_earlier(
    case: Case, gateway: Client, wire: Wire
) -> None:
    wire.never_arrives(1)
    lines = lines_of(case, 4)
    check_lines(case, gateway, gateway.run(lines, "settling"), lines)
    check_paid_once(wire, len(lines))
    lost, sent = (call for call in wire.requests() if call.name == wire.create_call)
    assert lost.status == 0
    assert sent.at - lost.at >= KEYS["settling"]["settle_seconds"]


def test_creates_lost_in_every_way_at_once_leave_one_job_a_part(case: Case, gateway: Client, wire: Wire) -> None:
    wire.lose_reply(1)
    wire.never_arrives(1)
    wire.error_after_accept(1, 500)
    wire.too_many(1, 0.1, calls={wire.create_call})
    lines = lines_of(case, 15)
    check_lines(case, gateway, gateway.run(lines, FEW), lines)
    check_paid_once(wire, len(lines))
    assert len(wire.accepted()) == 5


def test_every_call_that_is_told_to_wait_waits_as_long_as_the_provider_asks(
    case: Case, gateway: Client, wire: Wire
) -> None:
    lines, waited = lines_of(case, 3), set[str]()
    wire.too_many(1, WAIT)
    check_lines(case, gateway, gateway.run(lines), lines)
    waited |= _refused_and_obeyed(wire)
    wire.lose_reply(1)
    wire.too_many(1, WAIT, skip=1)  # the lookup's calls, behind those of the create
    check_lines(case, gateway, gateway.run(lines), lines)
    waited |= _refused_and_obeyed(wire)
    wire.slow(30)
    wire.too_many(1, WAIT, calls=wire.calls - waited)
    batch_id = gateway.submit(lines)
    until(lambda: len(wire.accepted()) == 1, "the job of the batch that is cancelled")
    gateway.cancel(batch_id)
    check_lines(case, gateway, gateway.until(batch_id), lines, {line["custom_id"]: CANCELLED for line in lines})
    waited |= _refused_and_obeyed(wire)
    wire.never_arrives(1)  # last: a guess is looked into also when its batch has ended
    wire.too_many(1, WAIT, calls=wire.calls - waited)
    check_lines(case, gateway, gateway.run(lines), lines)
    waited |= _refused_and_obeyed(wire)
    assert waited == wire.calls


def _refused_and_obeyed(wire: Wire) -> set[str]:
    """Return which kinds of calls were told to wait; while one waits, a batch of one job has nothing else to say."""
    seen = wire.requests()
    for refused, after in pairwise(seen):
        pause = after.at - refused.at
        assert refused.status != 429 or pause >= WAIT, f"{after.name} {pause:.2f} s after a refused {refused.name}"
    assert len(set(wire.accepted())) == 1
    wire.reset()
    return {call.name for call in seen if call.status == 429}


def test_a_cancel_does_not_make_a_call_come_before_its_time(case: Case, gateway: Client, wire: Wire) -> None:
    wire.slow(30)
    batch_id = gateway.submit(lines_of(case, 3))
    until(lambda: len(wire.accepted()) == 1, "the job")
    wire.too_many(1, LONGER, calls=wire.calls - {wire.create_call})
    until(lambda: any(call.status == 429 for call in wire.requests()), "a refused call")
    gateway.cancel(batch_id)
    assert gateway.until(batch_id)["status"] == "cancelled"
    seen = wire.requests()
    told = next(n for n, call in enumerate(seen) if call.status == 429)
    assert seen[told + 1].at - seen[told].at >= LONGER


def test_a_stranger_in_the_account_is_not_counted(case: Case, gateway: Client, wire: Wire) -> None:
    wire.slow(1)
    lines = lines_of(case, 6)
    batch = gateway.until(_lost_among_strangers(gateway, wire, lines))
    assert batch["status"] == "completed"
    check_lines(case, gateway, batch, lines)
    check_paid_once(wire, len(lines))
    assert wire.cancelled() == []


def test_a_stranger_in_the_account_is_not_cancelled(case: Case, gateway: Client, wire: Wire) -> None:
    wire.slow(30)
    lines = lines_of(case, 6)
    batch_id = _lost_among_strangers(gateway, wire, lines)
    gateway.cancel(batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    check_lines(case, gateway, batch, lines, {row["custom_id"]: CANCELLED for row in rows_of(gateway, batch)[1]})
    assert sorted(wire.cancelled()) == sorted(wire.accepted())


def _lost_among_strangers(gateway: Client, wire: Wire, lines: Lines) -> str:
    """Return a batch of two jobs whose creates are in doubt, with others' jobs before, between and after them.

    One create was accepted; where the other one should be, a lookup finds nothing but the strangers.
    """
    wire.stranger(3)
    wire.lose_reply(1)
    wire.never_arrives(1)
    batch_id = gateway.submit(lines, FEW)
    wire.stranger(3)
    until(lambda: len(wire.accepted()) == 2, "both jobs")
    wire.stranger(3)
    return batch_id
