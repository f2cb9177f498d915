"""What a queue costs: batches through few places, and thousands of jobs that wait, before and after a restart."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench import floor, report
from bench.floor import Empty
from bench.lines import MEGABYTE, write_lines
from bench.memory import Accepted
from bench.probe import ControlServer, Sample, Watch, largest
from bench.rig import SETTLE_SECONDS, Rig
from bench.status import create_many
from proxy_plugin.storage.states import BATCH_ENDS

PLACES, LINES = 20, 3
RUN_SECONDS = 0.2  # of a job, so that the places are what is scarce
POLL_SECONDS = 60.0  # 10,000 jobs are then asked 167 times a second
ENGINE = {"poll_seconds_first": 0.5, "poll_seconds_max": 5}


@dataclass(frozen=True, slots=True)
class Through:
    """So many batches from their creates to their ends: seconds of CPU of the gateway's tree, and of the clock."""

    batches: int
    cpu: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs that run and are polled: polls a second, on average and in the busiest second; largest gap; PSS in bytes.

    `control` is the largest gap of a server that does nothing, at the same time.
    """

    what: str
    jobs: int
    polls: float
    busiest: int
    gap: float
    control: float
    memory: int


def run(home: Path, counts: list[int], jobs: int, poll_seconds: float = POLL_SECONDS) -> None:
    """Print both tables."""
    home.mkdir(parents=True, exist_ok=True)
    write_lines(home / "small.jsonl", LINES)
    report.note(f"shares: {counts} batches")
    empty = floor.empty_server()
    rows = [_through_row(each, empty) for each in map(partial(through, home), sorted(counts))]
    report.say(f"### Batches of {LINES} lines through {PLACES} places of one virtual key")
    report.say(report.table(("batches", "x an empty answer", "CPU seconds", "CPU per batch, ms", "batches/s"), rows))
    report.note(f"shares: {jobs} jobs")
    found = [_waiting_row(each, empty) for each in waiting(home, jobs, poll_seconds)]
    head = (
        "jobs in progress",
        "memory, x an empty server",
        "jobs",
        "polls/s",
        "busiest second",
        "largest gap, ms",
        "of the control, ms",
        "memory, MB",
    )
    report.say("### Jobs that wait")
    report.say(report.table(head, found))
    report.say(
        f"Each job is polled every {poll_seconds:.0f} s and up to 10 % later. The gateway was killed, and started again"
        " when every poll was overdue; what is seen of it begins when it is healthy. An empty answer is the CPU time"
        " that an aiohttp server which does nothing takes for one; a batch is a create, calls and its share of ticks."
    )


def _through_row(each: Through, empty: Empty) -> tuple[str, ...]:
    times = f"{each.cpu / each.batches / empty.answer:.0f}"
    per, rate = each.cpu / each.batches * 1000, each.batches / each.seconds
    return f"{each.batches:,}", times, f"{each.cpu:.1f}", f"{per:.1f}", f"{rate:.1f}"


def _waiting_row(each: Waiting, empty: Empty) -> tuple[str, ...]:
    gaps = (f"{gap * 1000:.0f}" for gap in (each.gap, each.control))
    seen = f"{each.memory / empty.memory:.1f}", f"{each.jobs:,}", f"{each.polls:.0f}", str(each.busiest)
    return each.what, *seen, *gaps, f"{each.memory / MEGABYTE:.0f}"


def through(home: Path, count: int) -> Through:
    """Create so many batches and return when all have ended."""
    with Rig(home / f"rig-{count}", ENGINE, {"max_jobs_in_flight": PLACES}, watched=False) as rig:
        rig.sandbox.control.options(run_seconds=RUN_SECONDS)
        file_id = rig.client().upload(home / "small.jsonl")
        rig.settle(SETTLE_SECONDS / 3)
        with rig.phase("through"):
            create_many(rig, file_id, range(count))
            rig.until(partial(_ended, rig, count), every=0.5)
        phase = rig.phases[-1]
        return Through(count, phase.cpu.gateway, phase.seconds)


def _ended(rig: Rig, count: int) -> bool:
    samples = rig.gateway.samples()
    return sum(value for name, value in samples.items() if _is_end(name)) >= count


def _is_end(name: str) -> bool:
    return "batches{" in name and any(f'"{state}"' in name for state in BATCH_ENDS)


def waiting(home: Path, jobs: int, poll_seconds: float) -> Iterator[Waiting]:
    """Let so many jobs run, and watch the gateway before it is killed and after."""
    engine = {"poll_seconds_first": poll_seconds, "poll_seconds_max": poll_seconds}
    with Rig(home / "waiting", engine, watched=False) as rig:
        accepted = Accepted(rig.gateway.log)
        file_id = rig.client().upload(home / "small.jsonl")
        create_many(rig, file_id, range(jobs))
        rig.until(lambda: accepted.jobs() >= jobs, every=0.2)
        time.sleep(poll_seconds / 4)
        yield _watched(rig, "before", jobs, poll_seconds)
        rig.gateway.kill(signal.SIGKILL)
        time.sleep(poll_seconds * 1.2)
        rig.gateway.start()
        yield _watched(rig, "after the restart", jobs, poll_seconds)


def _watched(rig: Rig, what: str, jobs: int, seconds: float) -> Waiting:
    """Watch the gateway for the time in which each job is polled once."""
    name, control = what.replace(" ", "-"), ControlServer()
    try:
        targets = (("gaps", rig.gateway.port), ("gaps", control.port), ("memory", rig.pid))
        watches = [Watch(kind, at, rig.home / f"{name}-{kind}-{at}") for kind, at in targets]
        start = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
        gaps, others, memory = (watch.stop().during(start, end) for watch in watches)
    finally:
        control.stop()
    polls = [each["at"] for each in rig.sandbox.control.requests() if each["op"] == "batches.retrieve"]
    busy = Counter(int(at - start) for at in polls if start <= at < end)
    return Waiting(
        what,
        jobs,
        busy.total() / seconds,
        max(busy.values(), default=0),
        largest(gaps),
        largest(others),
        _usual(memory),
    )


def _usual(samples: list[Sample]) -> int:
    return int(median(each.value for each in samples))
