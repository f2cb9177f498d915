"""Promise 2 where nobody dies: lost replies, late acceptances, a stopped process, a quota, a stranger's account."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import Lines, check_answers, check_paid_once, check_strangers_left_alone, our_mark
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway
from tests.support.waiting import until
from tests.whole.kills.scenes import CAMPAIGNS, FOREVER, KINDS, Campaign, strangers

PER_JOB = 10


def faults(own: Campaign) -> Iterator[tuple[str, str, str]]:
    """Yield (provider, operation, kind of fault): one kind an operation where the engine is killed in other lanes."""
    for number, operation in enumerate(own.stand_in.free):
        kinds = ["status", "drop"]
        kinds += ["stall"] if operation == "batches.retrieve" else []  # one is enough: each costs its time-out
        kinds += ["truncate", "truncate_chunked"] if operation == own.stand_in.results else []
        whole = own.stand_in.provider in KINDS
        yield from ((own.stand_in.provider, operation, kind) for kind in (kinds if whole else [kinds[-1 - number % 2]]))


FAULTS = [fault for own in CAMPAIGNS.values() for fault in faults(own)]


@pytest.fixture(params=CAMPAIGNS)
def own(request: pytest.FixtureRequest, sandbox: Sandbox) -> Campaign:
    found = CAMPAIGNS[request.param]
    if reason := found.without.get(request.node.originalname):
        pytest.skip(reason)
    crowd = strangers(0.0, FOREVER, FOREVER, lines=PER_JOB) if found.strangers else {}
    found.prepare(sandbox, **crowd)
    return found


@pytest.fixture
def lines(own: Campaign) -> Lines:
    return chat_lines(3 * PER_JOB, model=own.stand_in.model, url=own.stand_in.endpoint)


@pytest.fixture
def gateway(own: Campaign, sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path, {"lane": own.key(sandbox, max_lines_per_job=PER_JOB)}, endpoint=own.stand_in.endpoint)
    made.start()
    yield made
    made.close()


def run(gateway: Gateway, lines: Lines, seconds: float = 60) -> dict[str, Any]:
    batch = gateway.create(gateway.upload(jsonl(lines)))
    return gateway.until(batch["id"], seconds=seconds)


def creates(sandbox: Sandbox) -> list[str | None]:
    return [our_mark(entry) for entry in sandbox.control.log()]


@pytest.mark.parametrize("provider", CAMPAIGNS)
def test_reasons_name_tests_that_exist(provider: str) -> None:
    named = {name for name in CAMPAIGNS[provider].without if name.startswith("test_")}
    assert named <= globals().keys()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_after"},
        {"kind": "status_after", "status": 500},
        {"kind": "status_after", "status": 503, "retry_after": 1},
        {"kind": "late", "seconds": 0.3},
    ],
    ids=["reply lost", "500 after acceptance", "503 after acceptance", "accepted after the client gave up"],
)
def test_an_accepted_create_without_an_answer_is_found_and_not_repeated(
    fault: dict[str, Any], own: Campaign, lines: Lines, gateway: Gateway, sandbox: Sandbox
) -> None:
    sandbox.control.faults([{"on": "batches.create", "times": 3, **fault}])
    batch = run(gateway, lines)
    check_answers(gateway, batch, lines, style=own.stand_in.answers)
    check_paid_once(sandbox, lines)
    assert len(creates(sandbox)) == 3


def test_an_acceptance_later_than_the_settle_time_runs_nothing(
    own: Campaign, lines: Lines, gateway: Gateway, sandbox: Sandbox
) -> None:
    """The input of a lost create is deleted before the part is sent again, so what comes late has nothing to read."""
    sandbox.control.faults([{"on": "batches.create", "kind": "late", "seconds": 4, "times": 1}])
    batch = run(gateway, lines)
    check_answers(gateway, batch, lines, style=own.stand_in.answers)
    until(lambda: len(creates(sandbox)) == 4, "the late create, without which nothing was tested")
    until(lambda: all(job["status"] != "validating" for job in sandbox.control.jobs()), "what became of it")
    check_paid_once(sandbox, lines)
    assert sorted(job["status"] for job in sandbox.control.jobs()) == ["completed"] * 3 + ["failed"]


def test_a_create_that_never_arrived_is_sent_again_after_the_settle_time(
    own: Campaign, lines: Lines, gateway: Gateway, sandbox: Sandbox
) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "drop", "times": 3}])
    batch = run(gateway, lines)
    check_answers(gateway, batch, lines, style=own.stand_in.answers)
    check_paid_once(sandbox, lines)


@pytest.mark.parametrize(("own", "on", "kind"), FAULTS, indirect=["own"])
def test_calls_that_cost_nothing_are_repeated_until_they_work(
    on: str, kind: str, own: Campaign, lines: Lines, gateway: Gateway, sandbox: Sandbox
) -> None:
    options: dict[str, Any] = {"status": 503} if kind == "status" else {}
    options |= {"bytes": 300} if kind.startswith("truncate") else {}
    options |= {"seconds": 1} if kind == "stall" else {}
    sandbox.control.faults([{"on": on, "kind": kind, "times": 2, **options}])
    batch = run(gateway, lines)
    check_answers(gateway, batch, lines, style=own.stand_in.answers)
    check_paid_once(sandbox, lines)


def test_429_waits_as_long_as_the_provider_asks(
    own: Campaign, lines: Lines, gateway: Gateway, sandbox: Sandbox
) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "status", "status": 429, "retry_after": 3, "times": 1}])
    batch = run(gateway, lines)
    check_answers(gateway, batch, lines, style=own.stand_in.answers)
    check_paid_once(sandbox, lines)
    seen = sandbox.control.requests()
    refused = next(entry["at"] for entry in seen if entry["status"] == 429)
    early = [entry for entry in seen if refused + 1 < entry["at"] < refused + 2.9]  # others may be on their way
    assert early == []


def test_a_gateway_stopped_for_longer_than_every_timeout_sends_nothing_twice(
    own: Campaign, lines: Lines, gateway: Gateway, sandbox: Sandbox
) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "stall", "seconds": 2, "times": 3}])
    batch = gateway.create(gateway.upload(jsonl(lines)))
    until(lambda: creates(sandbox), "a create")
    gateway.kill(signal.SIGSTOP)
    time.sleep(6)
    gateway.kill(signal.SIGCONT)
    ended = gateway.until(batch["id"])
    check_answers(gateway, ended, lines, style=own.stand_in.answers)
    check_paid_once(sandbox, lines)
    assert len(creates(sandbox)) == 3


def test_a_job_that_failed_for_lack_of_quota_is_submitted_again(
    own: Campaign, lines: Lines, gateway: Gateway, sandbox: Sandbox
) -> None:
    sandbox.control.options("openai", enqueued_token_cap=1)
    batch = gateway.create(gateway.upload(jsonl(lines)))
    until(lambda: any(job["status"] == "failed" for job in sandbox.control.jobs()), "a job that failed")
    sandbox.control.options("openai", enqueued_token_cap=None)
    ended = gateway.until(batch["id"])
    check_answers(gateway, ended, lines, style=own.stand_in.answers)
    check_paid_once(sandbox, lines)


def test_a_stranger_in_the_same_account_is_neither_counted_nor_cancelled(
    own: Campaign, lines: Lines, gateway: Gateway, sandbox: Sandbox
) -> None:
    sandbox.control.options(own.stand_in.provider, run_seconds=1)
    sandbox.control.strangers(own.stand_in.provider, batches=3, lines=PER_JOB)
    sandbox.control.faults([{"on": "batches.create", "kind": "drop_after", "times": 3}])
    batch = gateway.create(gateway.upload(jsonl(lines)))
    sandbox.control.strangers(own.stand_in.provider, batches=3, lines=PER_JOB)
    gateway.until(batch["id"], {"in_progress", "completed"})
    sandbox.control.strangers(own.stand_in.provider, batches=3, lines=PER_JOB)
    ended = gateway.until(batch["id"])
    check_answers(gateway, ended, lines, style=own.stand_in.answers)
    check_strangers_left_alone(sandbox, at_least=9)
    assert "batches.cancel" not in {entry["op"] for entry in sandbox.control.requests()}


def test_a_refusal_for_good_becomes_error_rows_and_a_failed_batch(
    own: Campaign, lines: Lines, gateway: Gateway, sandbox: Sandbox
) -> None:
    lines = chat_lines(5, model=own.stand_in.model, url=own.stand_in.endpoint)
    for line in lines:
        line["body"]["model"] = "no-such-model"
    batch = gateway.create(gateway.upload(jsonl(lines)))
    ended = gateway.until(batch["id"])
    assert ended["status"] == "failed"
    assert ended["request_counts"] == {"total": 5, "completed": 0, "failed": 5}
    rows = gateway.rows(ended["error_file_id"])
    assert [row["custom_id"] for row in rows] == [line["custom_id"] for line in lines]
    assert {row["error"]["code"] for row in rows} == {"model_not_found"}
    assert ended["errors"]["data"][0]["code"] == "model_not_found"


def test_a_wrong_provider_key_is_said_in_every_row(
    own: Campaign, lines: Lines, sandbox: Sandbox, tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path, {"lane": own.key(sandbox, api_key="sk-wrong-key-1234567890")})
    gateway.endpoint = own.stand_in.endpoint
    gateway.start()
    try:
        ended = run(gateway, lines)
        assert ended["status"] == "failed"
        rows = gateway.rows(ended["error_file_id"])
        assert len(rows) == len(lines)
        assert all(row["response"]["status_code"] in {400, 401, 403} for row in rows)
        assert "sk-wrong-key" not in gateway.log.read_text() + repr(rows)
    finally:
        gateway.close()
