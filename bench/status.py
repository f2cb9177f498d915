"""How fast the status of a batch is read while others are in progress and polled, all on one core.

Beside it an aiohttp server that does nothing is asked from the same client on the same core, in turns with the gateway,
so that the ratio of both means the same on any machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench import processes, report
from bench.client import Latencies, get, load
from bench.lines import write_lines
from bench.memory import Accepted
from bench.probe import ControlServer
from bench.rig import Rig
from tests.support.stack import HEADERS

CONNECTIONS = (1, 8)
SECONDS, ROUNDS = 15.0, 5  # of load in all, and turns
RATE_BOUND, LATENCY_BOUND, RATIO_BOUND = 2000.0, 0.010, 0.1
POLL_SECONDS = 5.0  # the default for a young job; the default for older ones is a tenth of their age
CREATORS = 8
ENGINE = {"poll_seconds_first": POLL_SECONDS, "poll_seconds_max": POLL_SECONDS}


@dataclass(frozen=True, slots=True)
class Measured:
    """One load, of several rounds: those of the gateway, and of the empty server that was asked in between.

    `polls` are the provider's, a second, meanwhile; `elsewhere` is how many cores others kept busy.
    """

    batches: int
    connections: int
    answers: list[Latencies]
    empty: list[Latencies]
    polls: float
    elsewhere: float

    @property
    def rate(self) -> float:
        """Answers a second in the median round."""
        return median(each.rate for each in self.answers)

    @property
    def ratio(self) -> float:
        """What part of the empty server's rate that is, in the median of the rounds."""
        return median(each.rate / other.rate for each, other in zip(self.answers, self.empty, strict=True))

    def quantile(self, share: float) -> float:
        """Return the latency in seconds that `share` of the answers kept in the median round."""
        return median(each.quantile(share) for each in self.answers)


def run(home: Path, counts: list[int]) -> None:
    """Print the table."""
    report.note(f"status: {counts} batches")
    rows = [_row(each) for each in measure(home, counts)]
    head = ("batches in progress", "connections", "x an empty handler", "answers/s", "of the empty handler")
    more = ("p50, ms", "p99, ms", "largest, ms", "polls/s", "cores busy elsewhere")
    report.say("### GET /v1/batches/{id} on one core")
    report.say(report.table((*head, *more), rows))
    report.say(
        f"The gateway has one core; the sandbox and the client have {_others_said()}. Every batch in progress is polled"
        f" every {POLL_SECONDS:.0f} s. Each connection asks again as soon as it has its answer, for a random one of the"
        f" batches. Medians of {ROUNDS} rounds, in turns with an aiohttp server on the same core whose one handler"
        f" answers a constant. Bounds, with 1,000 batches: {RATIO_BOUND} of that server, {RATE_BOUND:.0f} answers/s,"
        f" p99 {LATENCY_BOUND * 1000:.0f} ms."
    )


def _row(each: Measured) -> tuple[str, ...]:
    ratio, rate = (
        f"{value:{form}}" if value >= bound else f"**{value:{form}}**"
        for value, bound, form in ((each.ratio, RATIO_BOUND, ".2f"), (each.rate, RATE_BOUND, ".0f"))
    )
    p50, most = (f"{each.quantile(share) * 1000:.2f}" for share in (0.5, 1.0))
    p99 = report.marked(each.quantile(0.99) * 1000, LATENCY_BOUND * 1000)
    empty = f"{median(other.rate for other in each.empty):.0f}"
    more = f"{each.polls:.0f}", f"{each.elsewhere:.2f}"
    return f"{each.batches:,}", str(each.connections), ratio, rate, empty, p50, p99, most, *more


def _cores() -> tuple[set[int], set[int]]:
    """Return the gateway's core and those of everything else."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


def _others_said() -> str:
    mine, others = _cores()
    return "the same core, there is no other" if mine == others else f"{len(others)} other"


def measure(
    home: Path, counts: list[int], seconds: float = SECONDS, *, database_url: str | None = None
) -> Iterator[Measured]:
    """Bring up ever more batches and load the gateway at each count. The batches stay in progress."""
    home.mkdir(parents=True, exist_ok=True)
    source = home / "small.jsonl"
    write_lines(source, 3)
    mine, others = _cores()
    with Rig(home / "rig", ENGINE, watched=False, database_url=database_url) as rig, _empty() as empty:
        file_id, accepted, ids = rig.client().upload(source), Accepted(rig.gateway.log), list[str]()
        for count in sorted(counts):
            ids += create_many(rig, file_id, range(len(ids), count))
            rig.until(partial(_all_accepted, accepted, count), every=0.2)
            for root in (rig.pid, empty.pid):
                processes.pin(root, mine)
            processes.pin(rig.sandbox.pid, others)
            processes.pin(os.getpid(), others)
            for connections in CONNECTIONS:
                yield _measured(rig, empty, ids, connections, seconds)
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


@contextmanager
def _empty() -> Iterator[ControlServer]:
    server = ControlServer()
    try:
        yield server
    finally:
        server.stop()


def _measured(rig: Rig, empty: ControlServer, ids: list[str], connections: int, seconds: float) -> Measured:
    asks, nothing = [get(f"/v1/batches/{each}", HEADERS) for each in ids], [get("/healthz")]
    load(rig.gateway.port, asks, connections, seconds / ROUNDS)  # warm
    answers, others, first = list[Latencies](), list[Latencies](), len(rig.phases)
    for _ in range(ROUNDS):
        others.append(load(empty.port, nothing, connections, seconds / ROUNDS))
        with rig.phase("load"):
            answers.append(load(rig.gateway.port, asks, connections, seconds / ROUNDS))
    phases = rig.phases[first:]
    polled = [each["at"] for each in rig.sandbox.control.requests() if each["op"] == "batches.retrieve"]
    polls = sum(phase.start <= at <= phase.end for phase in phases for at in polled)
    took = sum(phase.seconds for phase in phases)
    elsewhere = sum(phase.cpu.elsewhere for phase in phases)
    return Measured(len(ids), connections, answers, others, polls / took, elsewhere / took)
