"""The whole way of files of ever more lines, upload to download, stage by stage, next to what any program must pay.

The unit is what the standard library's `json` takes to read and write the same request lines and the same answer lines
once, measured in the same run. So the figures mean the same on a slow machine and on a fast one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import report
from bench.client import Client
from bench.floor import Floor
from bench.lines import MEGABYTE, write_lines
from bench.memory import whole_way
from bench.rig import GAP_BOUND, JOB_SECONDS, SETTLE_SECONDS, Rig, Seen, default_workers, memory_bound

SIZES, LARGEST = (10_000, 100_000, 1_000_000), 5_000_000
PROVIDERS = ("openai", "anthropic")
BYTES_A_LINE = 12_000  # of disk: the gateway's copies and the sandbox's
JSON_BOUND = 2.5  # times `json`, the whole way
WALL_BOUND = 0.6  # of the CPU seconds, on two cores
WALL_FROM = 1_000_000  # lines
SPREAD_BOUND = 0.15  # of the cost of a line, over the sizes
SMALL, SMALL_LINES = 8, 300  # files that come first, and their lines
PARALLEL = ("create, split", "collect", "merge")


@dataclass(frozen=True, slots=True)
class Taken:
    """One file's way. `floor` is of its request and answer lines, `drift` how far two readings of it were apart."""

    provider: str
    lines: int
    seen: list[Seen]
    floor: Floor
    drift: float

    @property
    def stages(self) -> list[Seen]:
        """What the gateway did, without what it only waited for."""
        return [each for each in self.seen if each.phase.moved is not None]

    @property
    def cpu(self) -> float:
        """Seconds of the gateway's tree in all stages."""
        return sum(each.phase.cpu.gateway for each in self.stages)

    @property
    def idle(self) -> float:
        """Seconds that the idle tree would have taken meanwhile: answers to the probers."""
        quiet = self.seen[0].phase
        return quiet.cpu.gateway / quiet.seconds * sum(each.phase.seconds for each in self.stages)

    @property
    def times(self) -> float:
        """How often the floor's `json` the whole way is, without the answers to the probers."""
        return (self.cpu - self.idle) / self.floor.json


def run(home: Path, sizes: Sequence[int], providers: Sequence[str] = PROVIDERS) -> None:
    """Print a table for each file, and one for each provider over all sizes."""
    for provider in providers:
        found = list[Taken]()
        for lines in sizes:
            report.note(f"whole: {lines:,} lines, {provider}")
            found.append(measure(home, lines, provider))
            report.say(stages(found[-1]))
        report.say(growth(found))


def measure(home: Path, lines: int, provider: str, settle: float = SETTLE_SECONDS) -> Taken:
    """Take one file the whole way, with the floor of its lines before and after."""
    gone = whole_way(home, lines, provider=provider, settle=settle, first=partial(warm, home / "small.jsonl", provider))
    return Taken(provider, lines, *gone)


def warm(small: Path, provider: str, rig: Rig) -> None:
    """Take some small files the whole way, so that no file pays for the start of the workers and their imports."""
    write_lines(small, SMALL_LINES, provider=provider)
    order = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    client, control = rig.client(), rig.sandbox.control
    with rig.phase("(warm-up)"):
        files = [client.upload(small) for _ in range(SMALL)]
        ids = [client.call("POST", "/batches", order | {"input_file_id": each})["id"] for each in files]
        rig.until(lambda: [job["status"] for job in control.jobs()] == ["in_progress"] * SMALL, seconds=120)
        control.advance(JOB_SECONDS + 60)
        rig.until(lambda: all(_completed(client, each) for each in ids), seconds=120)
    small.unlink()


def _completed(client: Client, batch_id: str) -> bool:
    return bool(client.call("GET", f"/batches/{batch_id}")["status"] == "completed")


# What is printed.


def stages(taken: Taken) -> str:
    """Return the table of one file, ratios first, and how it stands to its bounds."""
    head = ("stage", "x json", "x orjson", "µs a line", "wall / CPU", "wall, s", "CPU s", "MB/s")
    memory, gaps = ("PSS over idle, MB", "gateway process alone"), ("largest gap, ms", "control, ms", "prober late, ms")
    more = (*memory, *gaps, "CPU s beside", "elsewhere")
    rows: list[Sequence[str]] = [_stage(taken, each) for each in taken.seen]
    blank = [""] * (len(more) + 1)
    wall = sum(each.phase.seconds for each in taken.stages)
    rows.append(("in all", *_costs(taken, taken.cpu), *_wall(wall, taken.cpu), *blank))
    net = taken.cpu - taken.idle
    rows.append(("- without answers to the probers", *_costs(taken, net), "", "", f"{net:.2f}", *blank))
    rows += [(f"floor: {name}", *_costs(taken, cost), "", "", f"{cost:.2f}", *blank) for name, cost in _floors(taken)]
    title = f"### {taken.lines:,} lines the whole way, {taken.provider}"
    return "\n\n".join([title, report.table((*head, *more), rows), *verdicts(taken), *report.beyond(taken.seen)])


def _costs(taken: Taken, cpu: float) -> tuple[str, str, str]:
    """Return seconds of CPU as ratios and as microseconds a line."""
    return f"{cpu / taken.floor.json:.2f}", f"{cpu / taken.floor.orjson:.2f}", f"{cpu / taken.lines * 1e6:.1f}"


def _wall(seconds: float, cpu: float) -> tuple[str, str, str]:
    return f"{seconds / cpu:.2f}" if cpu else "", f"{seconds:.2f}", f"{cpu:.2f}"


def _floors(taken: Taken) -> list[tuple[str, float]]:
    found = taken.floor
    return [
        ("json reads and writes the lines", found.json),
        ("orjson reads and writes the lines", found.orjson),
        ("their bytes are copied (cat)", found.cat),
        ("their bytes are hashed (sha256)", found.sha256),
    ]


def _stage(taken: Taken, each: Seen) -> tuple[str, ...]:
    phase, bound = each.phase, memory_bound(default_workers()) / MEGABYTE
    cpu = phase.cpu.gateway
    costs = _costs(taken, cpu) if phase.moved is not None else ("", "", "")
    return (
        phase.name,
        *costs,
        *_wall(phase.seconds, cpu if phase.moved is not None else 0.0)[:2],
        f"{cpu:.2f}",
        "" if phase.moved is None else f"{phase.moved / MEGABYTE / phase.seconds:.0f}",
        report.marked(each.growth / MEGABYTE, bound),
        f"{each.root_growth / MEGABYTE:.1f}",
        report.marked(each.gap * 1000, GAP_BOUND * 1000),
        f"{each.control_gap * 1000:.1f}",
        f"{each.late * 1000:.1f}",
        f"{phase.cpu.beside:.2f}",
        f"{phase.cpu.elsewhere:.2f}",
    )


def verdicts(taken: Taken) -> list[str]:
    """Return how the file stands to each bound."""
    times = f"{taken.times:.2f} times `json`, bound {JSON_BOUND}: {report.within(taken.times, JSON_BOUND)}"
    found = [f"The whole way: {times}. Two readings of the floor were {taken.drift:.0%} apart."]
    shares = {each.phase.name: _share(each) for each in taken.seen if _parallel(each)}
    said = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    bound = f", bound {WALL_BOUND} on two cores: {report.within(max(shares.values()), WALL_BOUND)}"
    small = f" (bound {WALL_BOUND} from {WALL_FROM:,} lines on)"
    limit = bound if taken.lines >= WALL_FROM else small
    found.append(f"Wall over CPU: {said}{limit}. What ran beside the gateway is taken off its cores.")
    return [*found, report.verdict(taken.seen, default_workers())]


def _share(each: Seen) -> float:
    """Return wall over CPU on the cores that the probers, the sandbox and others left to the gateway."""
    used, cores = each.phase.cpu, len(os.sched_getaffinity(0))
    return max(each.phase.seconds - (used.beside + used.elsewhere) / cores, 0.0) / used.gateway


def _parallel(each: Seen) -> bool:
    return each.phase.name in PARALLEL and each.phase.cpu.gateway > 0


def growth(found: Sequence[Taken]) -> str:
    """Return the table of one provider's files: what a line costs at each size."""
    names = [each.phase.name for each in found[0].stages]
    head = ("lines", "x json", "x orjson", "µs a line", *(f"{name}, µs" for name in names))
    rows = [_size(each) for each in found]
    a_line = [(each.cpu - each.idle) / each.lines for each in found]
    times = [each.times for each in found]
    memory, gap = max(each.growth for t in found for each in t.seen), max(each.gap for t in found for each in t.seen)
    spread = _spread(times)
    said = (
        f"A line costs {_spread(a_line):.0%} more at the dearest size than at the cheapest; in units of `json`"
        f" {spread:.0%}, bound {SPREAD_BOUND:.0%}: {report.within(spread, SPREAD_BOUND)}. Largest of all:"
        f" {memory / MEGABYTE:.0f} MB over idle, a gap of {gap * 1000:.0f} ms."
    )
    title = f"### What a line costs as files grow, {found[0].provider}"
    return "\n\n".join([title, report.table(head, rows), said])


def _size(each: Taken) -> tuple[str, ...]:
    cpu = each.cpu - each.idle
    parts = (f"{stage.phase.cpu.gateway / each.lines * 1e6:.1f}" for stage in each.stages)
    return f"{each.lines:,}", *_costs(each, cpu), *parts


def _spread(values: Sequence[float]) -> float:
    return max(values) / min(values) - 1
