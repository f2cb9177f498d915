"""How long a start takes, and what the gateway weighs when it has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench import processes, report
from bench.client import Unexpected, connect, exchange, get
from bench.lines import MEGABYTE
from bench.probe import ControlServer
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
    empty = list(empties(runs))
    seconds, sizes = ([1000 * each for each, _ in found], [each / MEGABYTE for _, each in found])
    least, smallest = ([1000 * each for each, _ in empty], [each / MEGABYTE for _, each in empty])
    rows = [
        ("exec to /healthz 200, ms", *_row(seconds, least, START_BOUND * 1000)),
        ("idle PSS of the tree after 3 s, MB", *_row(sizes, smallest, IDLE_BOUND / MEGABYTE)),
    ]
    report.say("### Start")
    report.say(report.table((f"{runs} starts", "x an empty server", "median", "least", "most", "bound"), rows))
    report.say(
        "The empty server is a Python process with aiohttp and one handler. One process more is started first and left"
        " out: it fills the caches. The registry exists already. Other Python processes on the machine make the PSS"
        " smaller, because they share its pages: six more made 41 MB of 51."
    )


def _row(values: list[float], least: list[float], bound: float) -> tuple[str, ...]:
    middle = median(values)
    spread = (report.marked(middle, bound), f"{min(values):.1f}", f"{max(values):.1f}", f"{bound:.0f}")
    return f"{middle / median(least):.1f}", *spread


def empties(runs: int) -> Iterator[tuple[float, int]]:
    """Start a server that does nothing again and again; yield what `starts` does."""
    for number in range(runs + 1):
        began = time.monotonic()
        server = ControlServer()
        try:
            while not _healthy(server.port):
                time.sleep(LOOK_SECONDS)
            seconds = time.monotonic() - began
            size = processes.pss(server.pid)
        finally:
            server.stop()
        if number:
            yield seconds, size


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
