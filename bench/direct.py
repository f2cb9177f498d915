"""Ordinary calls: lines a second beside LiteLLM's Router on the same stand-in, and memory as the file grows.

The gateway does more than the Router: it stores, checks and splits the file, keeps each answer on the disk before the
next call, and writes output, ledger and costs. So its calls alone are shown too, from the first to the last.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from bench import report
from bench.lines import MEGABYTE, write_lines
from bench.memory import ENGINE
from bench.peers import PEER, ROOT
from bench.rig import SETTLE_SECONDS, Rig

LINES, SIZES = 5_000, (1_000, 10_000, 100_000)
CONCURRENCY, DELAYS = 64, (0.0, 0.05)
CALL = "call.chat.completions"


class Taken(NamedTuple):
    """Seconds of the whole way and of the calls alone; seconds of CPU; bytes."""

    who: str
    whole: float
    calls: float
    cpu: float
    peak: int


def run(home: Path, lines: int, sizes: tuple[int, ...]) -> None:
    """Print both tables. Without `make .venv-peers/.made` LiteLLM's rows are missing."""
    for delay in DELAYS:
        report.note(f"direct: {lines:,} lines, answers after {delay * 1000:.0f} ms")
        found = measure(home / f"delay-{delay}", lines, delay)
        report.say(f"### {lines:,} lines by ordinary calls, {CONCURRENCY} at once, answers after {delay * 1000:.0f} ms")
        report.say(report.table(_HEAD, [_row(each, found[0], lines) for each in found]))
    report.note(f"direct: memory of {', '.join(f'{size:,}' for size in sizes)} lines")
    report.say("### Memory by ordinary calls")
    report.say(report.table(("lines", "growth of the tree, MB"), [_grown(home, size) for size in sizes]))


_HEAD = ("who", "x seconds", "x CPU", "x peak", "whole way, s", "calls, s", "calls a second", "CPU s", "peak, MB")


def _row(each: Taken, ours: Taken, lines: int) -> tuple[str, ...]:
    pairs = ((each.whole, ours.whole), (each.cpu, ours.cpu), (each.peak, ours.peak))
    ratios = (f"{theirs / mine:.2g}" for theirs, mine in pairs)
    rate = f"{lines / each.calls:.0f}" if each.calls else "-"
    return (
        each.who,
        *ratios,
        f"{each.whole:.1f}",
        f"{each.calls:.1f}",
        rate,
        f"{each.cpu:.1f}",
        f"{each.peak / MEGABYTE:.0f}",
    )


def measure(home: Path, lines: int, delay: float) -> list[Taken]:
    """Return what the gateway took, and LiteLLM's Router where it is installed."""
    home.mkdir(parents=True)
    source = home / "input.jsonl"
    write_lines(source, lines)
    with _rig(home / "rig") as rig:
        rig.sandbox.control.options("openai", delay_seconds=delay)
        theirs = _router(rig, source)
        rig.settle(SETTLE_SECONDS)
        return [_ours(rig, source), *theirs]


def _rig(home: Path) -> Rig:
    return Rig(home, ENGINE, {"direct_limits": {"concurrency": CONCURRENCY}})


def _ours(rig: Rig, source: Path) -> Taken:
    idle, before = rig.idle_bytes(), len(rig.sandbox.control.requests())
    answer(rig, source)
    times = [each["at"] for each in rig.sandbox.control.requests()[before:] if each["op"] == CALL]
    (_, seen) = rig.finish()
    calls = max(times) - min(times)
    return Taken("proxy-plugin", seen.phase.seconds, calls, seen.phase.cpu.gateway, idle + seen.growth)


def answer(rig: Rig, source: Path) -> None:
    """Upload a file and have it answered, as one phase."""
    client = rig.client()
    with rig.phase("answer"):
        file_id = client.upload(source)
        order = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "immediate"}
        batch_id = client.call("POST", "/batches", order)["id"]
        rig.until(lambda: client.call("GET", f"/batches/{batch_id}")["status"] == "completed", every=0.1)


def _router(rig: Rig, source: Path) -> list[Taken]:
    if not PEER.exists():
        return []
    order = {"file": str(source), "base": rig.sandbox.url("openai"), "key": "sk-sandbox", "concurrency": CONCURRENCY}
    quiet = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    done = subprocess.run(
        [str(PEER), "-m", "bench.direct_litellm"],
        cwd=ROOT,
        env=quiet,
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=True,
    )
    took: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return [Taken(f"LiteLLM {took['version']}, Router", took["seconds"], took["seconds"], took["cpu"], took["peak"])]


def _grown(home: Path, lines: int) -> tuple[str, str]:
    folder = home / f"memory-{lines}"
    folder.mkdir(parents=True)
    source = folder / "input.jsonl"
    write_lines(source, lines)
    with _rig(folder / "rig") as rig:
        rig.settle(SETTLE_SECONDS)
        answer(rig, source)
        seen = rig.finish()[-1]
    source.unlink()
    return f"{lines:,}", f"{seen.growth / MEGABYTE:.0f}"
