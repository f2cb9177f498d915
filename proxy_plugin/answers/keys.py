"""Under which key an answer is kept: a hash over all that decides it, and over how often it was asked for before.

Equal lines of one file are asked for several answers, so each of them has a key of its own: the first occurrence, the
second, and so on. The same file again has the same keys, whatever order its other lines are in.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from proxy_plugin.ground.durable import sync_file, write_all

KEY_BYTES = 16
KEYS = "keys"  # the name of a file of them
_NOTHING = bytes(KEY_BYTES)
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

    def next(self, digest: bytes) -> int:
        """Return how often the digest has come before."""
        mark = int.from_bytes(digest[:8], "little") or 1  # 0 is an empty slot
        at = self._slot(mark)
        count = self._counts[at]
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
    """The keys of the lines that are asked for, 16 bytes a line by ordinal; zeros where an answer is not kept.

    Many zeros take no room on the disk.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._waiting, self._next = path, bytearray(), 0

    def add(self, ordinal: int, key: bytes) -> None:
        """Note the key of a line; ordinals ascend."""
        gap = ordinal - self._next
        if gap > _GAP:
            self._write()
        else:
            self._waiting += _NOTHING * gap
        self._waiting += key
        self._next = ordinal + 1
        if len(self._waiting) >= _WAITING_BYTES:
            self._write()

    def close(self) -> None:
        """Return when the content is durable. The folder is still to be synced."""
        self._write()
        sync_file(self._path)

    def _write(self) -> None:
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb", 0) as file:
            file.seek(self._next * KEY_BYTES - len(self._waiting))
            write_all(file.fileno(), self._waiting)
        self._waiting = bytearray()


class KeyReader:
    """Reads what a `KeyFile` wrote."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def key(self, ordinal: int) -> bytes | None:
        """Return the key of a line, None where its answer is not kept."""
        key = os.pread(self._descriptor, KEY_BYTES, ordinal * KEY_BYTES)
        return key if len(key) == KEY_BYTES and key != _NOTHING else None

    def __enter__(self) -> KeyReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._descriptor)
