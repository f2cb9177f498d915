"""How fast the status of a batch is read while others are in progress and polled, all on one core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import processes, report
from bench.client import Latencies, get, load
from bench.lines import write_lines
from bench.memory import Accepted
from bench.rig import Rig
from tests.support.stack import HEADERS

CONNECTIONS = (1, 8)
SECONDS = 10.0
RATE_BOUND, LATENCY_BOUND = 2000.0, 0.010
POLL_SECONDS = 5.0  # the default for a young job; the default for older ones is a tenth of their age
CREATORS = 8
ENGINE = {"poll_seconds_first": POLL_SECONDS, "poll_seconds_max": POLL_SECONDS}


@dataclass(frozen=True, slots=True)
class Measured:
    """One load: `polls` are the provider's, a second, meanwhile; `elsewhere` is how many cores others kept busy."""

    batches: int
    connections: int
    answers: Latencies
    polls: float
    elsewhere: float


def run(home: Path, counts: list[int]) -> None:
    """Print the table."""
    report.note(f"status: {counts} batches")
    rows = [_row(each) for each in measure(home, counts)]
    head = (
        "batches in progress",
        "connections",
        "answers/s",
        "p50, ms",
        "p99, ms",
        "largest, ms",
        "polls/s",
        "cores busy elsewhere",
    )
    report.say("### GET /v1/batches/{id} on one core")
    report.say(report.table(head, rows))
    report.say(
        f"The gateway has one core; the sandbox and the client have {_others_said()}. Every batch in progress is polled"
        f" every {POLL_SECONDS:.0f} s. Each connection asks again as soon as it has its answer, for a random one of the"
        f" batches. Bounds: {RATE_BOUND:.0f} answers/s, p99 {LATENCY_BOUND * 1000:.0f} ms, with 1,000 batches."
    )


def _row(each: Measured) -> tuple[str, ...]:
    took = each.answers
    rate = f"{took.rate:.0f}" if took.rate >= RATE_BOUND else f"**{took.rate:.0f}**"
    p99 = report.marked(took.quantile(0.99) * 1000, LATENCY_BOUND * 1000)
    p50, most = (f"{took.quantile(share) * 1000:.2f}" for share in (0.5, 1.0))
    more = f"{each.polls:.0f}", f"{each.elsewhere:.2f}"
    return f"{each.batches:,}", str(each.connections), rate, p50, p99, most, *more


def _cores() -> tuple[set[int], set[int]]:
    """Return the gateway's core and those of everything else."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


def _others_said() -> str:
    mine, others = _cores()
    return "the same core, there is no other" if mine == others else f"{len(others)} other"


def measure(home: Path, counts: list[int], seconds: float = SECONDS) -> Iterator[Measured]:
    """Bring up ever more batches and load the gateway at each count. The batches stay in progress."""
    home.mkdir(parents=True, exist_ok=True)
    source = home / "small.jsonl"
    write_lines(source, 3)
    mine, others = _cores()
    with Rig(home / "rig", ENGINE, watched=False) as rig:
        file_id, accepted, ids = rig.client().upload(source), Accepted(rig.gateway.log), list[str]()
        for count in sorted(counts):
            ids += create_many(rig, file_id, range(len(ids), count))
            rig.until(partial(_all_accepted, accepted, count), every=0.2)
            processes.pin(rig.pid, mine)
            processes.pin(rig.sandbox.pid, others)
            processes.pin(os.getpid(), others)
            for connections in CONNECTIONS:
                yield _measured(rig, ids, connections, seconds)
            for root in (rig.pid, rig.sandbox.pid, os.getpid()):
                processes.pin(root, mine | others)


def _all_accepted(accepted: Accepted, count: int) -> bool:
    return accepted.jobs() == count


def create_many(rig: Rig, file_id: str, numbers: range) -> list[str]:
    """Create a batch for each of the numbers and return their ids."""
    order = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}

    def some(start: int) -> list[str]:
        client = rig.client()
        mine = numbers[start::CREATORS]
        return [str(client.call("POST", "/batches", order | {"metadata": {"n": str(n)}})["id"]) for n in mine]

    with ThreadPoolExecutor(CREATORS) as threads:
        return [each for found in threads.map(some, range(CREATORS)) for each in found]


def _measured(rig: Rig, ids: list[str], connections: int, seconds: float) -> Measured:
    asks = [get(f"/v1/batches/{each}", HEADERS) for each in ids]
    load(rig.gateway.port, asks, connections, seconds / 10)  # warm
    with rig.phase("load"):
        answers = load(rig.gateway.port, asks, connections, seconds)
    phase = rig.phases[-1]
    requests = rig.sandbox.control.requests()
    polls = sum(phase.start <= each["at"] <= phase.end and each["op"] == "batches.retrieve" for each in requests)
    return Measured(len(ids), connections, answers, polls / phase.seconds, phase.cpu.elsewhere / phase.seconds)
