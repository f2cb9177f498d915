"""One batch over six lanes in turn, each with the next two behind it: one refuses everything, one fails 5 % of lines.

Every line is answered once in the end and paid for once where it is answered, whatever is killed meanwhile.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn, find
from tests.support.accounting import our_mark
from tests.support.lines import jsonl
from tests.support.stack import Gateway
from tests.whole.kills.lives import Lives
from tests.whole.kills.scenes import BATCH_STEPS, GUESS, PART_STEPS, around, strangers
from tests.whole.kills.test_all_lanes import kill_and_start

CHAT = "/v1/chat/completions"
NAMES = ("openai", "mistral-ai", "anthropic", "together-ai", "google", "fireworks-ai")
DOWN, SHAKY, FURTHER = "openai", "mistral-ai", 2
COUNT = {False: 240, True: 12_000}  # lines: the suite's slice, the campaign's
PER_JOB = {False: 40, True: 2_000}
SETTLE = 1.5  # longer than any create here takes to be accepted, so that no guess is wrong
DENIED = {"status": 401, "code": "invalid_api_key", "message": "This key is not valid."}
FAILS = "[[sandbox:error=500]]"
POINTS = (
    *around(*BATCH_STEPS, *PART_STEPS, "rescue"),
    "rescue.acted",
    "send.acted",
    "collect.acted",
    "merge.published",
)
SLICE = ("", "rescue.acted")  # "": nothing is killed
SEEDS = {False: 1, True: 5}
KILLS = {False: 3, True: 12}
LIFE = {False: 0.5, True: 2.0}  # seconds between kills at most
LOSSES = ("drop_after", "drop", "status_after", "stall")
Line = dict[str, Any]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(providers=NAMES) as running:
        yield running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "point" in metafunc.fixturenames:
        whole = bool(metafunc.config.getoption("--campaign"))
        metafunc.parametrize("point", ("", *POINTS) if whole else SLICE)
    elif "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(SEEDS[bool(metafunc.config.getoption("--campaign"))]))


def lines_of(count: int) -> list[Line]:
    """Return lines of which 5 % fail in the shaky lane."""
    bad = set(random.Random(20261130).sample(range(count), count // 20))
    return [_line(n, f"Say {n} {FAILS if n in bad else ''}".strip()) for n in range(count)]


def _line(n: int, text: str) -> Line:
    body = {"model": "any", "messages": [{"role": "user", "content": text}]}
    return {"custom_id": f"é/{n}", "method": "POST", "url": CHAT, "body": body}


DENIES = {"on": "*", "kind": "status", "times": None, "provider": DOWN, **DENIED}


def six_lanes(home: Path, sandbox: Sandbox, per_job: int, run_seconds: float = 0.3) -> Gateway:
    """Make the stand-ins forget all, and a gateway whose lines have a turn of the lanes each."""
    sandbox.control.reset()
    lanes = [find(name) for name in NAMES]
    for each in lanes:
        own = {
            **each.quick,
            **each.unlimited,
            "run_seconds": 0.3,
            "answers": "echo" if each.provider == SHAKY else "calm",
        }
        guests = {} if each.labelled else strangers(0.0, 0.0, lines=per_job)
        sandbox.control.options(each.provider, **{**own, **guests})
    sandbox.control.faults([DENIES])
    common: dict[str, Any] = {"settle_seconds": SETTLE, "max_lines_per_job": per_job}
    keys = {each.provider: each.virtual_key(sandbox.url(each.provider), **common) for each in lanes}
    for each in lanes:
        keys[each.provider] |= {} if each.labelled else GUESS
    asks = {"x-portkey-virtual-key": "", "x-portkey-config": json.dumps(in_turn(lanes))}
    return Gateway(home, keys, asks=asks)


def in_turn(lanes: Sequence[StandIn]) -> dict[str, Any]:
    targets = [{"virtual_key": each.provider, "override_params": {"model": each.models[0]}} for each in lanes]
    around = [*targets, *targets]
    behind = [around[n : n + 1 + FURTHER] for n in range(len(targets))]
    ordered = [{"strategy": {"mode": "fallback"}, "targets": each} for each in behind]
    return {"strategy": {"mode": "loadbalance"}, "targets": ordered}


def due(first: str, line: Line) -> list[tuple[str, str]]:
    """Return what a line must go through: the lanes that it comes to, and what each says."""
    at, told = NAMES.index(first), list[tuple[str, str]]()
    while not told or told[-1][1] != "succeeded":
        name = NAMES[at % len(NAMES)]
        fails = name == SHAKY and FAILS in line["body"]["messages"][0]["content"]
        told.append((name, "refused" if name == DOWN else "failed" if fails else "succeeded"))
        at += 1
    return told


def check_files(gateway: Gateway, batch: Mapping[str, Any], lines: Sequence[Line]) -> None:
    assert (batch["status"], batch["error_file_id"]) == ("completed", None)
    assert batch["request_counts"] == {"total": len(lines), "completed": len(lines), "failed": 0}
    rows = gateway.rows(batch["output_file_id"])
    assert [row["custom_id"] for row in rows] == [line["custom_id"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        said = row["response"]["body"]["choices"][0]["message"]["content"]
        assert said == expected_text(CHAT, line["body"], "calm")


def check_attempts(gateway: Gateway, batch: Mapping[str, Any], lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Every line went through what it had to, from a first lane that had its share; return the ledger."""
    told = gateway.call("GET", f"/batches/{batch['id']}/lines?attempts=all").splitlines()
    ledger: list[dict[str, Any]] = [json.loads(line) for line in told]
    attempts: dict[str, list[dict[str, Any]]] = {}
    for entry in ledger:
        attempts.setdefault(entry["custom_id"], []).append(entry)
    for line in lines:
        mine = attempts[line["custom_id"]]
        assert [(each["virtual_key"], each["outcome"]) for each in mine] == due(mine[0]["virtual_key"], line)
        assert [each.get("counts", True) for each in mine] == [*[False] * (len(mine) - 1), True]
    firsts = Counter(mine[0]["virtual_key"] for mine in attempts.values())
    assert all(abs(firsts[name] - len(lines) / len(NAMES)) <= 3 for name in NAMES), firsts
    assert len(gateway.call("GET", f"/batches/{batch['id']}/lines").splitlines()) == len(lines)
    return ledger


def check_paid_once(sandbox: Sandbox, ledger: Sequence[Mapping[str, Any]]) -> None:
    """Each provider ran what the ledger says that it answered, and each part of ours once."""
    ours = [(job["provider"], our_mark(job), job["lines_run"]) for job in sandbox.control.jobs() if job["lines_run"]]
    ran = Counter[str]()
    for provider, mark, lines in ours:
        ran[provider] += lines if mark else 0
    paid = {"succeeded", *(["failed"] if find(SHAKY).errors_paid else [])}
    assert ran == Counter(entry["provider"] for entry in ledger if entry["outcome"] in paid)
    assert set(Counter((provider, mark) for provider, mark, _ in ours if mark).values()) == {1}
    assert sandbox.control.violations() == []


def check_books(batch: Mapping[str, Any], ledger: Sequence[Mapping[str, Any]]) -> None:
    """The batch and its jobs tell what the lines tell that count."""
    counted = [entry for entry in ledger if entry.get("counts", True)]
    for name in ("input_tokens", "output_tokens"):
        used = sum(entry["usage"][name] for entry in counted)
        assert batch["usage"][name] == sum(job["usage"][name] for job in batch["jobs"] if "usage" in job) == used
    assert batch["cost"] == pytest.approx(sum(entry.get("cost", 0.0) for entry in counted))
    onward = sum(not entry.get("counts", True) for entry in ledger)
    assert batch["x_rescued"]["lines"] == onward


@pytest.mark.timeout(600)
def test_every_line_is_answered_by_one_of_its_lanes(
    point: str, campaign: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    gateway, lines = six_lanes(tmp_path, sandbox, PER_JOB[campaign]), lines_of(COUNT[campaign])

    def until(batch_id: str) -> dict[str, Any]:
        gateway.until(batch_id, seconds=300)
        return dict(gateway.call("GET", f"/batches/{batch_id}?include=jobs"))

    life = Lives(gateway, [f"{point}:1"] if point else [], bool(point))
    try:
        batch = life.run(jsonl(lines), until)
        assert life.kills == bool(point), f"{point} was never passed"
        check_files(gateway, batch, lines)
        ledger = check_attempts(gateway, batch, lines)
        check_paid_once(sandbox, ledger)
        check_books(batch, ledger)
    finally:
        gateway.close()


@pytest.mark.timeout(600)
def test_every_line_is_answered_whatever_is_killed_and_lost(
    seed: int, campaign: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    chance, lines = random.Random(seed), lines_of(COUNT[campaign])
    gateway = six_lanes(tmp_path, sandbox, PER_JOB[campaign] // 2, run_seconds=1.0)
    sandbox.control.faults([DENIES, *(losing(name, chance) for name in NAMES if name != DOWN)])
    gateway.start()
    try:
        batch_id = gateway.create(gateway.upload(jsonl(lines)))["id"]
        met = [kill_and_start(gateway, batch_id, chance.random() * LIFE[campaign]) for _ in range(KILLS[campaign])]
        print("\nstates of parts in the kills:", [dict(each) for each in met])  # noqa: T201 - the campaign's table
        sandbox.control.faults([DENIES])
        gateway.until(batch_id, seconds=300)
        batch = gateway.call("GET", f"/batches/{batch_id}?include=jobs")
        check_files(gateway, batch, lines)
        ledger = check_attempts(gateway, batch, lines)
        check_paid_once(sandbox, ledger)
        check_books(batch, ledger)
        open_ones = [each.total() - each["collected"] - each["refused"] for each in met]
        assert sum(map(bool, open_ones)) >= len(met) / 2, "killed with nothing left to lose"
    finally:
        gateway.close()


def losing(provider: str, chance: random.Random) -> dict[str, Any]:
    """Return the rule by which some creates of a lane lose their answer, or never arrive."""
    kind, on = chance.choice(LOSSES), find(provider).create
    rule = {"on": on, "provider": provider, "kind": kind, "seed": chance.randrange(100)}
    return {**rule, "times": None, "chance": 0.3, "seconds": 0.2}
