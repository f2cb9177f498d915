"""Print what share of the corpus each lane takes: `python -m tests.oracles.corpus`. A silent change ends it with 1."""

from __future__ import annotations

import sys
from collections import Counter

from rich import box
from rich.console import Console
from rich.table import Table

from tests.oracles.corpus.kept import silent
from tests.oracles.corpus.lanes import LANES
from tests.oracles.corpus.lines import lines
from tests.oracles.corpus.shares import Share, share

SHOWN = 12


def main() -> int:
    """Return 0 if no member of any body went without a word."""
    console, corpus = Console(width=max(140, Console().width)), list(lines())
    shares = [share(lane, corpus) for lane in LANES]
    console.print(_totals(shares))
    console.print(_shapes(shares))
    for each in shares:
        reasons = ", ".join(f"{name} ({count})" for name, count in each.refused.most_common(SHOWN))
        console.print(f"{each.lane.title} refuses: {reasons}", markup=False, highlight=False)
    lost = Counter(f"{lane.title}: {path}" for lane in LANES for line in corpus for path in silent(lane, line))
    for path, count in lost.most_common():
        console.print(f"without a word, {count} x {path}", style="red", markup=False, highlight=False)
    return int(bool(lost))


def _totals(shares: list[Share]) -> Table:
    table = Table(title=f"{shares[0].lines} bodies", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("lane", "without a switch", "with drop_params", "with strict_params"):
        table.add_column(column, justify="left" if column == "lane" else "right")
    for each in shares:
        counts = (each.taken, each.dropping, each.strict)
        table.add_row(each.lane.title, *(f"{count} ({count / each.lines:.1%})" for count in counts))
    return table


def _shapes(shares: list[Share]) -> Table:
    table = Table(title="Taken without a switch, by shape", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("shape", "bodies", *(each.lane.title for each in shares)):
        table.add_column(column, justify="left" if column == "shape" else "right")
    for shape, (_, count) in shares[0].shapes.items():
        table.add_row(shape, str(count), *(str(each.shapes[shape][0]) for each in shares))
    return table


if __name__ == "__main__":
    sys.exit(main())
