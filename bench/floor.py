"""What any program must pay for a file of lines, on this machine and in this run: the unit of every other figure.

Each is CPU seconds of one core in this process. A file of more than `MOST` lines is read up to there, and what a line
of it takes is taken for all: a floor is a figure of a line, not of a file.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bench import processes
from bench.client import get, load
from bench.probe import ControlServer

MOST = 200_000  # lines
LEAST = 0.001  # seconds: where the clock goes by ticks a few lines take none
BLOCK = 2**20  # bytes that are read and written at once


class Floor(NamedTuple):
    """Seconds of CPU for all lines of the files: to read and write each with two JSON libraries; to copy, to hash."""

    json: float
    orjson: float
    cat: float
    sha256: float

    def plus(self, other: Floor) -> Floor:
        """Return what both together take."""
        return Floor(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def mean(self, other: Floor) -> Floor:
        """Return the mean of two readings of the same."""
        return Floor(*((mine + theirs) / 2 for mine, theirs in zip(self, other, strict=True)))


def of_file(path: Path, lines: int, beside: Path) -> Floor:
    """Return the floor of a file that has so many lines; `beside` is written for a moment."""
    share = max(lines / MOST, 1.0)
    size = _size(path, min(lines, MOST))
    with beside.open("wb", buffering=0) as copy:
        blocks = [_through(_blocks(path, size), work) for work in (copy.write, _digest)]
    beside.unlink()
    library, fast = (_through(_lines(path), work) for work in (_json, _orjson))
    return Floor(*(each * share for each in (library, fast, *blocks)))


class Empty(NamedTuple):
    """An aiohttp server that does nothing: seconds of CPU for one answer, and bytes of memory."""

    answer: float
    memory: int


def empty_server(seconds: float = 2.0) -> Empty:
    """Ask a server that does nothing for some seconds, and return what that took it."""
    server = ControlServer()
    try:
        load(server.port, [get("/healthz")], 1, seconds / 4)  # warm
        before = processes.cpu_seconds([server.pid])
        answers = load(server.port, [get("/healthz")], 1, seconds)
        took = max(processes.cpu_seconds([server.pid]) - before, LEAST)
        return Empty(took / len(answers.seconds), processes.pss(server.pid))
    finally:
        server.stop()


def _size(path: Path, lines: int) -> int:
    with path.open("rb", buffering=BLOCK) as file:
        return sum(map(len, islice(file, lines)))


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=BLOCK) as file:
        yield from islice(file, MOST)


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while size > 0 and (block := file.read(min(BLOCK, size))):
            size -= len(block)
            yield block


def _through(pieces: Iterator[bytes], work: Callable[[bytes], Any]) -> float:
    began = time.process_time()
    for piece in pieces:
        work(piece)
    return max(time.process_time() - began, LEAST)


def _json(line: bytes) -> bytes:
    return json.dumps(json.loads(line)).encode()


def _orjson(line: bytes) -> bytes:
    return orjson.dumps(orjson.loads(line))


def _digest(block: bytes) -> bytes:
    return hashlib.sha256(block).digest()
