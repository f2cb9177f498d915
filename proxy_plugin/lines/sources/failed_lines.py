"""Copy the lines of a batch that failed, or that are named, into a file of their own (worker process).

Of the records of the ledger that count there is one for every line of the source, in the same order, so both are read
side by side: a block of the ledger, then the source from the first to the last line wanted of that block. Lines that
were refused alone would be refused again: they are left out, unless they are named by number. Of lines that were
refused together it is told where they stand in the new file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from proxy_plugin.answers.keys import NO_KEY, REPEATS, KeyFile
from proxy_plugin.ground.durable import FileFacts, HashedFile
from proxy_plugin.ground.failpoints import passing
from proxy_plugin.ground.unbroken import unbroken
from proxy_plugin.lines.line_index import LineIndex
from proxy_plugin.lines.verdicts import SUCCEEDED

_NAMED = 10  # lines that are named as left out


class FailedLines(msgspec.Struct, frozen=True):
    """`source` with its line `index` is the input of an ended batch, `ledger` what became of it.

    A line that would be longer than `max_line_bytes` with escapes for its breaks is copied without them. `elsewhere`:
    they go to another target, which may take what this one has refused. `numbers` or `outcomes` name the lines, both
    empty: all that failed.
    """

    source: str
    index: str
    ledger: str
    elsewhere: bool = False
    lines_at_once: int = 4096
    max_line_bytes: int = 2**62
    numbers: tuple[int, ...] = ()
    outcomes: tuple[str, ...] = ()


class Measured(msgspec.Struct, frozen=True):
    """How many bytes `copy` would write, and the first lines of the file that it leaves out, by number.

    `unknown` are the first numbers that are named and no line has, `outcomes` those that there are.
    """

    bytes: int
    left_out: tuple[int, ...]
    unknown: tuple[int, ...] = ()
    outcomes: tuple[str, ...] = ()


class Together(msgspec.Struct, frozen=True):
    """Lines of the new file, from ordinal `first` to `last`, that were refused together as `part` of the old batch."""

    part: int
    first: int
    last: int


class Copied(msgspec.Struct, frozen=True):
    """The new file, and which of its lines were refused together. `repeats`: there is a file of them, too."""

    file: FileFacts
    together: tuple[Together, ...]
    repeats: bool = False


class _Told(msgspec.Struct, frozen=True, gc=False):
    outcome: str
    line: int = 0
    part: int | None = None
    refused_together: int | None = None
    counts: bool = True
    repeat: int = 0


class _Line(NamedTuple):
    """A failed line, and the part with which it was refused."""

    ordinal: int
    part: int | None
    alone: bool
    repeat: int


_told = msgspec.json.Decoder(_Told).decode


def measure(failed: FailedLines) -> Measured:
    """Return what `copy` would write, escapes for breaks not counted. Raises like it, but for a full disk."""
    size, left_out, seen = 0, list[int](), _Seen(failed)
    with LineIndex(Path(failed.index)) as index:
        for lines in _blocks(failed, index, seen):
            alone = {line.ordinal: line.alone for line in lines}
            for ordinal, record in enumerate(index.records(lines[0].ordinal, lines[-1].ordinal + 1), lines[0].ordinal):
                if alone.get(ordinal) and len(left_out) < _NAMED:
                    left_out.append(record.number)
                size += record.length + 1 if alone.get(ordinal) is False else 0
    return Measured(size, tuple(left_out), seen.unknown(), tuple(sorted(seen.outcomes)))


def copy(failed: FailedLines, path: str) -> Copied:
    """Write the failed lines in input order, durably into one file; an older one is replaced.

    They are byte for byte those of the source, but for characters at which readers of rows cut a line. What the ledger
    says of equal lines before them goes into a file beside, so that none is given the kept answer of another.

    Raises FileNotFoundError where the source has gone, OSError, and ValueError where the files do not belong together.
    """
    Path(path).unlink(missing_ok=True)  # of a worker that died
    spans, written, repeats = dict[int, tuple[int, int]](), 0, _Repeats(path)
    with LineIndex(Path(failed.index)) as index, HashedFile(Path(path)) as copied:
        for lines in _blocks(failed, index, _Seen(failed)):
            chosen = {line.ordinal: line for line in lines if not line.alone}
            for ordinal, _, line in index.lines(Path(failed.source), lines[0].ordinal, lines[-1].ordinal + 1):
                if ordinal not in chosen:
                    continue
                whole = unbroken(line)
                copied.write_line(whole if len(whole) <= failed.max_line_bytes else line, b"\n")
                if (part := chosen[ordinal].part) is not None:
                    spans[part] = (spans.get(part, (written, 0))[0], written)
                repeats.add(written, chosen[ordinal].repeat)
                written += 1
        facts = copied.finish()
    passing("retry.copied")
    return Copied(facts, tuple(Together(part, *span) for part, span in spans.items()), repeats.finish())


def repeats_of(path: str) -> Path:
    """Return the file beside a copy that says how many equal lines came before each of its lines."""
    return Path(f"{path}.{REPEATS}")


class _Repeats:
    """That file, which is made for the first line that has any."""

    def __init__(self, path: str) -> None:
        self._path = repeats_of(path)
        self._path.unlink(missing_ok=True)
        self._file: KeyFile | None = None

    def add(self, ordinal: int, repeat: int) -> None:
        if repeat:
            self._file = self._file or KeyFile(self._path)
            self._file.add(ordinal, NO_KEY, repeat)

    def finish(self) -> bool:
        if self._file is not None:
            self._file.close()
        return self._file is not None


class _Seen:
    """Which lines are wanted, and what has been met so far."""

    def __init__(self, failed: FailedLines) -> None:
        self._named, self._outcomes = set(failed.numbers), frozenset(failed.outcomes)
        self._by_number, self.outcomes = bool(self._named), set[str]()

    def wants(self, told: _Told) -> bool:
        """Tell whether a line is wanted."""
        self.outcomes.add(told.outcome)
        if self._by_number:
            found = told.line in self._named
            self._named.discard(told.line)
            return found
        return told.outcome in self._outcomes if self._outcomes else told.outcome != SUCCEEDED

    def unknown(self) -> tuple[int, ...]:
        """Return the first numbers that no line had."""
        return tuple(sorted(self._named)[:_NAMED])


def _blocks(failed: FailedLines, index: LineIndex, seen: _Seen) -> Iterator[list[_Line]]:
    """Yield the lines that are wanted, ascending, by blocks of the ledger that have any."""
    first = 0
    with Path(failed.ledger).open("rb") as ledger:
        counting = (record for record in map(_read, ledger) if record.counts)
        while told := list(islice(counting, failed.lines_at_once)):
            lines = [_line(first + n, each, failed) for n, each in enumerate(told) if seen.wants(each)]
            first += len(told)
            if lines:
                yield lines
    if first != len(index):
        raise ValueError(f"the ledger has {first} lines, the file {len(index)}")


def _line(ordinal: int, told: _Told, failed: FailedLines) -> _Line:
    together = 0 if failed.elsewhere else told.refused_together or 0
    return _Line(ordinal, told.part if together > 1 else None, together == 1 and not failed.numbers, told.repeat)


def _read(line: bytes) -> _Told:
    try:
        return _told(line)
    except msgspec.DecodeError:  # an id with half a surrogate pair, which only the standard library takes
        return msgspec.convert(json.loads(line), _Told)
