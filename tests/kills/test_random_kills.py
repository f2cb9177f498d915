"""Kills at moments nobody chose: whatever state they land in, every line is answered and every job is paid once."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.sandbox.process import Sandbox
from tests.accounting import check_answers, check_paid_once
from tests.stack import Gateway, GatewayGone, chat_lines, jsonl, lane

COUNT, PER_JOB = 90, 15
SLICE, CAMPAIGN = 6, 200
LANDED: Counter[str] = Counter()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(
        options={"openai": {"validate_seconds": 0.1, "run_seconds": 0.3, "finalize_seconds": 0.05}}
    ) as running:
        yield running
    print("\nstates in which kills landed:", dict(sorted(LANDED.items())))  # noqa: T201 - the table of the campaign


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case is one seed."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(CAMPAIGN if metafunc.config.getoption("--campaign") else SLICE))


def test_kill_at_random(seed: int, sandbox: Sandbox, tmp_path: Path) -> None:
    chance = random.Random(seed)
    sandbox.control.reset()
    if chance.random() < 0.5:
        kind = chance.choice(["drop_after", "drop", "late", "stall"])
        sandbox.control.faults([{"on": "batches.create", "kind": kind, "seconds": 0.2, "times": None, "chance": 0.3}])
    gateway = Gateway(tmp_path, {"lane": lane(sandbox, max_lines_per_job=PER_JOB, max_jobs_in_flight=3)})
    lines = chat_lines(COUNT, tag=str(seed))
    gateway.start()
    try:
        batch_id = gateway.create(gateway.upload(jsonl(lines)))["id"]
        for _ in range(chance.randint(1, 3)):
            time.sleep(chance.random() * 1.2)
            gateway.kill()
            note_states(gateway)
            gateway.start()
        sandbox.control.faults([])
        batch = until_end(gateway, batch_id)
        check_answers(gateway, batch, lines)
        check_paid_once(sandbox, lines)
    finally:
        gateway.close()


def until_end(gateway: Gateway, batch_id: str) -> dict[str, object]:
    try:
        return gateway.until(batch_id, seconds=90)
    except GatewayGone:
        assert gateway.process is not None
        raise AssertionError(f"the gateway ended by itself: {gateway.process.poll()} {signal.SIGKILL}") from None


def note_states(gateway: Gateway) -> None:
    """Count the states that the killed gateway left, as its own database has them."""
    with sqlite3.connect(gateway.data / "registry.sqlite3") as conn:
        for table in ("batches", "parts", "submissions"):
            LANDED.update(f"{table}: {row[0]}" for row in conn.execute(f"SELECT state FROM {table}"))
    conn.close()
