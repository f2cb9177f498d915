"""Kills at moments nobody chose: whatever state they land in, every line is answered and every job is paid once."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import ask, check_answers, check_paid_once, check_strangers_left_alone
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, Gateway, GatewayGone
from tests.whole.kills.lives import until_settled
from tests.whole.kills.scenes import CAMPAIGNS, strangers

COUNT, PER_JOB = 90, 15
PARTS = COUNT // PER_JOB
SEEDS = {  # of each policy, by whether jobs are labelled: the suite's slice, the campaign's
    True: {"wait": (4, 200)},  # with labels there is no choice
    False: {"wait": (3, 100), "resend": (3, 100)},
}
QUIET = strangers(0.0, 0.0, lines=PER_JOB)
SETTLE = 1.5  # longer than any create here takes to be accepted, so that no guess is wrong
LANDED: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def landed() -> Iterator[None]:
    yield
    print("\nstates in which kills landed:", dict(sorted(LANDED.items())))  # noqa: T201 - the table of the campaign


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case is one seed of one stand-in and policy."""
    if "seed" in metafunc.fixturenames:
        whole = bool(metafunc.config.getoption("--campaign"))
        cases = [
            (name, policy, seed)
            for name, own in CAMPAIGNS.items()
            for policy, counts in SEEDS[own.stand_in.labelled].items()
            for seed in range(counts[whole])
        ]
        metafunc.parametrize(("provider", "policy", "seed"), cases)


def test_kill_at_random(provider: str, policy: str, seed: int, sandbox: Sandbox, tmp_path: Path) -> None:
    own, chance = CAMPAIGNS[provider], random.Random(seed)
    own.prepare(sandbox, **(QUIET if own.strangers else {}))
    if chance.random() < 0.5:
        kind = chance.choice(["drop_after", "drop", "late", "stall"])
        sandbox.control.faults([{"on": "batches.create", "kind": kind, "seconds": 0.2, "times": None, "chance": 0.3}])
    options = {"max_lines_per_job": PER_JOB, "max_jobs_in_flight": 3, "on_unknown": policy, "settle_seconds": SETTLE}
    gateway = Gateway(tmp_path, {"lane": own.key(sandbox, **options)}, endpoint=own.stand_in.endpoint)
    lines = chat_lines(COUNT, tag=str(seed), model=own.stand_in.model, url=own.stand_in.endpoint)
    gateway.start()
    try:
        batch_id = gateway.create(gateway.upload(jsonl(lines)))["id"]
        for _ in range(chance.randint(1, 3)):
            time.sleep(chance.random() * 1.2)
            gateway.kill()
            note_states(gateway)
            gateway.start()
        sandbox.control.faults([])
        batch = until_end(gateway, sandbox, batch_id, may_wait=not own.stand_in.labelled and policy == "wait")
        stuck = batch["status"] not in ENDS  # a create that never arrived is waited for
        if not stuck:
            check_answers(gateway, batch, lines, style=own.stand_in.answers)
        check_paid_once(sandbox, lines, cancelled=stuck)
        check_strangers_left_alone(sandbox, at_least=int(bool(own.strangers)))
    finally:
        gateway.close()


def until_end(gateway: Gateway, sandbox: Sandbox, batch_id: str, *, may_wait: bool) -> dict[str, Any]:
    try:
        return until_settled(gateway, sandbox, PARTS, batch_id, may_wait=may_wait)
    except GatewayGone:
        assert gateway.process is not None
        raise AssertionError(f"the gateway ended by itself: {gateway.process.poll()} {signal.SIGKILL}") from None


def note_states(gateway: Gateway) -> None:
    """Count the states that the killed gateway left, as its own database has them."""
    for table in ("batches", "parts", "submissions"):
        LANDED.update(f"{table}: {row[0]}" for row in ask(gateway, f"SELECT state FROM {table}"))
