"""Run the benchmarks and print their tables.

    python -m bench                            all of them, about 45 minutes and 12 GB of disk
    python -m bench start whole                some
    python -m bench whole --sizes 10000,100000 files of other sizes, in lines of 1 KB
    python -m bench whole --big                5,000,000 lines too: 60 GB of disk
    python -m bench whole --providers openai   one provider
    python -m bench targets --lines 50000      fewer lines; also for `profile` and `peers`
    python -m bench --quick                    everything small: does it run?

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

from bench import (
    database,
    direct,
    footprint,
    front,
    memory,
    peers,
    profile,
    replicas,
    report,
    shares,
    speed,
    start,
    status,
    targets,
    translate,
    whole,
)
from bench.rig import compile_once


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when all benches ran, whatever they found; 1 where some did not; 2 for a disk that is too small."""
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
        failed = [name for name in options.benches if not _ran(name, benches[name], home / name)]
    if {"whole", "parts", "envelope", "uploads", "targets"} & set(options.benches):
        report.say(report.reading())
    return 1 if failed else 0


def _ran(name: str, bench: Callable[[Path], None], home: Path) -> bool:
    """Run one bench, and leave nothing of it behind."""
    try:
        return report.done(name, lambda: bench(home))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _disk_needed(options: argparse.Namespace) -> int:
    """Return the bytes that the largest of the chosen runs takes on the disk."""
    sizes = options.sizes if "whole" in options.benches else []
    lines = options.lines or 0
    return max([*sizes, lines], default=0) * whole.BYTES_A_LINE


def _benches(options: argparse.Namespace) -> dict[str, Callable[[Path], None]]:
    quick = options.quick
    return {
        "start": lambda home: start.run(home, 3 if quick else 7),
        "speed": lambda home: speed.run(home, 10 if quick else 100, 3),
        "whole": lambda home: whole.run(home, options.sizes, options.providers),
        "profile": lambda home: profile.run(home, options.lines or (2_000 if quick else profile.LINES)),
        "parts": lambda home: memory.run_parts(home, 2 if quick else 100, 10 if quick else 100),
        "envelope": lambda home: memory.run_envelope(home, *((1_000, 3) if quick else (100_000, 250))),
        "uploads": lambda home: memory.run_uploads(home, 10 if quick else 50, 1 if quick else 10),
        "targets": lambda home: targets.run(home, options.lines or (3_000 if quick else targets.LINES)),
        "translate": lambda home: translate.run(home, 30 if quick else 500),
        "peers": lambda home: peers.run(home, options.lines or (300 if quick else peers.LINES)),
        "direct": lambda home: direct.run(home, *((300, (300,)) if quick else (direct.LINES, direct.SIZES))),
        "status": lambda home: status.run(home, [20] if quick else [200, 1000, 10_000]),
        "database": lambda home: database.run(home, *((20, 0.5, [20]) if quick else (200, 5.0, [1000]))),
        "replicas": lambda home: replicas.run(home, replicas.QUICK if quick else replicas.LOADS),
        "footprint": lambda home: footprint.run(home, options.lines or (200 if quick else footprint.LINES)),
        "front": lambda home: front.run(home, *((100, 2_000_000) if quick else ())),
        "claims": lambda home: _claims(home, *((200, 200, 500) if quick else ())),
        "shares": lambda home: shares.run(home, *(([10, 30], 20, 3.0) if quick else ([100, 1_000, 5_000], 10_000))),
    }


def _claims(home: Path, *sizes: int) -> None:
    from bench import claims  # noqa: PLC0415 - it wants procrastinate, psycopg and psycopg_pool, which nothing else does

    claims.run(home, *sizes)


def _options(arguments: list[str]) -> argparse.Namespace:
    names = list(_benches(argparse.Namespace(quick=False)))
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the gateway on this machine.")
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"{', '.join(names)}; all if none is named")
    parser.add_argument(
        "--sizes", type=_sizes, help="lines of the files that take the whole way (10000,100000,1000000)"
    )
    parser.add_argument("--providers", type=_providers, default=whole.PROVIDERS, help="whose lanes they take")
    parser.add_argument("--lines", type=_lines, help="of the files of targets, profile, peers and footprint")
    parser.add_argument("--big", action="store_true", help=f"with {whole.LARGEST:,} lines too")
    parser.add_argument("--quick", action="store_true", help="everything small")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where temporary files go")
    options = parser.parse_args(arguments)
    if unknown := set(options.benches) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    options.benches = options.benches or names
    options.sizes = options.sizes or ([1_000] if options.quick else list(whole.SIZES))
    options.sizes += [whole.LARGEST] if options.big else []
    return options


def _sizes(text: str) -> list[int]:
    sizes = [int(each) for each in text.split(",")]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError("a file has a line at least")
    return sizes


def _providers(text: str) -> tuple[str, ...]:
    named = tuple(text.split(","))
    if unknown := set(named) - set(whole.PROVIDERS):
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(whole.PROVIDERS)}"
        )
    return named


def _lines(text: str) -> int:
    lines = int(text)
    if lines < len(targets.ACCOUNTS):
        raise argparse.ArgumentTypeError("each target needs a line")
    return lines


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended, too
    raise SystemExit(main())
