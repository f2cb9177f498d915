"""Creates in doubt on a lane without labels: what is waited for, what is guessed, and what a guess costs, counted."""

from __future__ import annotations

import sqlite3
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import ask, check_answers, check_paid_once, check_strangers_left_alone, history, our_mark
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, lane
from tests.support.waiting import until
from tests.whole.kills.lives import sample, until_sample
from tests.whole.kills.scenes import ANTHROPIC, FOREVER, GUESS, LOST, NEVER, late, strangers
from tests.whole.lanes.world import DAY, World, opened

PER_JOB = 10
LINES = chat_lines(3 * PER_JOB, model=ANTHROPIC.stand_in.model)
ONE_JOB = LINES[:PER_JOB]
QUIET = strangers(0.0, 0.0, lines=PER_JOB)
NOBODY: dict[str, Any] = {"strangers_on_list": None}
Start = Callable[..., Gateway]


@pytest.fixture
def start(sandbox: Sandbox, tmp_path: Path) -> Iterator[Start]:
    """Make a gateway of one virtual key, or of several for the same account, and start it."""
    made: list[Gateway] = []

    def build(more: dict[str, dict[str, Any]] | None = None, **options: Any) -> Gateway:
        keys = {"lane": options, **(more or {})}
        own = {slug: ANTHROPIC.key(sandbox, max_lines_per_job=PER_JOB, **each) for slug, each in keys.items()}
        made.append(Gateway(tmp_path, own))
        made[0].start()
        return made[0]

    ANTHROPIC.prepare(sandbox, **QUIET)
    yield build
    for gateway in made:
        gateway.close()


def submit(gateway: Gateway, lines: list[dict[str, Any]], slug: str = "lane") -> str:
    body = {"input_file_id": gateway.upload(jsonl(lines)), "endpoint": "/v1/chat/completions"}
    answer = gateway.call(
        "POST", "/batches", body | {"completion_window": "24h"}, headers={"x-portkey-virtual-key": slug}
    )
    return str(answer["id"])


def check_end(gateway: Gateway, batch_id: str, lines: list[dict[str, Any]]) -> None:
    batch = gateway.until(batch_id)
    assert batch["status"] == "completed"
    check_answers(gateway, batch, lines, style="echo")


def arrived(sandbox: Sandbox) -> int:
    return len([job for job in sandbox.control.jobs() if our_mark(job)])


def calls(sandbox: Sandbox, op: str) -> int:
    return sum(call["op"] == op for call in sandbox.control.requests())


# Guesses, and what they cost


@pytest.mark.parametrize(
    "crowd",
    [
        pytest.param(QUIET, id="our size"),
        pytest.param(strangers(0.0, 0.2, lines=PER_JOB + 1), id="another size", marks=pytest.mark.slow),
    ],
)
def test_a_create_later_than_the_settle_time_doubles_its_job_under_resend_and_that_is_counted(
    crowd: dict[str, Any], start: Start, sandbox: Sandbox
) -> None:
    sandbox.control.options("anthropic", **crowd)
    sandbox.control.faults([late(3)])
    gateway = start(settle_seconds=0.3, **GUESS)
    check_end(gateway, submit(gateway, LINES), LINES)
    until_sample(gateway, "doubled_jobs_total", 1)
    assert sample(gateway, "resent_on_a_guess_total") == 1
    check_paid_once(sandbox, LINES, doubled=1)
    check_strangers_left_alone(sandbox)
    log = gateway.log.read_text()
    assert [log.count(f'"event": "{name}"') for name in ("resent_on_a_guess", "job_doubled")] == [1, 1]
    (noted,) = ask(gateway, "SELECT state, doubled_job FROM submissions WHERE guessed = 1")
    followed = {job for (job,) in ask(gateway, "SELECT job FROM parts")}
    theirs = {job["id"] for job in sandbox.control.jobs() if our_mark(job)}
    assert noted == ("absent", *(theirs - followed))
    gateway.kill()
    gateway.start()
    assert sample(gateway, "resent_on_a_guess_total") == sample(gateway, "doubled_jobs_total") == 1


def test_the_same_create_is_waited_for_and_never_doubled_under_wait(start: Start, sandbox: Sandbox) -> None:
    sandbox.control.faults([late(3)])
    gateway = start(settle_seconds=0.3, on_unknown="wait")
    check_end(gateway, submit(gateway, LINES), LINES)
    check_paid_once(sandbox, LINES)
    assert arrived(sandbox) == 3
    assert sample(gateway, "resent_on_a_guess_total") == sample(gateway, "doubled_jobs_total") == 0


@pytest.mark.slow
def test_every_guess_of_several_is_counted_and_so_is_every_job_it_doubled(start: Start, sandbox: Sandbox) -> None:
    sandbox.control.faults([late(4) | {"times": 3}])
    gateway = start(settle_seconds=0.3, **GUESS)
    check_end(gateway, submit(gateway, LINES), LINES)
    sent = calls(sandbox, "batches.create")
    until(lambda: arrived(sandbox) == sent, "the last late create")
    assert sent > 3, "nothing was doubled, so nothing was tested"
    until_sample(gateway, "doubled_jobs_total", sent - 3)
    assert sample(gateway, "resent_on_a_guess_total") == sent - 3


def test_a_guess_that_was_right_doubles_nothing(start: Start, sandbox: Sandbox) -> None:
    sandbox.control.faults([NEVER])
    gateway = start(settle_seconds=0.3, **GUESS)
    check_end(gateway, submit(gateway, LINES), LINES)
    check_paid_once(sandbox, LINES)
    assert sample(gateway, "resent_on_a_guess_total") == 1
    assert sample(gateway, "doubled_jobs_total") == 0


def test_an_account_that_cannot_be_looked_at_holds_no_batch_up_and_is_looked_at_later(
    start: Start, sandbox: Sandbox
) -> None:
    """Both creates that follow are answered, so from the third list on nothing but the audit asks for one."""
    sandbox.control.faults([late(1.5)])
    sandbox.control.options("anthropic", **NOBODY)
    gateway = start(settle_seconds=0.3, **GUESS)
    batch_id = submit(gateway, ONE_JOB)
    until(lambda: ask(gateway, "SELECT 1 FROM parts WHERE state = 'running'"), "the second create's job")
    sandbox.control.faults([{"on": "batches.list", "kind": "status", "status": 503, "times": 4}])  # each asked twice
    check_end(gateway, batch_id, ONE_JOB)
    until_sample(gateway, "doubled_jobs_total", 1)
    assert gateway.log.read_text().count('"event": "audit_failed"') == 2
    check_paid_once(sandbox, ONE_JOB, doubled=1)


# What must not be taken for a proof


def test_a_job_adopted_provisionally_by_one_part_is_not_hidden_from_the_part_whose_it_is(
    start: Start, sandbox: Sandbox
) -> None:
    """The create of the first part never arrived, so the lost job of the second is the only one of its size."""
    sandbox.control.options("anthropic", run_seconds=2, **NOBODY)
    sandbox.control.faults([NEVER, LOST])
    gateway = start(more={"fast": {"settle_seconds": 0.3, **GUESS}}, settle_seconds=4, **GUESS)
    first = submit(gateway, ONE_JOB)
    until(lambda: "outcome unknown" in history(gateway), "the first lost create")
    second = submit(gateway, LINES[PER_JOB : 2 * PER_JOB], "fast")
    until(lambda: history(gateway).count("adopted provisionally") == 2, "both parts take the one job for theirs")
    check_end(gateway, second, LINES[PER_JOB : 2 * PER_JOB])
    check_end(gateway, first, ONE_JOB)
    check_paid_once(sandbox, LINES[: 2 * PER_JOB])
    assert arrived(sandbox) == 2


def test_a_job_that_cannot_be_read_keeps_its_part_from_being_sent_again(start: Start, sandbox: Sandbox) -> None:
    unreadable = {"on": "batches.retrieve", "kind": "status", "status": 404, "times": None}
    sandbox.control.options("anthropic", **NOBODY)
    sandbox.control.faults([LOST, unreadable])
    gateway = start(settle_seconds=0.3, **GUESS)
    batch_id = submit(gateway, ONE_JOB)
    until(lambda: calls(sandbox, "batches.list") > 8, "lookups for longer than the settle time")
    sandbox.control.faults([])
    check_end(gateway, batch_id, ONE_JOB)
    check_paid_once(sandbox, ONE_JOB)
    assert sample(gateway, "resent_on_a_guess_total") == 0


def test_a_strangers_job_that_was_adopted_and_is_deleted_does_not_take_our_part_with_it(
    start: Start, sandbox: Sandbox
) -> None:
    sandbox.control.options("anthropic", **strangers(FOREVER, lines=PER_JOB))
    sandbox.control.faults([late(4)])
    gateway = start()
    batch_id = submit(gateway, ONE_JOB)
    until(lambda: "adopted provisionally" in history(gateway), "the stranger's job taken for ours")
    ((adopted,),) = ask(gateway, "SELECT job FROM parts")
    sandbox.control.options("anthropic", **NOBODY)
    sandbox.control.faults([{"on": "batches.retrieve", "kind": "status", "status": 503, "times": None}])
    sandbox.control.advance(FOREVER)
    until(lambda: status_of(sandbox, adopted) == "ended", "the end of the stranger's job")
    delete(sandbox, adopted)
    sandbox.control.faults([])
    check_end(gateway, batch_id, ONE_JOB)
    assert "deleted before it was certain" in history(gateway)
    check_paid_once(sandbox, ONE_JOB)


def status_of(sandbox: Sandbox, job: str) -> str:
    return next(str(each["status"]) for each in sandbox.control.jobs() if each["id"] == job)


def delete(sandbox: Sandbox, job: str) -> None:
    headers = {"x-api-key": "sk-sandbox", "anthropic-version": "2023-06-01"}
    url = f"{sandbox.url('anthropic')}/messages/batches/{job}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="DELETE"), timeout=10) as answer:
        assert answer.status == 200


# Days in doubt


@pytest.fixture
async def world(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[World]:
    ANTHROPIC.prepare(sandbox, **NOBODY)
    key = lane(sandbox, provider="anthropic", max_lines_per_job=PER_JOB)
    async with opened(tmp_path / "data", sandbox, key) as made:
        yield made


async def codes(world: World, batch: Any) -> list[str]:
    rows = [*await world.rows(batch.output_file_id), *await world.rows(batch.error_file_id)]
    return [row["error"]["code"] if row["error"] else str(row["response"]["status_code"]) for row in rows]


def asked(world: World, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(world.gateway.data_dir / "registry.sqlite3")) as conn:
        return conn.execute(query).fetchall()


async def test_a_create_that_never_arrived_is_waited_for_and_given_up_a_day_behind_the_window(world: World) -> None:
    await world.sandbox.faults([NEVER])
    batch = await world.create(LINES)

    async def others_done() -> bool:
        return asked(world, "SELECT COUNT(*) FROM parts WHERE state = 'collected'") == [(2,)]

    await world.until_true(others_done)  # the lost create holds them up no longer than the settle time
    doubted = "SELECT s.state, p.state FROM submissions s JOIN parts p ON p.n = s.part WHERE s.state != 'accepted'"
    for days in (0.5, 0.6, 0.6):
        await world.pass_time(days * DAY)
        looked = len(await world.calls("batches.list"))

        async def looked_again(before: int = looked) -> bool:
            return len(await world.calls("batches.list")) > before + 2

        await world.until_true(looked_again)
        assert (await world.client.batches.retrieve(batch.id)).status not in {"completed", "expired", "failed"}
        assert asked(world, doubted) == [("unknown", "creating")]
    await world.pass_time(0.6 * DAY)
    ended = await world.until(batch.id)
    assert sorted(await codes(world, ended)) == ["200"] * 2 * PER_JOB + ["outcome_unknown"] * PER_JOB
    assert len(await world.sandbox.log()) == 2
    again = await world.until((await world.create(ONE_JOB)).id)  # what was given up is in nobody's way
    assert await codes(world, again) == ["200"] * PER_JOB


async def test_results_that_stay_unreadable_do_not_hold_a_provisional_part_for_ever(world: World) -> None:
    forbidden = {"on": "batches.results", "kind": "status", "status": 403, "times": None}
    await world.sandbox.options("anthropic", run_seconds=3600)
    await world.sandbox.faults([LOST, forbidden])
    batch = await world.create(ONE_JOB)

    async def adopted() -> bool:
        return asked(world, "SELECT provisional FROM submissions") == [(1,)]

    async def refused() -> bool:
        return any(call["status"] == 403 for call in await world.calls("batches.results"))

    await world.until_true(adopted)
    await world.pass_time(3700)
    await world.until_true(refused)
    await world.pass_time(1.5 * DAY)
    assert (await world.client.batches.retrieve(batch.id)).status == "in_progress"
    await world.pass_time(1.5 * DAY)
    ended = await world.until(batch.id)
    assert await codes(world, ended) == ["outcome_unknown"] * PER_JOB
