"""Answers on disk: a `diskcache.Cache` that holds bytes alone, bounded by size and age.

diskcache unpickles by default what it finds on the disk, so whoever can write there runs code here (CVE-2025-69872, no
fixed version of 5.6.3: https://github.com/grantjenks/python-diskcache/issues/357, 2026-02-12). Here nothing is ever
pickled or unpickled, no file is named by an entry, and the folder is its user's alone.

A cache that does not work is none: an entry that is damaged or foreign is removed and a miss, a database that is, is
made anew; one that is busy, or whose disk is full, is left alone by this work. Nothing here is durable: what a kill or
a power cut takes is a miss.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from diskcache import UNKNOWN, Cache, Disk, Timeout

from proxy_plugin.answers.shelf import Shelf
from proxy_plugin.answers.values import Answer, packed, unpacked

T = TypeVar("T")
FOLDER = "answers"  # below the folder of the settings, which may hold a lock beside it
_RAW = 1  # diskcache's MODE_RAW: the value stands in the database
_BUSY_SECONDS = 5.0
_AT_ONCE, _BYTES_AT_ONCE = 256, 4 * 2**20  # answers that share a transaction
_DAMAGED = {1, 11, 20, 24, 26}  # SQLITE_ERROR (other tables), _CORRUPT, _MISMATCH, _FORMAT, _NOTADB
_SETTINGS = {
    "eviction_policy": "least-recently-stored",  # of which a look writes nothing
    "statistics": 0,
    "tag_index": 0,
    "sqlite_mmap_size": 0,
    "sqlite_cache_size": 512,  # pages of 4 KiB
}


class BytesDisk(Disk):  # type: ignore[misc]
    """Keys and values are bytes within the database; whatever else is found is no bytes at all."""

    def put(self, key: bytes) -> tuple[memoryview, bool]:
        """Return a key as it stands in the database."""
        return memoryview(_bytes(key)), True

    def get(self, key: Any, raw: Any) -> bytes:  # noqa: ARG002 - a key that is not raw would be a pickle
        """Return a key of the database."""
        return key if isinstance(key, bytes) else b""

    def store(self, value: bytes, read: bool, key: Any = UNKNOWN) -> tuple[int, int, None, memoryview]:  # noqa: ARG002
        """Return (size of a file, mode, its name, value): there is no file."""
        return 0, _RAW, None, memoryview(_bytes(value))

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:  # noqa: ARG002
        """Return a value of the database; nothing for one in a file, and for a pickle."""
        return value if mode == _RAW and filename is None and isinstance(value, bytes) else b""

    def remove(self, file_path: str) -> None:
        """Remove nothing: a file that an entry names is not ours."""


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("answers and their keys are bytes")
    return value


class KeptAnswers:
    """The answers of one shelf, for one work of a worker. Nothing of it raises."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self._folder = shelf, Path(shelf.folder, FOLDER)
        self._cache: Cache | None = None
        self._waiting: dict[bytes, bytes] = {}
        self._bytes, self._off = 0, not shelf.max_bytes

    def get(self, key: bytes) -> Answer | None:
        """Return the answer that is kept under a key."""
        if self._cache is None and not self._folder.exists():
            return None
        value = self._tried(lambda cache: cache.get(key))
        if value is None:
            return None
        answer = unpacked(key, value)
        if answer is None:
            self._tried(lambda cache: cache.delete(key))
        return answer

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer, in the place of an older one, by the time of `close`."""
        if self._off or len(answer.text) > min(self._shelf.max_answer_bytes, self._shelf.max_bytes // 4):
            return
        value = packed(key, answer)
        self._waiting[key] = value
        self._bytes += len(value)
        if len(self._waiting) >= _AT_ONCE or self._bytes >= _BYTES_AT_ONCE:
            self._write()

    def close(self) -> None:
        """Write what waits, and close the database."""
        if self._waiting:
            self._write()
        if self._cache is not None:
            self._tried(lambda cache: cache.close())
        self._cache = None

    def __enter__(self) -> KeptAnswers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _write(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        if not self._off and self._has_room():
            self._tried(lambda cache: _written(cache, waiting, self._shelf.max_age))

    def _has_room(self) -> bool:
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return shutil.disk_usage(self._folder).free > self._shelf.reserve + 2 * _BYTES_AT_ONCE
        return False

    def _tried(self, work: Callable[[Cache], T]) -> T | None:
        """Return what the work does; None where the database cannot do it, which is then not asked again, or made
        anew where it is damaged or not ours."""
        if self._off:
            return None
        try:
            return work(self._opened())
        except Exception as error:  # noqa: BLE001 - whatever a foreign database makes of the library
            self._off = True
            self._close_quietly()
            if _is_damaged(error):
                shutil.rmtree(self._folder, ignore_errors=True)
        return None

    def _opened(self) -> Cache:
        if self._cache is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self._folder.parent, self._folder):
                folder.chmod(0o700)
            settings = _SETTINGS | {"size_limit": self._shelf.max_bytes}
            self._cache = Cache(str(self._folder), timeout=_BUSY_SECONDS, disk=BytesDisk, **settings)
        return self._cache

    def _close_quietly(self) -> None:
        cache, self._cache = self._cache, None
        with suppress(Exception):
            if cache is not None:
                cache.close()


def _is_damaged(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return not isinstance(error, Timeout | OSError) if code is None else code & 0xFF in _DAMAGED


def _written(cache: Cache, waiting: dict[bytes, bytes], seconds: float) -> None:
    with cache.transact():
        for key, value in waiting.items():
            cache.set(key, value, expire=seconds)
    if cache.volume() > cache.size_limit:
        cache.cull()
