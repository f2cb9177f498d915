"""One file over four accounts of two providers: how long each phase takes, and what it costs in memory and stalls."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bench import floor, report
from bench.floor import Floor
from bench.lines import MODELS, write_lines
from bench.memory import ENGINE, Way
from bench.rig import SETTLE_SECONDS, Rig, Seen, default_workers

LINES = 1_000_000
ACCOUNTS = {"red": "openai", "green": "openai", "north": "anthropic", "south": "anthropic"}
LOOK_SECONDS = 0.05
STEPS = {  # what the gateway does with a part while it is in a state
    "planned": "wait for a turn (planned)",
    "staging": "submit: stage the document (staging)",
    "staged": "submit: note the intent (staged)",
    "creating": "submit: create the job (creating)",
    "running": "poll, wait (running)",
    "ended": "fetch (ended)",
    "stored": "collect (stored)",
}


class Stay(NamedTuple):
    """How long one part was in one state, on the clock of `time.monotonic`."""

    part: int
    state: str
    start: float
    end: float


class PartsWatch:
    """Looks at the states of all parts in the gateway's own registry, 20 times a second, from a thread of its own."""

    def __init__(self, registry: Path) -> None:
        self._registry = registry
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._since: dict[int, tuple[str, float]] = {}
        self.stays: list[Stay] = []
        self.jobs: list[tuple[str, int, int]] = []  # slug, jobs, lines

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        with closing(sqlite3.connect(f"file:{self._registry}?mode=ro", uri=True)) as conn:
            while not self._done.wait(LOOK_SECONDS):
                self.note(conn.execute("SELECT n, state FROM parts").fetchall(), time.monotonic())
            query = "SELECT slug, COUNT(*), SUM(lines) FROM parts GROUP BY slug ORDER BY slug"
            self.jobs = conn.execute(query).fetchall()

    def note(self, found: Sequence[tuple[int, str]], now: float) -> None:
        """Take down in which state each part is found at a moment."""
        for part, state in found:
            was, since = self._since.get(part, ("", now))
            if state != was:
                self._since[part] = (state, now)
                self.stays += [Stay(part, was, since, now)] if was else []


def run(home: Path, lines: int) -> None:
    """Print the tables."""
    report.note(f"targets: {lines:,} lines over {len(ACCOUNTS)}")
    seen, watch, least = measure(home, lines)
    report.say(report.phases(f"{lines:,} lines over {_said(watch)}", seen, default_workers(), least))
    report.say(steps(watch.stays, seen))
    report.say(f"Load average of the machine at the end: {' '.join(f'{each:.1f}' for each in os.getloadavg())}.")


def _said(watch: PartsWatch) -> str:
    return ", ".join(f"{slug} ({ACCOUNTS[slug]}: {jobs} jobs, {lines:,} lines)" for slug, jobs, lines in watch.jobs)


def measure(home: Path, lines: int, settle: float = SETTLE_SECONDS) -> tuple[list[Seen], PartsWatch, Floor]:
    """Take one file whose lines name their accounts in turn the whole way; return what was seen, and the floor."""
    home.mkdir(parents=True, exist_ok=True)
    source = home / "input.jsonl"
    models = [f"@{slug}/{MODELS[provider]}" for slug, provider in ACCOUNTS.items()]
    size = write_lines(source, lines, models=models)
    try:
        with Rig(home / "rig", ENGINE, accounts=ACCOUNTS) as rig:
            with PartsWatch(rig.gateway.data / "registry.sqlite3") as watch:
                rig.settle(settle)
                way = Way(rig, source, size, lines)
                way.go()
            seen = rig.finish()
            asked, answered = (floor.of_file(path, lines, home / "beside") for path in (source, way.answers))
            return seen, watch, asked.plus(answered)
    finally:
        source.unlink()


def steps(stays: Sequence[Stay], seen: Sequence[Seen]) -> str:
    """Return the table of what happened to the parts, state by state; they overlap, so each has its own span."""
    origin = next(each.phase.end for each in seen if each.phase.name == "scan")
    rows = [_row(title, [each for each in stays if each.state == state], origin) for state, title in STEPS.items()]
    head = ("step of the parts", "parts", "first begins, s", "last ends, s", "longest, s", "sum, s")
    below = (
        "Seconds since the scan ended. Parts overlap; a state of less than"
        f" {LOOK_SECONDS * 1000:.0f} ms may be missed. `running` holds the time in which the sandbox works."
    )
    return f"{report.table(head, rows)}\n\n{below}"


def _row(title: str, stays: Sequence[Stay], origin: float) -> tuple[str, ...]:
    if not stays:
        return title, "0", "", "", "", ""
    took = [each.end - each.start for each in stays]
    first, last = min(each.start for each in stays) - origin, max(each.end for each in stays) - origin
    return (
        title,
        str(len({each.part for each in stays})),
        *(f"{each:.2f}" for each in (first, last, max(took), sum(took))),
    )
