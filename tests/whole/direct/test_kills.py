"""Kills in the midst of ordinary calls: each line once in the output, and few calls twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, lane
from tests.support.waiting import until
from tests.whole.direct.witness import CHAT, calls_in

CONCURRENCY = 8


@pytest.fixture
def gateway(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    sandbox.control.options("openai", delay_seconds=0.05)
    made = Gateway(tmp_path, {"lane": lane(sandbox, direct_limits={"concurrency": CONCURRENCY})})
    made.start()
    yield made
    made.close()


def made(sandbox: Sandbox) -> int:
    return len(calls_in(sandbox.control.requests(), CHAT))


def has_made(sandbox: Sandbox, count: int) -> bool:
    return made(sandbox) >= count


def worker(gateway: Gateway) -> int | None:
    """Return the process that has the answers open."""
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and any(
                str(each.readlink()).startswith(str(gateway.data)) and each.readlink().name == "answers.jsonl"
                for each in (folder / "fd").iterdir()
            ):
                return int(folder.name)
    return None


def kill(gateway: Gateway, victim: str) -> None:
    if victim == "worker":
        os.kill(until(lambda: worker(gateway)), signal.SIGKILL)
        return
    gateway.kill()
    gateway.start()


def check(gateway: Gateway, sandbox: Sandbox, batch_id: str, lines: int, kills: int) -> None:
    batch = gateway.until(batch_id, seconds=300)
    assert batch["status"] == "completed"
    check_answers(gateway, batch, chat_lines(lines))
    calls = Counter(each["id"] for each in calls_in(sandbox.control.requests()))
    assert sum(calls.values()) - lines <= kills * CONCURRENCY
    with closing(sqlite3.connect(gateway.data / "registry.sqlite3")) as registry:
        assert registry.execute("SELECT COUNT(*) FROM submissions").fetchone() == (0,)


def run(gateway: Gateway, sandbox: Sandbox, lines: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    file_id = gateway.upload(jsonl(chat_lines(lines)))
    batch = gateway.create(file_id, completion_window="immediate")
    for n, share in enumerate(sorted(chance.uniform(0, 0.9) for _ in range(kills))):
        before = made(sandbox)
        until(partial(has_made, sandbox, max(int(lines * share), before + 1)))
        kill(gateway, chance.choice(["gateway", "worker"]) if n else "gateway")
    check(gateway, sandbox, batch["id"], lines, kills)


def test_three_kills_in_600_lines(gateway: Gateway, sandbox: Sandbox) -> None:
    run(gateway, sandbox, 600, 3, seed=7)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_in_5000_lines(gateway: Gateway, sandbox: Sandbox) -> None:
    run(gateway, sandbox, 5000, 20, seed=random.randrange(10**6))


POINTS = ("admit.after", "answer.before", "answer.after", "collect.before", "collect.acted")


@pytest.mark.parametrize(
    "point", [POINTS[2], *(pytest.param(point, marks=pytest.mark.slow) for point in POINTS if point != POINTS[2])]
)
def test_a_kill_at_a_step_repeats_nothing(point: str, gateway: Gateway, sandbox: Sandbox) -> None:
    gateway.kill()
    gateway.start(fail=f"{point}:1")
    batch = gateway.create(gateway.upload(jsonl(chat_lines(40))), completion_window="immediate")
    until(lambda: not gateway.alive())
    gateway.start()
    check(gateway, sandbox, batch["id"], 40, 0)


@pytest.mark.parametrize("point", ["answer.row:20", pytest.param("answer.called:20", marks=pytest.mark.slow)])
def test_workers_that_die_again_and_again_get_on(point: str, gateway: Gateway, sandbox: Sandbox) -> None:
    gateway.kill()
    gateway.start(fail=point)
    batch = gateway.create(gateway.upload(jsonl(chat_lines(100))), completion_window="immediate")
    check(gateway, sandbox, batch["id"], 100, 6)


def test_a_graceful_stop_repeats_no_call(gateway: Gateway, sandbox: Sandbox) -> None:
    batch = gateway.create(gateway.upload(jsonl(chat_lines(200))), completion_window="immediate")
    until(lambda: made(sandbox) >= 40)
    gateway.kill(signal.SIGTERM)
    stopped = made(sandbox)
    assert stopped < 200
    gateway.start()
    check(gateway, sandbox, batch["id"], 200, 0)
