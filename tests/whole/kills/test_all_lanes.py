"""One file over every lane there is, in one batch: each line once and in its place, whatever is killed meanwhile."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.costs import prices
from proxy_plugin.providers import catalog
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import StandIn
from tests.support.accounting import our_mark
from tests.support.lines import jsonl
from tests.support.stack import MAY_READ_METRICS, Gateway
from tests.support.waiting import until
from tests.whole.kills.all_lanes import LANES, Line, due_for, line_for, said_in
from tests.whole.kills.lives import kill_and_start
from tests.whole.kills.scenes import GUESS, strangers

COUNT = {False: 540, True: 2_400}  # lines: the suite's slice, the campaign's
KILLS = {False: (4, 1), True: (20, 5)}  # kills of a batch, and seeds
PACE = {False: (5, 1.5), True: (20, 6.0)}  # lines of a job and its seconds, so that there is work in every life
LIFE = 2.0  # seconds that a life lasts at most
SETTLE = 1.5  # longer than any create here takes to be accepted, so that no guess is wrong
LOSSES = ("drop_after", "drop", "status_after", "stall")


@cache
def _turns() -> Sequence[StandIn]:
    chance = random.Random(20261130)
    return [each for _ in range(100) for each in chance.sample(LANES, len(LANES))]


def lane_of(n: int) -> StandIn:
    """Return where a line goes: all lanes take turns, in an order that nobody chose."""
    return _turns()[n]


def lines_of_all(count: int, tag: str = "") -> list[Line]:
    """Return lines of every lane, for the endpoint and the models that its stand-in serves."""
    return [line_for(n, lane_of(n), f"Say {n} {tag}") for n in range(count)]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(providers=[each.served for each in LANES]) as running:
        yield running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each case is a seed."""
    if "seed" in metafunc.fixturenames:
        seeds = KILLS[bool(metafunc.config.getoption("--campaign"))][1]
        metafunc.parametrize("seed", range(seeds))


def over_all(
    home: Path, sandbox: Sandbox, *, run_seconds: float, per_job: int = COUNT[True], **options: Any
) -> Gateway:
    """Make the stand-ins forget all, and a gateway with an account of its own for every lane, named by the lines."""
    sandbox.control.reset()
    for each in LANES:
        own = {**each.quick, **each.unlimited, "run_seconds": run_seconds, "answers": "echo"}
        guests = {} if each.labelled else strangers(0.0, 0.0, lines=per_job)
        sandbox.control.options(each.provider, **{**own, **guests})
    common = {"settle_seconds": SETTLE, "max_lines_per_job": per_job, **options}
    keys = {each.provider: each.virtual_key(sandbox.url(each.provider), **common) for each in LANES}
    for each in LANES:
        keys[each.provider] |= {} if each.labelled else GUESS
    return Gateway(home, keys, asks={"x-portkey-virtual-key": ""})


@dataclass
class Spent:
    """What the answers of a lane used, and what that costs where the price is known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0

    def add(self, lane: str, asked: str, body: Mapping[str, Any]) -> None:
        """Count one answer, as its client reads it."""
        usage = body["usage"]
        given = usage["input_tokens"] if "input_tokens" in usage else usage["prompt_tokens"]
        made = usage.get("output_tokens", usage.get("completion_tokens", 0))
        facts = catalog.load(lane).capabilities
        price = prices.price(facts, str(body["model"])) or prices.price(facts, asked)
        self.input_tokens += given
        self.output_tokens += made
        self.unpriced += price is None
        self.cost += given * price.input + made * price.output if price else 0.0


def check_files(gateway: Gateway, batch: Mapping[str, Any], lines: Sequence[Line]) -> Mapping[str, Spent]:
    """Every line is answered once, in input order and with its own answer; return what that used by lane."""
    assert (batch["status"], batch["error_file_id"]) == ("completed", None)
    assert batch["request_counts"] == {"total": len(lines), "completed": len(lines), "failed": 0}
    rows = gateway.rows(batch["output_file_id"])
    assert [row["custom_id"] for row in rows] == [line["custom_id"] for line in lines]
    spent = {each.provider: Spent() for each in LANES}
    for n, (row, line) in enumerate(zip(rows, lines, strict=True)):
        lane = lane_of(n).provider
        assert said_in(row, line["url"]) == due_for(line), lane
        spent[lane].add(lane, line["body"]["model"].partition("/")[2], row["response"]["body"])
    return spent


def check_paid_once(sandbox: Sandbox, count: int) -> None:
    """Each provider ran each of its lines once, and each part of ours once."""
    ours = [(job["provider"], our_mark(job), job["lines_run"]) for job in sandbox.control.jobs() if job["lines_run"]]
    ran = Counter[str]()
    for provider, mark, lines in ours:
        ran[provider] += lines if mark else 0
    assert ran == Counter(lane_of(n).provider for n in range(count))
    assert set(Counter((provider, mark) for provider, mark, _ in ours if mark).values()) == {1}
    assert sandbox.control.violations() == []


def check_books(gateway: Gateway, batch: Mapping[str, Any], spent: Mapping[str, Spent]) -> None:
    """The ledger, the jobs and the batch tell of each lane what its answers told."""
    ledger = [json.loads(line) for line in gateway.call("GET", f"/batches/{batch['id']}/lines").splitlines()]
    told = [(row["provider"], row["virtual_key"], row["outcome"]) for row in ledger]
    assert told == [(*[lane_of(n).provider] * 2, "succeeded") for n in range(batch["request_counts"]["total"])]
    assert summed((row["virtual_key"], row["usage"], row.get("cost")) for row in ledger) == shown(spent)
    assert summed((job["virtual_key"], job["usage"], job.get("cost")) for job in batch["jobs"]) == shown(spent)
    assert batch["usage"]["input_tokens"] == sum(each.input_tokens for each in spent.values())
    assert batch["usage"]["output_tokens"] == sum(each.output_tokens for each in spent.values())
    assert batch["cost"] == pytest.approx(sum(each.cost for each in spent.values()))
    assert batch.get("cost_unknown_lines", 0) == sum(each.unpriced for each in spent.values())


def shown(spent: Mapping[str, Spent]) -> dict[str, Any]:
    return {name: (each.input_tokens, each.output_tokens, pytest.approx(each.cost)) for name, each in spent.items()}


def summed(entries: Iterable[tuple[str, Mapping[str, int], float | None]]) -> dict[str, tuple[int, int, float]]:
    """Return the tokens in and out and the cost of the entries of each lane."""
    found = {each.provider: (0, 0, 0.0) for each in LANES}
    for lane, usage, cost in entries:
        given, made, before = found[lane]
        found[lane] = (given + usage["input_tokens"], made + usage["output_tokens"], before + (cost or 0.0))
    return found


def check_metrics(gateway: Gateway, spent: Mapping[str, Spent]) -> None:
    """The counters of each virtual key come to what its answers told."""
    due: dict[str, Mapping[str, float]] = {
        "input_tokens_total": {name: each.input_tokens for name, each in spent.items()},
        "output_tokens_total": {name: each.output_tokens for name, each in spent.items()},
        "cost_usd_total": {name: each.cost for name, each in spent.items()},
    }
    for name, values in due.items():
        until(partial(_counts, gateway, name, values), name)


def _counts(gateway: Gateway, name: str, values: Mapping[str, float]) -> bool:
    return counter(gateway, name) == pytest.approx(values)


def counter(gateway: Gateway, name: str) -> dict[str, float]:
    """Return a counter of /metrics by virtual key. It is up to two seconds old."""
    text = gateway.call("GET", "/metrics", root=True, headers=MAY_READ_METRICS).decode()
    found = re.findall(rf'^proxy_plugin_{name}{{workspace="default",virtual_key="([^"]+)"}} (\S+)$', text, re.MULTILINE)
    return {lane: float(value) for lane, value in found}


def follow(gateway: Gateway, batch_id: str) -> dict[str, Any]:
    """Return a batch with its jobs when it has ended."""
    gateway.until(batch_id, seconds=300)
    return dict(gateway.call("GET", f"/batches/{batch_id}?include=jobs"))


def test_one_batch_over_every_lane(campaign: bool, sandbox: Sandbox, tmp_path: Path) -> None:
    gateway, lines = over_all(tmp_path, sandbox, run_seconds=0.1), lines_of_all(COUNT[campaign])
    gateway.start()
    try:
        batch = follow(gateway, gateway.create(gateway.upload(jsonl(lines)), endpoint="auto")["id"])
        spent = check_files(gateway, batch, lines)
        check_paid_once(sandbox, len(lines))
        check_books(gateway, batch, spent)
        check_metrics(gateway, spent)
    finally:
        gateway.close()


@pytest.mark.timeout(600)
def test_one_batch_over_every_lane_is_killed_at_random(
    seed: int, campaign: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    chance, kills, (per_job, seconds) = random.Random(seed), KILLS[campaign][0], PACE[campaign]
    gateway = over_all(tmp_path, sandbox, run_seconds=seconds, per_job=per_job, max_jobs_in_flight=1)
    sandbox.control.faults([_losing(each, chance) for each in LANES])
    lines = lines_of_all(COUNT[campaign], str(seed))
    gateway.start()
    try:
        batch_id = gateway.create(gateway.upload(jsonl(lines)), endpoint="auto")["id"]
        met = [kill_and_start(gateway, batch_id, chance.random() * LIFE) for _ in range(kills)]
        print(f"\nstates of parts in {kills} kills:", [dict(each) for each in met])  # noqa: T201 - the campaign's table
        lost = sum(rule["fired"] for rule in sandbox.control.faults())
        sandbox.control.faults([])
        batch = follow(gateway, batch_id)
        check_books(gateway, batch, check_files(gateway, batch, lines))
        check_paid_once(sandbox, len(lines))
        assert lost, "no create was lost"
        assert sum(each.total() > each["collected"] for each in met) >= kills / 2, "killed with nothing left to lose"
    finally:
        gateway.close()


def _losing(lane: StandIn, chance: random.Random) -> dict[str, Any]:
    """Return the rule by which some creates of a lane lose their answer, or never arrive."""
    rule = {"on": lane.create, "provider": lane.provider, "kind": chance.choice(LOSSES), "seed": chance.randrange(100)}
    return {**rule, "times": None, "chance": 0.3, "seconds": 0.2}
