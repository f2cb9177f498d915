"""How fast a file is taken in: until the reply, and until every line of it has been scanned."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import report
from bench.floor import BLOCK
from bench.lines import MEGABYTE, write_lines
from bench.memory import ENGINE, LINES_PER_MB
from bench.rig import Rig

LOOK_SECONDS = 0.005


class Upload(NamedTuple):
    """Seconds to the reply, and to `processed`; and of a durable copy of the same file, made just before."""

    reply: float
    processed: float
    copy: float


def run(home: Path, megabytes: int, runs: int) -> None:
    """Print the table."""
    report.note(f"speed: {megabytes} MB, {runs} times")
    size, found = measure(home, megabytes * LINES_PER_MB, runs)
    copies = [each.copy for each in found]
    rows = [
        _row("reply to the upload", [each.reply for each in found], copies, size),
        _row("upload to `processed`", [each.processed for each in found], copies, size),
        _row("floor: a copy (cat, then sync)", copies, copies, size),
    ]
    report.say(f"### Upload of {megabytes} MB, {megabytes * LINES_PER_MB:,} lines")
    report.say(report.table((f"{runs} uploads", "x cat", "median, s", "least, s", "most, s", "MB/s"), rows))
    report.say("Workers are warm in all but the first upload, which is left out. Seconds are of the clock.")


def _row(name: str, seconds: list[float], copies: list[float], size: int) -> tuple[str, ...]:
    times = median(each / copy for each, copy in zip(seconds, copies, strict=True))
    spread = (f"{each:.2f}" for each in (median(seconds), min(seconds), max(seconds)))
    return name, f"{times:.2f}", *spread, f"{size / MEGABYTE / median(seconds):.0f}"


def measure(home: Path, lines: int, runs: int) -> tuple[int, list[Upload]]:
    """Upload a file again and again; return its bytes and what each upload took."""
    home.mkdir(parents=True, exist_ok=True)
    source = home / "input.jsonl"
    size = write_lines(source, lines)
    with Rig(home / "rig", ENGINE, watched=False) as rig:
        return size, list(_uploads(rig, source, runs))


def _uploads(rig: Rig, source: Path, runs: int) -> Iterator[Upload]:
    client = rig.client()
    for number in range(runs + 1):
        copy = _copied(source, source.with_suffix(".copy"))
        began = time.monotonic()
        file_id = client.upload(source)
        replied = time.monotonic() - began
        while client.call("GET", f"/files/{file_id}")["status"] != "processed":
            time.sleep(LOOK_SECONDS)
        processed = time.monotonic() - began
        client.call("DELETE", f"/files/{file_id}")
        if number:
            yield Upload(replied, processed, copy)


def _copied(source: Path, beside: Path) -> float:
    began = time.monotonic()
    with source.open("rb", buffering=0) as file, beside.open("wb", buffering=0) as copy:
        while block := file.read(BLOCK):
            copy.write(block)
        os.fsync(copy.fileno())
    took = time.monotonic() - began
    beside.unlink()
    return took
