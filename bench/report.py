"""Tables in Markdown, and on what they were measured."""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import processes
from bench.floor import Floor
from bench.lines import MEGABYTE
from bench.rig import GAP_BOUND, Seen, memory_bound

BUSY = 0.1  # of a core, from which on other work is in the figures
LOOK_SECONDS = 1.0

_READING = """\
MB are 10^6 bytes. Memory is the PSS of the gateway and all its descendants, sampled every 50 ms, less the median of the
idle phase. A gap is the largest round trip of a probe of /healthz every 10 ms, from another process; `control` is the
same probe, at the same time, of an aiohttp server that does nothing else: what the machine adds. Beside the gateway run
on the same cores the sandbox (nice 10), the client (sendfile up, one buffer down), two probers of event loops, one of
memory, and the control server: CPU seconds `beside` are theirs, `elsewhere` are everybody else's on this machine. The
gateway's worker processes run at nice 5. The sandbox's jobs end when its clock is moved, behind `(sandbox answers)`;
while it then writes its result files the gateway is held, so that they are no part of `collect`. In `whole` the idle
tree has no workers yet, and some small files go first, so that no stage pays for their start."""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def machine(command: Sequence[str]) -> str:
    """Return what a reader must know of the machine and the moment."""
    busy = _busy()
    doubt = " (NOT idle: other work is in these figures)" if busy > BUSY else ""
    facts = [
        ("cores", f"{len(os.sched_getaffinity(0))} ({_processor()})"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 10**9:.0f} GB"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("busy before", f"{busy:.2f} cores{doubt}"),
        ("command", f"`{' '.join(['python -m bench', *command])}`"),
    ]
    return table(("measured on", ""), facts)


def _busy() -> float:
    """Return how many cores are busy before anything is started."""
    before = processes.machine_seconds()
    time.sleep(LOOK_SECONDS)
    return (processes.machine_seconds() - before) / LOOK_SECONDS


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def phases(title: str, seen: Sequence[Seen], workers: int, floor: Floor) -> str:
    """Return the table of one run, its verdict, and every gap above the bound.

    `x json`, `x cat`: CPU seconds over those of reading and writing the same lines with `json`, and of copying them.
    """
    sizes = ("PSS over idle, MB", "gateway process alone", "largest gap, ms", "control, ms")
    head = ("phase", "x json", "x cat", "s", "MB/s", *sizes)
    rows = [_row(each, workers, floor) for each in seen]
    return "\n\n".join(
        [
            f"### {title}",
            table((*head, "prober late, ms", "CPU s gateway", "beside", "elsewhere"), rows),
            verdict(seen, workers),
            *beyond(seen),
        ]
    )


def _row(each: Seen, workers: int, floor: Floor) -> tuple[str, ...]:
    phase = each.phase
    ratios = (f"{phase.cpu.gateway / unit:.2f}" for unit in (floor.json, floor.cat))
    return (
        phase.name,
        *(ratios if phase.moved is not None else ("", "")),
        f"{phase.seconds:.2f}",
        "" if phase.moved is None else f"{phase.moved / MEGABYTE / phase.seconds:.0f}",
        marked(each.growth / MEGABYTE, memory_bound(workers) / MEGABYTE),
        f"{each.root_growth / MEGABYTE:.1f}",
        marked(each.gap * 1000, GAP_BOUND * 1000),
        f"{each.control_gap * 1000:.1f}",
        f"{each.late * 1000:.1f}",
        *(f"{each:.2f}" for each in phase.cpu),
    )


def marked(value: float, bound: float) -> str:
    """Return a figure, bold if it is above its bound."""
    return f"**{value:.1f}**" if value > bound else f"{value:.1f}"


def verdict(seen: Sequence[Seen], workers: int) -> str:
    """Return one line: the two largest figures and their bounds."""
    growth, gap = max(each.growth for each in seen), max(each.gap for each in seen)
    bound = memory_bound(workers)
    return (
        f"Memory: {growth / MEGABYTE:.1f} MB over idle, bound {bound / MEGABYTE:.0f} MB (64 + 32 x {workers} workers):"
        f" {within(growth, bound)}. Event loop: {gap * 1000:.1f} ms, bound {GAP_BOUND * 1000:.0f} ms:"
        f" {within(gap, GAP_BOUND)}."
    )


def within(value: float, bound: float) -> str:
    """Say how a figure stands to its bound."""
    return "within" if value <= bound else "EXCEEDED"


def beyond(seen: Sequence[Seen]) -> list[str]:
    """Return the list of round trips above the bound; nothing where there is none."""
    lines = [
        f"- {each.phase.name} +{gap.at:.2f} s: {gap.wait * 1000:.0f} ms (control then {gap.control * 1000:.0f} ms)"
        for each in seen
        for gap in each.beyond
    ]
    return ["\n".join(["Round trips above the bound:", "", *lines])] if lines else []


def reading() -> str:
    """Return how the tables of phases are to be read, and what ran beside."""
    return _READING


def done(name: str, work: Callable[[], None]) -> bool:
    """Tell whether a piece of work was done. What it fails of is printed, and the rest goes on: nobody may be there."""
    try:
        work()
    except Exception:  # noqa: BLE001
        say(f"### {name} FAILED\n\n```\n{traceback.format_exc()}```")
        return False
    return True


def say(text: str) -> None:
    """Print one block at once: runs take minutes."""
    print(text, end="\n\n", flush=True)


def note(text: str) -> None:
    """Print progress beside the report."""
    print(text, file=sys.stderr, flush=True)
