"""Cancels for every lane: what ran is kept, what did not is said, and nothing is sent or asked twice."""

from __future__ import annotations

from tests.support.waiting import until
from tests.whole.contract.cases import Case
from tests.whole.contract.checks import CANCELLED, check_lines, check_paid_once, lines_of, rows_of
from tests.whole.contract.client import Client
from tests.whole.contract.wire import Wire


def test_a_cancel_keeps_what_ran_and_says_of_the_rest_that_it_was_cancelled(
    case: Case, gateway: Client, wire: Wire
) -> None:
    wire.slow(1)
    lines = lines_of(case, 24)
    batch_id = gateway.submit(lines, "one-by-one")
    until(lambda: wire.accepted() != [], "a first job")
    wire.slow(6, obey=0.8)  # the next ones, which come when the first has ended
    until(lambda: _is_half_way(case, wire), "a job that runs")
    assert gateway.cancel(batch_id)["status"] == "cancelling"
    gateway.cancel(batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    marks = wire.accepted()
    assert wire.cancelled() == marks[-1:], "the running job and no other, once"
    assert len(marks) < 4, "a part was sent after the cancel"
    output, error = rows_of(gateway, batch)
    assert len(output) == sum(wire.ran().values()) >= 6
    check_lines(case, gateway, batch, lines, {row["custom_id"]: CANCELLED for row in error})
    check_paid_once(wire, len(output))


def _is_half_way(case: Case, wire: Wire) -> bool:
    """Tell whether some jobs have ended and one is running that, if the lane can, has some answers already."""
    marks, ran = wire.accepted(), wire.ran()
    ended = [mark for mark in marks if ran.get(mark) == 6]
    return len(marks) == len(ended) + 1 and bool(ended) and (marks[-1] in ran or not case.stand_in.partial)


def test_a_batch_cancelled_while_it_waits_for_room_is_never_sent(case: Case, gateway: Client, wire: Wire) -> None:
    wire.slow(30)
    ahead = gateway.submit(lines_of(case, 6), "one-by-one")
    until(lambda: len(wire.accepted()) == 1, "the job ahead")
    lines = lines_of(case, 12)
    batch_id = gateway.submit(lines, "one-by-one")
    gateway.until(batch_id, {"in_progress"})
    gateway.cancel(batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    check_lines(case, gateway, batch, lines, {line["custom_id"]: CANCELLED for line in lines})
    assert wire.cancelled() == []
    gateway.cancel(ahead)
    assert gateway.until(ahead)["status"] == "cancelled"
    assert len(wire.accepted()) == 1


def test_a_batch_cancelled_while_the_provider_refuses_it_is_never_sent(case: Case, gateway: Client, wire: Wire) -> None:
    wire.too_many(1000, 0.3, calls={wire.create_call})
    lines = lines_of(case, 5)
    batch_id = gateway.submit(lines)
    until(lambda: any(call.status == 429 for call in wire.requests()), "a refused create")
    gateway.cancel(batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    check_lines(case, gateway, batch, lines, {line["custom_id"]: CANCELLED for line in lines})
    assert wire.accepted() == []
    assert wire.cancelled() == []


def test_a_batch_cancelled_at_once_is_sent_not_at_all_or_cancelled_there(
    case: Case, gateway: Client, wire: Wire
) -> None:
    wire.slow(30)
    lines = lines_of(case, 6)
    batch_id = gateway.submit(lines)
    gateway.cancel(batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    check_lines(case, gateway, batch, lines, {line["custom_id"]: CANCELLED for line in lines})
    assert wire.cancelled() == wire.accepted()


def test_a_batch_whose_create_is_lost_is_cancelled_when_it_is_found(case: Case, gateway: Client, wire: Wire) -> None:
    wire.slow(30)
    wire.lose_reply(1)
    lines = lines_of(case, 5)
    batch_id = gateway.submit(lines)
    until(lambda: len(wire.accepted()) == 1, "the job")
    gateway.cancel(batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    check_lines(case, gateway, batch, lines, {line["custom_id"]: CANCELLED for line in lines})
    assert wire.cancelled() == wire.accepted()


def test_a_batch_that_has_ended_cannot_be_cancelled(case: Case, gateway: Client, wire: Wire) -> None:
    lines = lines_of(case, 3)
    ended = gateway.run(lines)
    status, answer = gateway.ask("POST", f"/batches/{ended['id']}/cancel")
    assert (status, answer["error"]["message"]) == (409, "Cannot cancel a batch with status 'completed'.")
    assert gateway.batch(ended["id"]) == ended
    assert wire.cancelled() == []
