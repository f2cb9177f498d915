"""Run the benchmarks and print their tables.

    python -m bench                       all of them, about 30 minutes and 12 GB of disk
    python -m bench start memory          some
    python -m bench memory --sizes 10     other sizes
    python -m bench targets --lines 50000 fewer lines
    python -m bench --quick               everything small: does it run?

Comparing parsers is a program of its own: `python bench/multipart.py`.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import direct, memory, peers, report, shares, speed, start, status, targets, translate
from bench.rig import compile_once

BIG = 2000  # MB


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when all benches ran, whatever they found; 2 for a disk that is too small."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _options(given)
    options.dir.mkdir(parents=True, exist_ok=True)
    needed, free = _disk_needed(options), shutil.disk_usage(options.dir).free
    if needed > free:
        report.note(
            f"{needed / 1e9:.0f} GB of disk are needed, {free / 1e9:.0f} GB are free: choose --dir, --sizes or --lines"
        )
        return 2
    report.say(report.machine(given))
    with tempfile.TemporaryDirectory(prefix="proxy-plugin-bench-", dir=options.dir) as folder:
        home = Path(folder)
        compile_once(home)
        benches = _benches(options)
        for name in options.benches:
            benches[name](home / name)
    if {"memory", "parts", "envelope", "uploads", "targets"} & set(options.benches):
        report.say(report.reading())
    return 0


def _disk_needed(options: argparse.Namespace) -> int:
    """Return the bytes that the largest of the chosen runs takes on the disk."""
    sizes = options.sizes if "memory" in options.benches else []
    lines = options.lines // memory.LINES_PER_MB if "targets" in options.benches else 0
    return memory.disk_needed([*sizes, lines])


def _benches(options: argparse.Namespace) -> dict[str, Callable[[Path], None]]:
    quick = options.quick
    return {
        "start": lambda home: start.run(home, 3 if quick else 7),
        "speed": lambda home: speed.run(home, 10 if quick else 100, 3),
        "memory": lambda home: memory.run(home, options.sizes),
        "parts": lambda home: memory.run_parts(home, 2 if quick else 100, 10 if quick else 100),
        "envelope": lambda home: memory.run_envelope(home, *((1_000, 3) if quick else (100_000, 250))),
        "uploads": lambda home: memory.run_uploads(home, 10 if quick else 50, 1 if quick else 10),
        "targets": lambda home: targets.run(home, options.lines),
        "translate": lambda home: translate.run(home, 30 if quick else 500),
        "peers": lambda home: peers.run(home, 300 if quick else peers.LINES),
        "direct": lambda home: direct.run(home, *((300, (300,)) if quick else (direct.LINES, direct.SIZES))),
        "status": lambda home: status.run(home, [20] if quick else [200, 1000]),
        "shares": lambda home: shares.run(home, *(([10, 30], 20, 3.0) if quick else ([100, 1_000, 5_000], 10_000))),
    }


def _options(arguments: list[str]) -> argparse.Namespace:
    names = list(_benches(argparse.Namespace(quick=False)))
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the gateway on this machine.")
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"{', '.join(names)}; all if none is named")
    parser.add_argument("--sizes", type=_sizes, help="MB of the files that take the whole way (10,100,1000)")
    parser.add_argument("--lines", type=_lines, help=f"of the file that spreads over four targets ({targets.LINES:,})")
    parser.add_argument("--big", action="store_true", help=f"with {BIG} MB too")
    parser.add_argument("--quick", action="store_true", help="everything small")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where temporary files go")
    options = parser.parse_args(arguments)
    if unknown := set(options.benches) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    options.benches = options.benches or names
    options.sizes = options.sizes or ([1] if options.quick else [10, 100, 1000])
    options.lines = options.lines or (3_000 if options.quick else targets.LINES)
    options.sizes += [BIG] if options.big else []
    return options


def _sizes(text: str) -> list[int]:
    sizes = [int(each) for each in text.split(",")]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError("sizes are whole MB from 1 on")
    return sizes


def _lines(text: str) -> int:
    lines = int(text)
    if lines < len(targets.ACCOUNTS):
        raise argparse.ArgumentTypeError("each target needs a line")
    return lines


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended, too
    raise SystemExit(main())
