"""Under which key an answer is kept: a hash over all that decides it, and over how often it was asked for before.

Equal lines of one file are asked for several answers, so each of them has a key of its own: the first occurrence, the
second, and so on. The same file again has the same keys, whatever order its other lines are in.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from proxy_plugin.ground.durable import sync_file, write_all

KEY_BYTES = 16
KEYS, REPEATS = "keys", "repeats"  # names of files of them: of a split, and of a batch whose lines are of another one
_REPEAT_BYTES = 4
RECORD_BYTES = KEY_BYTES + _REPEAT_BYTES
NO_KEY, _NOTHING = bytes(KEY_BYTES), bytes(RECORD_BYTES)
_VERSION = "1"  # of what goes into a key
_GAP, _WAITING_BYTES = 1024, 64 * 1024  # lines that are left out; bytes


def digest_of(facts: Iterable[str], records: Iterable[bytes]) -> bytes:
    """Return the hash of what decides an answer: facts of where a line goes, native records without their ids."""
    found = hashlib.blake2b(digest_size=KEY_BYTES)
    for piece in (_VERSION, *facts):
        _add(found, piece.encode("utf-8", "surrogatepass"))
    for record in records:
        _add(found, record)
    return found.digest()


def _add(found: hashlib.blake2b, piece: bytes) -> None:
    found.update(len(piece).to_bytes(8, "little"))
    found.update(piece)


def key_of(digest: bytes, occurrence: int) -> bytes:
    """Return the key of one of several equal lines, from 0."""
    return hashlib.blake2b(digest + occurrence.to_bytes(8, "little"), digest_size=KEY_BYTES).digest()


class Occurrences:
    """Counts how often each digest has come: 12 bytes a slot and at most two thirds of them used, so 5 million
    different lines take 200 MB while it grows for the last time, and 100,000 take 3 MB.

    A digest is known by its first 8 bytes. Two that share them are counted together, which leads to other keys and so
    to a miss, never to another answer.
    """

    def __init__(self, slots: int = 1024) -> None:
        self._used = 0
        self._marks, self._counts = _slots(slots)

    def next(self, digest: bytes, least: int = 0) -> int:
        """Return how often the digest has come before; `least`: as far as was counted in another file."""
        mark = int.from_bytes(digest[:8], "little") or 1  # 0 is an empty slot
        at = self._slot(mark)
        count = max(self._counts[at], least)
        self._counts[at] = count + 1
        if not self._marks[at]:
            self._marks[at] = mark
            self._used += 1
            if self._used * 3 > len(self._marks) * 2:
                self._grow()
        return count

    def _slot(self, mark: int) -> int:
        marks, last = self._marks, len(self._marks) - 1
        at = mark & last
        while marks[at] not in (0, mark):
            at = (at + 1) & last
        return at

    def _grow(self) -> None:
        marks, counts = self._marks, self._counts
        self._marks, self._counts = _slots(2 * len(marks))
        for mark, count in zip(marks, counts, strict=True):
            if mark:
                at = self._slot(mark)
                self._marks[at], self._counts[at] = mark, count


def _slots(count: int) -> tuple[array[int], array[int]]:
    return array("Q", bytes(8 * count)), array("I", bytes(4 * count))


class KeyFile:
    """The key of each line, 16 bytes, and how many equal lines came before it, u32 little-endian, by ordinal.

    The key is zero where an answer is not to be kept. Many zeros take no room on the disk.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._waiting, self._next = path, bytearray(), 0

    def add(self, ordinal: int, key: bytes, repeat: int = 0) -> None:
        """Note a line; ordinals ascend."""
        gap = ordinal - self._next
        if gap > _GAP:
            self._write()
        else:
            self._waiting += _NOTHING * gap
        self._waiting += key + repeat.to_bytes(_REPEAT_BYTES, "little")
        self._next = ordinal + 1
        if len(self._waiting) >= _WAITING_BYTES:
            self._write()

    def close(self) -> None:
        """Return when the content is durable. The folder is still to be synced."""
        self._write()
        sync_file(self._path)

    def _write(self) -> None:
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb", 0) as file:
            file.seek(self._next * RECORD_BYTES - len(self._waiting))
            write_all(file.fileno(), self._waiting)
        self._waiting = bytearray()


class KeyReader:
    """Reads what a `KeyFile` wrote; without a path, or where there is no file, nothing."""

    def __init__(self, path: str | None) -> None:
        self._descriptor: int | None = None
        with suppress(FileNotFoundError):
            self._descriptor = None if path is None else os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def key(self, ordinal: int) -> bytes | None:
        """Return the key of a line, None where its answer is not kept."""
        key = self._record(ordinal)[:KEY_BYTES]
        return None if key == NO_KEY else key

    def repeat(self, ordinal: int) -> int:
        """Return how many equal lines came before a line."""
        return int.from_bytes(self._record(ordinal)[KEY_BYTES:], "little")

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> KeyReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _record(self, ordinal: int) -> bytes:
        if self._descriptor is None:
            return _NOTHING
        record = os.pread(self._descriptor, RECORD_BYTES, ordinal * RECORD_BYTES)
        return record if len(record) == RECORD_BYTES else _NOTHING
