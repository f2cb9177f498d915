"""Copy the lines of a batch that failed into a file of their own (worker process).

The ledger has one line for every line of the source, in the same order, so both are read side by side: a block of the
ledger, then the source from the first to the last failed line of that block.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from proxy_plugin.ground.durable import FileFacts, HashedFile
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.unbroken import unbroken
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.verdicts import SUCCEEDED


class FailedLines(msgspec.Struct, frozen=True):
    """`source` with its line `index` is the input of an ended batch, `ledger` what became of it.

    A line that would be longer than `max_line_bytes` with escapes for its breaks is copied without them.
    """

    source: str
    index: str
    ledger: str
    lines_at_once: int = 4096
    max_line_bytes: int = 2**62


class _Told(msgspec.Struct, frozen=True, gc=False):
    outcome: str


_told = msgspec.json.Decoder(_Told).decode


def measure(failed: FailedLines) -> int:
    """Return how many bytes `copy` would write, escapes for breaks not counted. Raises like it, but for a full disk."""
    size = 0
    with LineIndex(Path(failed.index)) as index:
        for ordinals in _blocks(failed, index):
            chosen = set(ordinals)
            records = enumerate(index.records(ordinals[0], ordinals[-1] + 1), ordinals[0])
            size += sum(record.length + 1 for ordinal, record in records if ordinal in chosen)
    return size


def copy(failed: FailedLines, path: str) -> FileFacts:
    """Write the failed lines in input order, durably into one file; an older one is replaced.

    They are byte for byte those of the source, but for characters at which readers of rows cut a line.

    Raises FileNotFoundError where the source has gone, OSError, and ValueError where the files do not belong together.
    """
    Path(path).unlink(missing_ok=True)  # of a worker that died
    with LineIndex(Path(failed.index)) as index, HashedFile(Path(path)) as copied:
        for ordinals in _blocks(failed, index):
            chosen = set(ordinals)
            for ordinal, _, line in index.lines(Path(failed.source), ordinals[0], ordinals[-1] + 1):
                if ordinal in chosen:
                    whole = unbroken(line)
                    copied.write_line(whole if len(whole) <= failed.max_line_bytes else line, b"\n")
        facts = copied.finish()
    passing("retry.copied")
    return facts


def _blocks(failed: FailedLines, index: LineIndex) -> Iterator[list[int]]:
    """Yield the ordinals of failed lines, ascending, by blocks of the ledger that have any."""
    first = 0
    with Path(failed.ledger).open("rb") as ledger:
        while outcomes := _outcomes(ledger, failed.lines_at_once):
            ordinals = [first + n for n, outcome in enumerate(outcomes) if outcome != SUCCEEDED]
            first += len(outcomes)
            if ordinals:
                yield ordinals
    if first != len(index):
        raise ValueError(f"the ledger has {first} lines, the file {len(index)}")


def _outcomes(ledger: BinaryIO, count: int) -> list[str]:
    return [_outcome(line) for line in islice(ledger, count)]


def _outcome(line: bytes) -> str:
    try:
        return _told(line).outcome
    except msgspec.DecodeError:  # an id with half a surrogate pair, which only the standard library takes
        return msgspec.convert(json.loads(line), _Told).outcome
