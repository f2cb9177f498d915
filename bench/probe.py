"""Watches a gateway from outside, in processes of its own.

    python -m bench.probe gaps PORT FILE      the event loop: GET /healthz every 10 ms over one kept connection
    python -m bench.probe memory PID FILE     PSS of the process and all its descendants, every 50 ms
    python -m bench.probe server              the control: an aiohttp server with one handler; prints its port

A handler that does nothing answers as soon as the loop comes round, so the largest round trip is the largest gap, up
to the 10 ms between two probes, plus what the machine adds: the answer of the server and the wake-up of the prober both
wait for a core. The same probe of the control server, at the same time, shows how much that is. The probers run at a
higher priority where that is allowed; they end with SIGTERM or with the process that started them, and write FILE then.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from bench import processes
from bench.client import connect, exchange, get

GAP_SECONDS = 0.01
MEMORY_SECONDS = 0.05
PRIORITY = -10
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look, from `at` to `end`: seconds of `time.monotonic`, which is the same clock in every process.

    Gaps: how long the answer took, and how late the prober itself was, in seconds. Memory: bytes of the whole tree, and
    those of its root alone.
    """

    at: float
    end: float
    value: float
    more: float


@dataclass(frozen=True, slots=True)
class Series:
    """What one watch has seen, in order."""

    samples: tuple[Sample, ...]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what a prober wrote."""
        values = array("d")
        values.frombytes(file.read_bytes())
        numbers = iter(values)
        return cls(tuple(Sample(*each) for each in zip(numbers, numbers, numbers, numbers, strict=True)))

    def during(self, start: float, end: float) -> list[Sample]:
        """Return the samples of a phase between two moments of `time.monotonic`: those that touch it.

        Round trips reach into the phase from before; a phase shorter than the pause between samples has the nearest.
        Raises ValueError for a series without any sample.
        """
        found = [each for each in self.samples if each.at <= end and each.end >= start]
        return found or [min(self.samples, key=lambda each: abs(each.at - start))]

    def without(self, spans: Iterable[tuple[float, float]]) -> Series:
        """Return the series without what touches any of these spans of time."""
        left = self.samples
        for start, end in spans:
            left = tuple(each for each in left if each.at > end or each.end < start)
        return Series(left)


def largest(samples: list[Sample]) -> float:
    """Return the largest value. Raises ValueError if there is none: nothing was measured."""
    return max(each.value for each in samples)


class Watch:
    """One prober process, from its start to `stop`."""

    def __init__(self, what: str, target: int, file: Path) -> None:
        self._file = file
        self._process = _spawn(what, str(target), str(file))

    @property
    def pid(self) -> int:
        """The prober's process id."""
        return self._process.pid

    def stop(self) -> Series:
        """End the prober and return all it has seen."""
        self._process.terminate()
        self._process.wait(30)
        return Series.read(self._file)

    def close(self) -> None:
        """End the prober if it still runs."""
        self._process.kill()
        self._process.wait(30)


class ControlServer:
    """A server that does nothing, for the comparison."""

    def __init__(self) -> None:
        self._process = _spawn("server")
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()


def _spawn(*arguments: str) -> subprocess.Popen[bytes]:
    output = subprocess.PIPE if arguments == ("server",) else None
    return subprocess.Popen([sys.executable, "-m", "bench.probe", *arguments], stdout=output, cwd=ROOT)


# ---- in the prober ----


def watch_gaps(port: int, record: array[float], going: Callable[[], bool]) -> None:
    """Probe until the server is gone; an answer that is still missing at the end is recorded as far as it went."""
    ask, due, sent = get("/healthz"), time.monotonic(), 0.0
    with connect(port) as sock:
        try:
            while going():
                sent = time.monotonic()
                exchange(sock, ask)
                now = time.monotonic()
                record.extend((sent, now, now - sent, sent - due))
                due, sent = max(due + GAP_SECONDS, now), 0.0
                time.sleep(max(0.0, due - time.monotonic()))
        finally:
            if sent:
                now = time.monotonic()
                record.extend((sent, now, now - sent, sent - due))


def watch_memory(pid: int, record: array[float], going: Callable[[], bool]) -> None:
    """Sample until the tree is gone."""
    due = time.monotonic()
    while going():
        at, family = time.monotonic(), processes.tree(pid)
        sizes = [processes.pss(each) for each in family]
        if not sizes[0]:
            return
        now = time.monotonic()
        record.extend((at, now, sum(sizes), sizes[0]))
        due = max(due + MEMORY_SECONDS, now)
        time.sleep(max(0.0, due - time.monotonic()))


def _until_orphaned() -> Callable[[], bool]:
    parent = os.getppid()
    return lambda: os.getppid() == parent


def _write(watch: Callable[[int, array[float], Callable[[], bool]], None], target: int, file: Path) -> None:
    def leave(number: int, frame: object) -> NoReturn:  # noqa: ARG001
        raise SystemExit(0)

    record = array("d")
    signal.signal(signal.SIGTERM, leave)
    with suppress(OSError):
        os.nice(PRIORITY)
    gc.disable()
    try:
        with suppress(ConnectionError):
            watch(target, record, _until_orphaned())
    finally:
        file.write_bytes(record.tobytes())


async def _serve() -> None:
    from aiohttp import web  # noqa: PLC0415 - the probers are to stay small

    async def healthz(request: web.Request) -> web.Response:  # noqa: ARG001
        return web.json_response({"status": "ok"})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site.port, flush=True)
    going = _until_orphaned()
    while going():  # noqa: ASYNC110 - nobody tells an orphan
        await asyncio.sleep(1)


def main(arguments: list[str]) -> None:
    """Run what the module's docstring shows."""
    if arguments == ["server"]:
        asyncio.run(_serve())
    else:
        what, target, file = arguments
        _write({"gaps": watch_gaps, "memory": watch_memory}[what], int(target), Path(file))


if __name__ == "__main__":
    main(sys.argv[1:])
