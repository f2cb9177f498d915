"""Shares: a workspace that asks for very much gets its share, and the others theirs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.attacks.rig import Tenant, Town, check, show
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import GatewayGone, lane
from tests.support.waiting import until

pytestmark = pytest.mark.sandbox(options={"openai": {"run_seconds": 0.2}})
PLACES, LINES = 20, 3
BEHIND = {False: 120, True: 5_000}  # batches of the attacker
WATCHED = {False: 3.0, True: 60.0}  # seconds
MODELS = 1_000


@pytest.fixture
def town(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Town]:
    """A gateway whose virtual key has few places."""
    made = Town(tmp_path_factory.mktemp("town"), {"lane": lane(sandbox, max_jobs_in_flight=PLACES)})
    made.start()
    made.watch(0.1)  # the workers have started
    yield made
    made.close()


def create(who: Tenant, file_id: str, n: int) -> str:
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return str(who.call("POST", "/batches", body | {"metadata": {"n": str(n)}})["id"])


def ended(who: Tenant, batches: list[str]) -> bool:
    return all(who.call("GET", f"/batches/{each}")["status"] == "completed" for each in reversed(batches))


def test_a_batch_of_one_line_is_not_behind_thousands_of_another_workspace(town: Town, campaign: bool) -> None:
    quiet = town.watch(WATCHED[campaign])
    attacker = town.attacker
    file_id = attacker.upload(jsonl(chat_lines(LINES)))
    with town.watching() as seen, ThreadPoolExecutor(8) as threads:
        count = BEHIND[campaign]
        made = list(threads.map(lambda n: create(attacker, file_id, n), range(count)))
        assert len(made) == len(set(made)) == count
        mine = [create(town.bystander, town.bystander.upload(jsonl(chat_lines(LINES))), n) for n in range(2)]
        until(lambda: ended(town.bystander, mine), "the bystander's batches end", seconds=300)
    show(f"{count} batches of {LINES} lines of another workspace, {PLACES} places", quiet, seen)
    check(quiet, seen)
    if not campaign:
        until(lambda: ended(attacker, made), "the attacker has its share too", seconds=300)


def test_more_plans_than_may_wait_are_refused_at_once(town: Town, campaign: bool) -> None:
    quiet = town.watch(1.0)
    attacker, told = town.attacker, Counter[int]()
    file_id = attacker.upload(jsonl(chat_lines(20_000 if campaign else 2_000)))

    def plan(_: int) -> None:
        try:
            attacker.call("POST", "/batches/plan", {"input_file_id": file_id, "endpoint": "/v1/chat/completions"})
            told[200] += 1
        except HTTPError as refusal:
            told[refusal.code] += refusal.headers["Retry-After"] == "5"
        except GatewayGone:
            told[0] += 1

    with town.watching() as seen, ThreadPoolExecutor(40) as threads:
        list(threads.map(plan, range(80)))
    show(f"80 plans of another workspace at once, answered {dict(told)}", quiet, seen)
    check(quiet, seen)
    assert told[429] > 0
    assert told[200] >= 16


def test_a_file_of_a_thousand_models_makes_no_thousand_jobs(town: Town, sandbox: Sandbox) -> None:
    quiet = town.watch(1.0)
    lines = chat_lines(MODELS)
    for n, line in enumerate(lines):
        line["body"]["model"] = f"gpt-4.1-nano-{n}"
    attacker = town.attacker
    with town.watching() as seen:
        file_id = attacker.upload(jsonl(lines))
        plan = attacker.call("POST", "/batches/plan", {"input_file_id": file_id, "endpoint": "/v1/chat/completions"})
        batch = attacker.until(attacker.create(file_id)["id"])
    show(f"a file that names {MODELS} models", quiet, seen)
    check(quiet, seen)
    [fault] = batch["errors"]["data"]
    assert (batch["status"], fault["code"], fault["line"]) == ("failed", "too_many_jobs", 501)
    assert "would need 1000 jobs, and a batch may have 500" in fault["message"]
    assert (plan["would_fail"], plan["jobs"], named(plan)) == (True, MODELS, [fault])
    assert not any(job["model"].startswith("gpt-4.1-nano-") for job in sandbox.control.jobs() if job.get("model"))


def named(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in plan["errors"]["data"] if each["code"] == "too_many_jobs"]


def test_a_restart_spreads_what_is_overdue_and_loses_nothing(town: Town, sandbox: Sandbox) -> None:
    """Jobs that ended while no gateway ran are all collected, and polls begin one after the other."""
    sandbox.control.options(run_seconds=0.5)
    attacker = town.attacker
    file_id, before = attacker.upload(jsonl(chat_lines(LINES))), len(sandbox.control.jobs())
    made = [create(attacker, file_id, n) for n in range(PLACES)]
    until(lambda: len(sandbox.control.jobs()) == before + PLACES, "all jobs were created")
    town.kill()
    town.start()
    until(lambda: ended(attacker, made), "all batches end", seconds=120)
    assert len(sandbox.control.jobs()) == before + PLACES
    started = [json.loads(each) for each in town.log.read_text().splitlines() if '"engine_started"' in each]
    assert len(started) == 2
