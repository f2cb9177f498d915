"""A cancel in every state: what ran is kept, rows win over the cancel, and only what is provably ours is cancelled."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.stand_ins import StandIn
from tests.support.waiting import until
from tests.whole.contract.client import Client
from tests.whole.lanes.rig import CANCELLED, ROOM, STAND_INS, Stand, account, chats, keys

LONG = 1000.0  # seconds of the stand-in's clock
LINES = chats(20)
UNSTOPPABLE: dict[str, tuple[dict[str, Any], str, str]] = {  # options, and a job's status before and after a cancel
    "openai": ({"finalize_seconds": LONG}, "finalizing", "cancelled"),
    "anthropic": ({"run_seconds": LONG, "cancel_interrupts": False}, "in_progress", "ended"),
}
BROKEN = {"kind": "status", "status": 503, "times": None}


def named(stand_in: StandIn) -> str:
    return stand_in.provider


@pytest.fixture
def failing(stand: Stand, tmp_path: Path) -> Iterator[Client]:
    """A gateway of its own, to be started with a failpoint."""
    made = Client(tmp_path, keys(stand.sandbox))
    yield made
    made.close()


def _stopped_worker(gateway: Client) -> int:
    """Return the process id of the gateway's worker that a failpoint has stopped."""

    def stopped() -> list[int]:
        assert gateway.process is not None
        children = Path(f"/proc/{gateway.process.pid}/task").glob("*/children")
        pids = [pid for path in children for pid in path.read_text().split()]
        states = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}
        return [int(pid) for pid, state in states.items() if state == "T"]

    return until(stopped, "a worker that was stopped")[0]


def _cancel(gateway: Client, batch_id: str, word: str = "cancelling") -> None:
    asked = gateway.cancel(batch_id)
    assert asked["status"] == word
    assert asked["cancelling_at"] >= asked["created_at"]


def test_while_validating(stand: Stand, failing: Client) -> None:
    failing.start(fail="split.row:1:stop")
    batch_id = failing.submit(LINES, stand.provider)
    worker = _stopped_worker(failing)
    assert failing.batch(batch_id)["status"] == "validating"
    _cancel(failing, batch_id)
    os.kill(worker, signal.SIGCONT)
    batch = failing.until(batch_id)
    assert batch["status"] == "cancelled"
    assert account(failing, batch, LINES) == {CANCELLED: len(LINES)}
    assert stand.sandbox.control.requests() == [], "the provider was asked for a batch that never began"


def test_while_planned(stand: Stand, gateway: Client) -> None:
    stand.options(run_seconds=LONG)
    slug = f"{stand.provider}-narrow"
    ahead = gateway.submit(chats(ROOM), slug)
    until(stand.running, "the job ahead")
    batch_id = gateway.submit(LINES, slug)
    gateway.until(batch_id, {"in_progress"})
    _cancel(gateway, batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    assert account(gateway, batch, LINES) == {CANCELLED: len(LINES)}
    assert (len(stand.sandbox.control.log()), stand.cancels()) == (1, [])
    stand.sandbox.control.advance(LONG)
    assert gateway.until(ahead)["request_counts"] == {"total": ROOM, "completed": ROOM, "failed": 0}


def test_between_intent_and_send(stand: Stand, gateway: Client) -> None:
    if not stand.stand_in.newest:
        pytest.skip("no fence is read before a create")
    stand.faults(BROKEN | {"on": "batches.list"})  # no fence can be read, so nothing is sent
    batch_id = gateway.submit(LINES, stand.provider)
    until(lambda: stand.calls("batches.list"), "a fence that was asked for")
    _cancel(gateway, batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    assert account(gateway, batch, LINES) == {CANCELLED: len(LINES)}
    assert (stand.sandbox.control.log(), stand.cancels()) == ([], [])


def test_while_the_reply_to_the_create_is_awaited(stand: Stand, gateway: Client) -> None:
    stand.options(run_seconds=LONG)
    stand.faults({"kind": "stall", "on": "batches.create", "seconds": 0.7})
    batch_id = gateway.submit(LINES, stand.provider)
    until(stand.sandbox.control.log, "an accepted create")
    _cancel(gateway, batch_id)
    assert stand.calls("batches.create")[0]["status"] == 0, "the reply was there before the cancel"
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    assert account(gateway, batch, LINES) == {CANCELLED: len(LINES)}
    assert stand.cancels() == [job["id"] for job in stand.jobs()]
    assert len(stand.jobs()) == 1


def test_while_nobody_knows_what_became_of_the_create(stand: Stand, gateway: Client) -> None:
    """Among equal jobs of strangers ours is found by its mark: in its label and cancelled, or else in its results."""
    stand.options(run_seconds=LONG)
    lost = {"kind": "drop_after", "on": "batches.create"}
    looks, fences = stand.stand_in.lookup, int(bool(stand.stand_in.newest))
    stand.faults(lost, BROKEN | {"on": looks, "skip": fences})
    batch_id = gateway.submit(LINES, stand.provider)
    until(lambda: len(stand.calls(looks)) > fences, "a lookup")
    stand.sandbox.control.strangers(stand.provider, batches=2, lines=len(LINES))
    _cancel(gateway, batch_id)
    stand.faults()
    if stand.stand_in.labelled:
        expected = ("cancelled", {CANCELLED: len(LINES)}, [job["id"] for job in stand.jobs()])
    else:
        looked = len(stand.calls("batches.list"))
        until(lambda: len(stand.calls("batches.list")) > looked + 1, "two lookups that told nothing")
        assert gateway.batch(batch_id)["status"] == "cancelling"
        stand.sandbox.control.advance(LONG)
        expected = ("completed", {"ok": len(LINES)}, [])
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES), stand.cancels()) == expected
    assert len(stand.sandbox.control.log()) == 1


@pytest.mark.parametrize("stand_in", [each for each in STAND_INS if not each.labelled], ids=named)
def test_a_job_adopted_for_its_size_alone_is_not_cancelled(stand_in: StandIn, stand: Stand, gateway: Client) -> None:
    stand.options(run_seconds=LONG)
    stand.faults({"kind": "drop_after", "on": "batches.create"})
    batch_id = gateway.submit(LINES, stand.provider)
    until(lambda: stand.calls("batches.retrieve"), "an adopted job")
    _cancel(gateway, batch_id)
    seen = len(stand.calls("batches.retrieve"))
    until(lambda: len(stand.calls("batches.retrieve")) > seen + 2, "polls behind the cancel")
    stand.sandbox.control.advance(LONG)
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES)) == ("completed", {"ok": len(LINES)})
    assert stand.cancels() == []


def _half_way(stand: Stand, gateway: Client) -> str:
    stand.options(run_seconds=LONG)
    batch_id = gateway.submit(LINES, stand.provider)
    until(stand.running, "a running job")
    stand.sandbox.control.advance(LONG * 0.51)
    return batch_id


def test_while_the_job_runs(stand: Stand, gateway: Client) -> None:
    batch_id = _half_way(stand, gateway)
    _cancel(gateway, batch_id)
    batch = gateway.until(batch_id)
    assert batch["status"] == "cancelled"
    assert batch["cancelled_at"] >= batch["cancelling_at"]
    assert account(gateway, batch, LINES) == stand.kept(10, 10)
    assert stand.cancels() == [job["id"] for job in stand.jobs()]


def test_a_cancel_whose_reply_is_lost_is_not_sent_again(stand: Stand, gateway: Client) -> None:
    stand.options(cancel_seconds=LONG)
    batch_id = _half_way(stand, gateway)
    stand.faults({"kind": "drop_after", "on": "batches.cancel"})
    _cancel(gateway, batch_id)
    until(stand.cancels, "a native cancel")
    seen = len(stand.calls("batches.retrieve"))
    until(lambda: len(stand.calls("batches.retrieve")) > seen + 2, "polls behind the cancel")
    stand.sandbox.control.advance(LONG)
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES)) == ("cancelled", stand.kept(10, 10))
    more = not stand.stand_in.late_cancel  # a lost DELETE is repeated by aiohttp
    assert len(stand.cancels()) in ({1, 1 + more} if stand.stand_in.says_cancelling else {2})


def test_twice_at_once_is_once(stand: Stand, gateway: Client) -> None:
    batch_id = _half_way(stand, gateway)
    barrier = threading.Barrier(4)

    def ask(_: int) -> int:
        barrier.wait()
        return int(gateway.cancel(batch_id)["cancelling_at"])

    with ThreadPoolExecutor(4) as clients:
        answers = set(clients.map(ask, range(4)))
    batch = gateway.until(batch_id)
    assert answers == {batch["cancelling_at"]}
    assert (batch["status"], account(gateway, batch, LINES)) == ("cancelled", stand.kept(10, 10))
    assert len(stand.cancels()) == 1


def test_the_route_asks_no_provider(stand: Stand, gateway: Client) -> None:
    """The answer comes while the provider's host is frozen; the engine asks when it is back."""
    batch_id = _half_way(stand, gateway)
    os.kill(stand.sandbox.pid, signal.SIGSTOP)
    try:
        _cancel(gateway, batch_id)
        assert gateway.batch(batch_id)["status"] == "cancelling"
    finally:
        os.kill(stand.sandbox.pid, signal.SIGCONT)
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES)) == ("cancelled", stand.kept(10, 10))
    assert len(stand.cancels()) == 1


def test_when_the_job_has_ended_and_is_not_collected(stand: Stand, gateway: Client) -> None:
    stand.faults(BROKEN | {"on": stand.stand_in.results})
    batch_id = gateway.submit(LINES, stand.provider)
    until(lambda: stand.calls(stand.stand_in.results), "results that cannot be read")
    _cancel(gateway, batch_id)
    stand.faults()
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES)) == ("completed", {"ok": len(LINES)})
    assert batch["cancelled_at"] is None
    assert stand.cancels() == []


def test_when_the_job_ends_before_the_cancel_reaches_it(stand: Stand, gateway: Client) -> None:
    batch_id = _half_way(stand, gateway)
    stand.faults(BROKEN | {"on": "batches.cancel"})
    _cancel(gateway, batch_id)
    until(stand.cancels, "a native cancel that fails")
    stand.sandbox.control.advance(LONG)
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES)) == ("completed", {"ok": len(LINES)})
    assert {entry["status"] for entry in stand.calls("batches.cancel")} == {503}


def test_when_the_job_ends_while_the_cancel_is_on_its_way(stand: Stand, gateway: Client) -> None:
    """The poll still saw it run; the provider refuses the cancel of what is over, and that is no error."""
    batch_id = _half_way(stand, gateway)
    stand.faults({"kind": "stall", "on": "batches.retrieve", "seconds": 0.5})
    _cancel(gateway, batch_id)
    until(lambda: stand.sandbox.control.faults()[0]["fired"], "a poll whose answer is on its way")
    stand.sandbox.control.advance(LONG)
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES)) == ("completed", {"ok": len(LINES)})
    assert [entry["status"] for entry in stand.calls("batches.cancel")] == [
        status for status in [stand.stand_in.late_cancel] if status
    ]


@pytest.mark.parametrize("stand_in", [each for each in STAND_INS if each.provider in UNSTOPPABLE], ids=named)
def test_when_the_cancel_stops_nothing(stand_in: StandIn, stand: Stand, gateway: Client) -> None:
    """One service calls such a job cancelled, the other ended. The rows tell: every line was answered."""
    options, busy, ended = UNSTOPPABLE[stand_in.provider]
    stand.options(**options)
    batch_id = gateway.submit(LINES, stand.provider)
    until(lambda: [job["status"] for job in stand.jobs()] == [busy], "a job that can no longer be stopped")
    _cancel(gateway, batch_id)
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES)) == ("completed", {"ok": len(LINES)})
    assert [job["status"] for job in stand.jobs()] == [ended]
    assert len(stand.cancels()) == 1


def test_of_several_jobs_only_what_was_stopped_is_cancelled(stand: Stand, gateway: Client) -> None:
    stand.options(run_seconds=LONG)
    slug = f"{stand.provider}-narrow"
    batch_id = gateway.submit(LINES, slug)
    until(stand.running, "a first job")
    stand.sandbox.control.advance(LONG)
    until(lambda: len(stand.jobs()) == 2 and stand.running(), "a second job")
    stand.sandbox.control.advance(LONG * 0.51)
    _cancel(gateway, batch_id)
    batch = gateway.until(batch_id)
    assert (batch["status"], account(gateway, batch, LINES)) == (
        "cancelled",
        stand.kept(3, 11) | {"ok": ROOM + 3 * stand.stand_in.partial},
    )
    assert stand.cancels() == [stand.jobs()[-1]["id"]]


def _over(word: str) -> dict[str, Any]:
    """Return what OpenAI says of a batch that is beyond cancelling."""
    message = f"Cannot cancel a batch with status '{word}'."
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def test_while_rows_are_merged_it_is_too_late(stand: Stand, failing: Client) -> None:
    failing.start(fail="merge.row:5:stop")
    batch_id = failing.submit(LINES, stand.provider)
    worker = _stopped_worker(failing)
    assert failing.batch(batch_id)["status"] == "finalizing"
    assert failing.ask("POST", f"/batches/{batch_id}/cancel") == (409, _over("finalizing"))
    os.kill(worker, signal.SIGCONT)
    batch = failing.until(batch_id)
    assert (batch["status"], account(failing, batch, LINES)) == ("completed", {"ok": len(LINES)})
    assert batch["cancelling_at"] is None
    assert stand.cancels() == []


def test_a_batch_that_is_over_stays_as_it_is(stand: Stand, gateway: Client) -> None:
    completed = gateway.run(LINES, stand.provider)
    cancelled_id = _half_way(stand, gateway)
    _cancel(gateway, cancelled_id)
    cancelled = gateway.until(cancelled_id)
    asked = len(stand.sandbox.control.requests())
    said = ((completed, "completed", (409, _over("completed"))), (cancelled, "cancelled", (200, cancelled)))
    for batch, word, answer in said:
        assert batch["status"] == word
        assert gateway.ask("POST", f"/batches/{batch['id']}/cancel") == answer
        assert gateway.batch(batch["id"]) == batch
    assert len(stand.sandbox.control.requests()) == asked
