"""How long a start takes, and what the gateway weighs when it has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench import processes, report
from bench.client import Unexpected, connect, exchange, get
from bench.lines import MEGABYTE
from bench.rig import SETTLE_SECONDS
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.stack import Gateway

START_BOUND = 1.0  # seconds
IDLE_BOUND = 80 * MEGABYTE
LOOK_SECONDS = 0.002
LANE = find("openai").virtual_key("http://127.0.0.1:9/v1", "sk-none")


def run(home: Path, runs: int) -> None:
    """Print the table."""
    report.note(f"start: {runs} runs")
    found = list(starts(home, runs))
    seconds, sizes = [each for each, _ in found], [each for _, each in found]
    rows = [
        ("exec to /healthz 200, ms", *_row([each * 1000 for each in seconds], START_BOUND * 1000)),
        ("idle PSS of the tree after 3 s, MB", *_row([each / MEGABYTE for each in sizes], IDLE_BOUND / MEGABYTE)),
    ]
    report.say("### Start")
    report.say(report.table((f"{runs} starts", "median", "least", "most", "bound"), rows))
    report.say(
        "One process more is started first and left out: it fills the caches. The registry exists already. Other Python"
        " processes on the machine make the PSS smaller, because they share its pages: six more made 41 MB of 51."
    )


def _row(values: list[float], bound: float) -> tuple[str, ...]:
    return report.marked(median(values), bound), f"{min(values):.1f}", f"{max(values):.1f}", f"{bound:.0f}"


def starts(home: Path, runs: int, settle: float = SETTLE_SECONDS) -> Iterator[tuple[float, int]]:
    """Start a gateway again and again on one data directory; yield seconds to healthy and bytes when idle."""
    home.mkdir(parents=True)
    gateway = Gateway(home, {"lane": LANE})
    for number in range(runs + 1):
        try:
            seconds = _start(gateway)
            time.sleep(settle if number else 0)
            assert gateway.process is not None
            size = sum(map(processes.pss, processes.tree(gateway.process.pid)))
        finally:
            gateway.close()
        if number:
            yield seconds, size


def _start(gateway: Gateway) -> float:
    began = time.monotonic()
    gateway.start(wait=False)
    while not _healthy(gateway.port):
        if not gateway.alive() or time.monotonic() > began + 60:
            raise RuntimeError(f"the gateway did not start:\n{gateway.tail()}")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


def _healthy(port: int) -> bool:
    try:
        with connect(port) as sock:
            exchange(sock, get("/healthz"))
    except (OSError, Unexpected):
        return False
    return True
