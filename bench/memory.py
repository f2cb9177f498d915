"""Memory and event loop of the whole way of a file in many jobs, in one large document, and of many uploads at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench import floor, report
from bench.client import Client, Unexpected
from bench.floor import Floor
from bench.lines import LINE_BYTES, MEGABYTE, write_lines
from bench.rig import JOB_SECONDS, SETTLE_SECONDS, Rig, Seen, default_workers

LINES_PER_MB = 1000
ENGINE = {"poll_seconds_first": 0.5, "poll_seconds_max": 1.0}
SANDBOX_WORKS, SANDBOX_WRITES = "(sandbox answers)", "(sandbox writes)"
ENDED = {"completed", "ended"}  # jobs of the stand-ins whose results are there


def run_parts(home: Path, megabytes: int, parts: int) -> None:
    """Print the table of one file that is cut into many native jobs, all of which may be on their way at once."""
    report.note(f"parts: {megabytes} MB in {parts}")
    lines = megabytes * LINES_PER_MB
    gone = whole_way(home, lines, lane={"max_lines_per_job": lines // parts})
    report.say(report.phases(f"{megabytes} MB in {parts} native jobs", gone.seen, default_workers(), gone.floor))


def run_envelope(home: Path, lines: int, megabytes: int) -> None:
    """Print the table of one file that becomes one JSON document of about `megabytes` in one native job."""
    report.note(f"envelope: {lines:,} lines, {megabytes} MB")
    gone = whole_way(home, lines, provider="anthropic", line_bytes=megabytes * MEGABYTE // lines)
    title = f"{megabytes} MB, {lines:,} lines as one Anthropic job"
    report.say(report.phases(title, gone.seen, default_workers(), gone.floor))


def run_uploads(home: Path, count: int, megabytes: int) -> None:
    """Print the table of many uploads at once."""
    report.note(f"uploads: {count} x {megabytes} MB")
    seen, least = many_uploads(home, count, megabytes * LINES_PER_MB)
    report.say(report.phases(f"{count} uploads of {megabytes} MB at once", seen, default_workers(), least))


class Gone(NamedTuple):
    """What was seen of a file's way. `floor` is of its lines and answers, `drift` how far two readings were apart."""

    seen: list[Seen]
    floor: Floor
    drift: float


def whole_way(
    home: Path,
    lines: int,
    *,
    lane: Mapping[str, object] | None = None,
    provider: str = "openai",
    line_bytes: int = LINE_BYTES,
    settle: float = SETTLE_SECONDS,
    first: Callable[[Rig], None] | None = None,
) -> Gone:
    """Take one file from upload to the downloaded output and return what was seen of each phase.

    `lane` are options of the virtual key. `first` is done between the idle phase and the upload.
    """
    home.mkdir(parents=True, exist_ok=True)
    source, beside = home / "input.jsonl", home / "beside"
    size = write_lines(source, lines, provider=provider, line_bytes=line_bytes)
    limits = {"max_file_bytes": max(2 * size, 2**30)}
    try:
        before = floor.of_file(source, lines, beside)
        with Rig(home / "rig", ENGINE, lane or {}, provider, limits=limits) as rig:
            rig.settle(settle)
            if first is not None:
                first(rig)
            way = Way(rig, source, size, lines)
            way.go()
            seen = rig.finish()
            after, answered = (floor.of_file(path, lines, beside) for path in (source, way.answers))
        drift = abs(after.json - before.json) / min(after.json, before.json)
        return Gone(seen, before.mean(after).plus(answered), drift)
    finally:
        source.unlink()


@dataclass(slots=True)
class Way:
    """The way of one file. The sandbox's jobs end when its clock is moved, so its own work is in phases of its own."""

    rig: Rig
    source: Path
    size: int
    lines: int
    client: Client = field(init=False)
    output: str = ""  # the id of the output file, once there is one
    _before: frozenset[str] = frozenset()  # jobs of other files
    _accepted: Accepted = field(init=False)

    def go(self) -> None:
        self.client = self.rig.client()
        self._before = frozenset(job["id"] for job in self.rig.sandbox.control.jobs())
        self._accepted = Accepted(self.rig.gateway.log, self.rig.gateway.log.stat().st_size)
        file_id = self._store()
        batch_id = self._submit(file_id)
        self._answer()
        batch = self._collect(batch_id)
        self.output = output = str(batch["output_file_id"])
        size = int(str(self.client.call("GET", f"/files/{output}")["bytes"]))
        with self.rig.phase("download", size):
            received = self.client.download(output)
        if (received.bytes, received.lines) != (size, self.lines):
            raise Unexpected(f"{received} of {size} bytes and {self.lines} lines")

    @property
    def answers(self) -> Path:
        """The gateway's own output file."""
        (found,) = (self.rig.gateway.data / "files").glob(f"*/{self.output}")
        return found

    def _store(self) -> str:
        with self.rig.phase("upload", self.size):
            file_id = self.client.upload(self.source)
        with self.rig.phase("scan", self.size):
            self.rig.until(lambda: self.client.call("GET", f"/files/{file_id}")["status"] == "processed")
        return file_id

    def _submit(self, file_id: str) -> str:
        """Create the batch; every one of its lines is in an accepted job when this returns."""
        order = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        with self.rig.phase("create, split", self.size):
            batch_id = str(self.client.call("POST", "/batches", order)["id"])
            self.rig.until(lambda: self._status(batch_id) != "validating")
        with self.rig.phase("submit", self.size):
            self.rig.until(lambda: self._accepted.lines() == self.lines)
        return batch_id

    def _answer(self) -> None:
        with self.rig.phase(SANDBOX_WORKS):
            self.rig.until(lambda: self._states() == {"in_progress"}, every=0.5)
        with self.rig.phase(SANDBOX_WRITES), self.rig.held():
            self.rig.sandbox.control.advance(JOB_SECONDS + 60)
            self.rig.until(lambda: self._states() <= ENDED, every=0.1)

    def _states(self) -> set[str]:
        """Return in which states the file's jobs are."""
        return {job["status"] for job in self.rig.sandbox.control.jobs() if job["id"] not in self._before}

    def _collect(self, batch_id: str) -> dict[str, object]:
        with self.rig.phase("collect", self.size):
            self.rig.until(lambda: self._status(batch_id) != "in_progress")
        with self.rig.phase("merge", self.size):
            self.rig.until(lambda: self._status(batch_id) == "completed")
        batch = self.client.call("GET", f"/batches/{batch_id}")
        if batch["request_counts"] != {"total": self.lines, "completed": self.lines, "failed": 0}:
            raise Unexpected(f"request_counts {batch['request_counts']} of {self.lines} lines")
        return batch

    def _status(self, batch_id: str) -> str:
        status = str(self.client.call("GET", f"/batches/{batch_id}")["status"])
        if status in {"failed", "expired", "cancelled"}:
            raise Unexpected(f"the batch is {status}")
        return status


class Accepted:
    """Reads the gateway's log on and on, from a byte of it: which jobs the provider has accepted."""

    def __init__(self, log: Path, at: int = 0) -> None:
        self._log, self._at = log, at
        self._lines = self._jobs = 0

    def lines(self) -> int:
        """Return how many lines are in accepted jobs by now."""
        self._read()
        return self._lines

    def jobs(self) -> int:
        """Return how many jobs have been accepted by now."""
        self._read()
        return self._jobs

    def _read(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._at)
            for line in log:
                if not line.endswith(b"\n"):  # still being written
                    break
                self._at += len(line)
                if b'"part_accepted"' in line:
                    self._lines += json.loads(line)["lines"]
                    self._jobs += 1


def many_uploads(home: Path, count: int, lines: int, settle: float = SETTLE_SECONDS) -> tuple[list[Seen], Floor]:
    """Upload one file `count` times at once, wait for the scans, and return what was seen, and the floor of it all."""
    home.mkdir(parents=True, exist_ok=True)
    source = home / "input.jsonl"
    size = write_lines(source, lines) * count
    try:
        least = Floor(*(each * count for each in floor.of_file(source, lines, home / "beside")))
        with Rig(home / "rig", ENGINE) as rig, ThreadPoolExecutor(count) as threads:
            rig.settle(settle)
            clients = [rig.client() for _ in range(count)]
            with rig.phase(f"{count} uploads", size):
                files = list(threads.map(lambda client: client.upload(source), clients))
            with rig.phase(f"{count} scans", size):
                for file_id in files:
                    _until_processed(rig, clients[0], file_id)
            return rig.finish(), least
    finally:
        source.unlink()


def _until_processed(rig: Rig, client: Client, file_id: str) -> None:
    rig.until(lambda: client.call("GET", f"/files/{file_id}")["status"] == "processed")
