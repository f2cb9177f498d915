"""Put the figures of benchmark runs into the README, ratios first: from what the benchmarks printed, word for word.

    python -m bench > run.txt
    python -m tools.figures run.txt [more.txt ...]

Runs of whole files become one row each, of what is bounded; tables of other benches are taken over as they are. What is
between `<!-- figures` and `<!-- end of figures -->` is replaced. Benches that failed, and profiles, are left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = (
    "<!-- figures: made by `python -m tools.figures` from what `make bench` prints -->",
    "<!-- end of figures -->",
)
_MARKED = re.compile(r"<!-- figures.*?<!-- end of figures -->", re.DOTALL)
_MEMORY = re.compile(
    r"Memory: ([\d.]+) MB over idle, bound (\d+) MB.*?Event loop: ([\d.]+) ms, bound (\d+) ms", re.DOTALL
)
_TIMES = re.compile(r"The whole way: ([\d.]+) times `json`, bound ([\d.]+)")
_WALL = re.compile(r"Wall over CPU: create, split ([\d.]+), collect ([\d.]+), merge ([\d.]+)")
READING = "MB are 10^6 bytes."  # begins what stands at the end of a run
_PROFILE = re.compile(r"[\d,]+ (?:plain|tools) lines, ")
_WHOLE = re.compile(r"([\d,]+) lines the whole way, (\S+)")


@dataclass
class Section:
    """A title of a run with what is printed below it."""

    title: str
    blocks: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it."""
        return "\n\n".join(self.blocks)

    def cell(self, row: str, column: str) -> str:
        """Return a cell of its first table, empty where there is none."""
        lines = [_cells(line) for line in self.text.splitlines() if line.startswith("| ")]
        found = [line for line in lines[1:] if line[0] == row]
        return found[0][lines[0].index(column)].strip("*") if found and column in lines[0] else ""


@dataclass
class Run:
    """What one command printed."""

    facts: dict[str, str]
    sections: list[Section]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read(text: str) -> Iterator[Run]:
    """Yield the runs of a file, each from the table of its machine on. Raises ValueError where there is none."""
    _, *runs = re.split(r"^\| measured on \|", text, flags=re.MULTILINE)
    if not runs:
        raise ValueError("this is nothing that the benchmarks have printed")
    for each in runs:
        head, *blocks = each.strip().split("\n\n")
        lines = [_cells(line) for line in head.splitlines() if line.startswith("| ")]
        yield Run({line[0]: line[1] for line in lines if len(line) == 2}, list(_sections(blocks)))


def _sections(blocks: Iterable[str]) -> Iterator[Section]:
    found: Section | None = None
    for block in blocks:
        if block.startswith("#"):
            if found is not None:
                yield found
            found = Section(block.lstrip("# "))
        elif found is not None and not block.startswith(READING):
            found.blocks.append(block)
    if found is not None:
        yield found


def figures(runs: Sequence[Run]) -> str:
    """Return what the README says."""
    sections = [each for run in runs for each in run.sections if not _left_out(each)]
    whole = [each for each in sections if _WHOLE.match(each.title)]
    memory = [each for each in sections if _MEMORY.search(each.text) and each not in whole]
    others = [each for each in sections if each not in whole and each not in memory]
    blocks = [BEGIN, _measured(runs)]
    if whole:
        blocks += [_WHOLE_WORDS, _table(_WHOLE_HEAD, map(_way, whole))]
    if memory:
        blocks += [_MEMORY_WORDS, _table(_MEMORY_HEAD, map(_peak, memory))]
    for each in others:
        blocks += [f"**{each.title}**", *each.blocks]
    return "\n\n".join([*blocks, END])


def _left_out(section: Section) -> bool:
    return section.title.endswith("FAILED") or bool(_PROFILE.match(section.title))


def _measured(runs: Sequence[Run]) -> str:
    machine, said = runs[0].facts, [f"{run.facts['command']} ({run.facts['date']})" for run in runs]
    cores = machine["cores"].replace(" (", " cores (", 1)
    doubts = [run.facts["command"] for run in runs if "NOT idle" in run.facts.get("busy before", "")]
    beside = f" Other work ran beside {' and '.join(doubts)}." if doubts else ""
    return (
        f"Measured on {cores}, {machine['Python']}, with {', '.join(said)}.{beside} The sandbox, the client"
        " and the probes ran on the same cores. Ratios come first: they mean the same on any machine."
    )


_WHOLE_WORDS = (
    "Files from upload to download. `x json` is the CPU time of the gateway's whole process tree over that of reading"
    " and writing the same request lines and answer lines once with the standard library's `json`, in the same run. A"
    " gap is the largest round trip of a probe of the event loop every 10 ms; memory is the PSS of the tree over the"
    " idle tree."
)
_WHOLE_HEAD = (
    *("file", "x json", "wall / CPU of split, collect, merge", "µs a line", "s", "memory, MB", "largest gap, ms"),
    "of an idle server beside it",
)
_MEMORY_WORDS = "Memory and gaps of other shapes of work, with their bounds:"
_MEMORY_HEAD = ("what", "memory over idle", "bound", "largest gap", "bound")


def _way(section: Section) -> tuple[str, ...]:
    lines, provider = _found(_WHOLE.match(section.title))
    times, bound = _found(_TIMES.search(section.text))
    wall = ", ".join(_found(_WALL.search(section.text)))
    memory, _, gap, _ = _found(_MEMORY.search(section.text))
    net = section.cell("- without answers to the probers", "µs a line")
    seconds, control = section.cell("in all", "wall, s"), _beside(section)
    return f"{lines} lines, {provider}", f"{times} (bound {bound})", wall, net, seconds, memory, gap, control


def _beside(section: Section) -> str:
    """Return the gap of the idle server in the phase that has the largest one of ours."""
    names = [_cells(line)[0] for line in section.text.splitlines() if line.startswith("| ")][1:]
    gaps = {name: float(gap) for name in names if (gap := section.cell(name, "largest gap, ms"))}
    return section.cell(max(gaps, key=gaps.__getitem__), "control, ms")


def _peak(section: Section) -> tuple[str, ...]:
    memory, most, gap, longest = _found(_MEMORY.search(section.text))
    return section.title, f"{memory} MB", f"{most} MB", f"{gap} ms", f"{longest} ms"


def _found(match: re.Match[str] | None) -> tuple[str, ...]:
    if match is None:
        raise ValueError("a table of the whole way has no verdict")
    return match.groups()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def written(readme: str, runs: Sequence[Run]) -> str:
    """Return the README with the figures in their place. Raises ValueError where it has none."""
    if len(_MARKED.findall(readme)) != 1:
        raise ValueError("the README has not one place for figures")
    return _MARKED.sub(lambda _: figures(runs), readme)


def main(paths: Sequence[str]) -> int:
    """Write the README."""
    runs = [run for path in paths for run in read(Path(path).read_text())]
    README.write_text(written(README.read_text(), runs))
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    raise SystemExit(main(sys.argv[1:]))
