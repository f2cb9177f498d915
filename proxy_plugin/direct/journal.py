"""What is left of a key's pace when its process ends, however it ends: a minute is one across tasks and restarts.

A note is 17 bytes, written before the call that it is about and never synced: a kill loses nothing of what the kernel
has, and after a power cut the minute is over.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_NOTE = struct.Struct("<Bdd")
_KINDS = ("call", "hold", "at_once")
_LONGEST = 4096 * _NOTE.size  # from which on the file is begun anew with what still counts
OLD = 86_400.0  # seconds
KEPT_SECONDS = 3600.0  # of a pause; calls count for a minute


class Journal:
    """The notes of one key. Times are given and returned in the clock of `monotonic`, and kept in that of `wall`."""

    def __init__(self, path: Path, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._path, self._ahead = path, wall() - monotonic()
        self._now = wall()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = -1

    def notes(self) -> Iterator[tuple[str, float, float]]:
        """Yield what was noted, oldest first; what a clock that was put back makes a thing to come is of now."""
        found = self._path.read_bytes() if self._path.exists() else b""
        for kind, at, value in _NOTE.iter_unpack(found[: len(found) // _NOTE.size * _NOTE.size]):
            if kind >= len(_KINDS):
                continue
            name = _KINDS[kind]
            latest = self._now + (KEPT_SECONDS if name == "hold" else 0.0)
            yield name, min(at, latest) - self._ahead, value

    def open(self) -> None:
        """Begin to note; a long file is begun anew with its end, which has what counts. Old files of others go."""
        for each in self._path.parent.glob("*.pace"):
            with suppress(OSError):
                if each.stat().st_mtime < self._now - OLD:
                    each.unlink()
        if self._path.exists() and self._path.stat().st_size > _LONGEST:
            kept = self._path.read_bytes()
            beside = self._path.with_name(self._path.name + ".new")
            beside.write_bytes(self._of_last_minute(kept))
            beside.replace(self._path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)

    def _of_last_minute(self, kept: bytes) -> bytes:
        notes = list(_NOTE.iter_unpack(kept[: len(kept) // _NOTE.size * _NOTE.size]))
        shares = [note for note in notes if note[0] == 2][-1:]
        recent = [note for note in notes if note[0] < 2 and note[1] > self._now - 2 * 60]
        return b"".join(_NOTE.pack(*note) for note in (*shares, *recent))

    def note(self, kind: str, at: float, value: float) -> None:
        """Write a note."""
        os.write(self._descriptor, _NOTE.pack(_KINDS.index(kind), at + self._ahead, value))

    def close(self) -> None:
        """Note nothing more."""
        os.close(self._descriptor)
