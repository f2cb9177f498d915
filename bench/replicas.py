"""What batches come to on one, two and three replicas of this machine, beside one gateway that has SQLite and a disk.

All share the same cores: gateways, PostgreSQL, the object store, the stand-ins and the client. So the CPU of each says
something; batches a second say what all of it together takes. The store is no more ours than the stand-ins are. It is
rclone's server: 2 ms of CPU for an object of 100 KB there and back, where moto takes 7 (20 MB: 220 both).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from bench import processes, report
from bench.client import Client, Unexpected
from bench.lines import write_lines
from bench.rig import SANDBOX_NICENESS
from proxy_plugin.demo.object_store import ObjectStore
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.postgres import Databases, serving
from tests.support.stack import ENDS, HEADERS, Gateway, lane

ALONE, REPLICAS = 0, (1, 2, 3)  # none: one gateway with its own database and disk
CALLERS = 8  # at once, each with a connection to every replica
RUN_SECONDS, LOOK_SECONDS = 0.2, 0.1  # of a job; between two looks at a batch
ENGINE = {"poll_seconds_first": 0.5, "poll_seconds_max": 5}
ORDER = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
WHO = ("gateways", "PostgreSQL", "store", "stand-ins", "client")
OURS = 3  # of these, of which it is said what a batch takes them, too
HEAD = (
    *("replicas", "batches/s", "lines/s"),
    *(f"CPU of a line, µs: {WHO[0]}", *WHO[1:]),
    *(f"of a batch, ms: {WHO[0]}", *WHO[1:OURS]),
)
Cpu = tuple[float, ...]  # seconds, by WHO


class Load(NamedTuple):
    """So many batches of so many lines, each in one job."""

    batches: int
    lines: int


LOADS = (Load(200, 100), Load(6, 20_000))
QUICK = (Load(12, 100), Load(2, 2_000))


class Took(NamedTuple):
    """What a load took: seconds of the clock, and of the CPU."""

    load: Load
    seconds: float
    cpu: Cpu


@dataclass(frozen=True, slots=True)
class Servers:
    """What replicas share."""

    databases: Databases
    store: ObjectStore

    def storage(self, count: int, home: Path) -> list[dict[str, Any]]:
        """Return the sections of so many replicas, with a database and a bucket of their own."""
        shared = {
            "database_url": self.databases.fresh(),
            "blob_url": f"{self.store.bucket(f'of-{count}')}/batches",
            "blob_options": dict(self.store.options),
        }
        return [{"storage": shared | {"data_dir": str(home / str(n)), "replica": f"of-{n}"}} for n in range(count)]


def run(home: Path, loads: Sequence[Load] = LOADS) -> None:
    """Print a table for each load."""
    home.mkdir(parents=True, exist_ok=True)
    for load in loads:
        write_lines(home / f"{load.lines}.jsonl", load.lines)
    store = ObjectStore(home / "store")
    with serving() as databases, ExitStack() as stack:
        stack.callback(store.stop)
        store.start()
        found = {count: _measured(home, Servers(databases, store), count, loads) for count in (ALONE, *REPLICAS)}
    for n, load in enumerate(loads):
        report.say(f"### {load.batches} batches of {load.lines:,} lines")
        report.say(report.table(HEAD, [_row(count, each[n]) for count, each in found.items()]))
    report.say(
        f"From the first upload to the last download; each call of {CALLERS} callers goes to the next replica, and jobs"
        f" end {RUN_SECONDS} s after their creates. All of it is on the same {len(os.sched_getaffinity(0))} cores, so"
        " CPU is what counts here: more replicas add no cores, and what they take beyond one is what sharing costs."
        " PostgreSQL does not sync its log; the store is rclone."
    )


def _row(count: int, took: Took) -> tuple[object, ...]:
    batches, lines = took.load.batches, took.load.batches * took.load.lines
    rates = f"{batches / took.seconds:.2f}", f"{lines / took.seconds:,.0f}"
    a_line, a_batch = ([f"{each * unit:.0f}" for each in took.cpu] for unit in (1e6 / lines, 1e3 / batches))
    return count or "one, SQLite", *rates, *a_line, *a_batch[:OURS]


def _measured(home: Path, servers: Servers, count: int, loads: Sequence[Load]) -> list[Took]:
    report.note(f"replicas: {count or 'SQLite'}")
    with _running(home / f"of-{count}", servers, count) as (gateways, cpu):
        callers = [Caller(gateways) for _ in range(CALLERS)]
        _through(callers, home / f"{loads[0].lines}.jsonl", Load(CALLERS, loads[0].lines), cpu)  # warm
        return [_through(callers, home / f"{load.lines}.jsonl", load, cpu) for load in loads]


@contextmanager
def _running(home: Path, servers: Servers, count: int) -> Iterator[tuple[list[Gateway], Callable[[], Cpu]]]:
    """Run the gateways and stand-ins of one form; yield them, and what reads the CPU of all by now."""
    home.mkdir()
    options = {"openai": {**find("openai").unlimited, "run_seconds": RUN_SECONDS}}
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(options=options, directory=home / "sandbox"))
        os.setpriority(os.PRIO_PROCESS, sandbox.pid, SANDBOX_NICENESS)
        gateways = list[Gateway]()
        for n, sections in enumerate(servers.storage(count, home) if count else [{}]):
            (home / f"gateway-{n}").mkdir()
            own = Gateway(home / f"gateway-{n}", {"lane": lane(sandbox)}, dict(ENGINE), sections=sections)
            stack.callback(own.close)
            own.start()
            gateways.append(own)
        ours = [each.process.pid for each in gateways if each.process is not None]
        roots = ours, [servers.databases.server.pid], [servers.store.pid], [sandbox.pid]

        def cpu() -> Cpu:
            trees = [[pid for root in some for pid in processes.tree(root)] for some in roots]
            return *map(processes.cpu_seconds, trees), time.process_time()

        yield gateways, cpu


class Caller:
    """One of those who call at once: every call goes to the next replica."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self._clients = cycle([Client(each.port, HEADERS) for each in gateways])

    def create(self, source: Path, count: int) -> list[str]:
        """Create so many batches, each of a file of its own, and return their ids."""
        return [self._created(source) for _ in range(count)]

    def _created(self, source: Path) -> str:
        order = ORDER | {"input_file_id": next(self._clients).upload(source)}
        return str(next(self._clients).call("POST", "/batches", order)["id"])

    def fetch(self, ids: Sequence[str], lines: int) -> None:
        """Read the outputs of batches when they have ended. Raises Unexpected for anything but all answers."""
        for each in ids:
            while (batch := next(self._clients).call("GET", f"/batches/{each}"))["status"] not in ENDS:
                time.sleep(LOOK_SECONDS)
            if (got := next(self._clients).download(batch["output_file_id"]).lines) != lines:
                raise Unexpected(f"{got} answers of {lines}: {batch['status']}")


def _through(callers: Sequence[Caller], source: Path, load: Load, cpu: Callable[[], Cpu]) -> Took:
    """Take a load from its first upload to its last download."""
    counts = [len(range(n, load.batches, len(callers))) for n in range(len(callers))]
    before, began = cpu(), time.monotonic()
    with ThreadPoolExecutor(len(callers)) as threads:
        ids = list(threads.map(Caller.create, callers, [source] * len(callers), counts))
        list(threads.map(Caller.fetch, callers, ids, [load.lines] * len(callers)))
    seconds, after = time.monotonic() - began, cpu()
    return Took(load, seconds, tuple(now - then for now, then in zip(after, before, strict=True)))
