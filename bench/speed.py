"""How fast a file is taken in: until the reply, and until every line of it has been scanned."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench import report
from bench.lines import MEGABYTE, write_lines
from bench.memory import ENGINE, LINES_PER_MB
from bench.rig import Rig

LOOK_SECONDS = 0.005


def run(home: Path, megabytes: int, runs: int) -> None:
    """Print the table."""
    report.note(f"speed: {megabytes} MB, {runs} times")
    size, found = measure(home, megabytes * LINES_PER_MB, runs)
    rows = [
        _row("reply to the upload", [reply for reply, _ in found], size),
        _row("upload to `processed`", [processed for _, processed in found], size),
    ]
    report.say(f"### Upload of {megabytes} MB, {megabytes * LINES_PER_MB:,} lines")
    report.say(report.table((f"{runs} uploads", "median, s", "least, s", "most, s", "MB/s"), rows))
    report.say("Workers are warm in all but the first upload, which is left out.")


def _row(name: str, seconds: list[float], size: int) -> tuple[str, ...]:
    middle = median(seconds)
    return name, f"{middle:.2f}", f"{min(seconds):.2f}", f"{max(seconds):.2f}", f"{size / MEGABYTE / middle:.0f}"


def measure(home: Path, lines: int, runs: int) -> tuple[int, list[tuple[float, float]]]:
    """Upload a file again and again; return its bytes and the seconds to the reply and to `processed`."""
    home.mkdir(parents=True, exist_ok=True)
    source = home / "input.jsonl"
    size = write_lines(source, lines)
    with Rig(home / "rig", ENGINE, watched=False) as rig:
        return size, list(_uploads(rig, source, runs))


def _uploads(rig: Rig, source: Path, runs: int) -> Iterator[tuple[float, float]]:
    client = rig.client()
    for number in range(runs + 1):
        began = time.monotonic()
        file_id = client.upload(source)
        replied = time.monotonic() - began
        while client.call("GET", f"/files/{file_id}")["status"] != "processed":
            time.sleep(LOOK_SECONDS)
        processed = time.monotonic() - began
        client.call("DELETE", f"/files/{file_id}")
        if number:
            yield replied, processed
