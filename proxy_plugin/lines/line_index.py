"""Where every line of a stored file begins and ends: fixed-width records, one for each line that is not blank.

A record is 16 bytes, little endian: offset (u64), length without the line ending (u32), physical line number from 1
(u32). Its place in the index is the line's ordinal. Read with pread, never mapped: mapped pages count as memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import NamedTuple, Self

from proxy_plugin.ground.durable import sync_folder

RECORD = Struct("<QII")
CHUNK_BYTES = 2**20
_RECORDS_AT_ONCE = 4096


class Record(NamedTuple):
    """One line: bytes `offset` to `offset + length` of the source; `number` is for people and counts blank lines."""

    offset: int
    length: int
    number: int


class BrokenIndex(Exception):
    """The index is torn, or does not belong to this source."""


class IndexWriter:
    """A new index, written in order. Durable after `close`; left by an exception it is closed but not synced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("wb", buffering=256 * 1024)
        self._write, self._pack = self._stream.write, RECORD.pack

    def append(self, offset: int, length: int, number: int) -> None:
        """Add the record of the next ordinal."""
        self._write(self._pack(offset, length, number))

    def append_all(self, records: bytes) -> None:
        """Add the records of the next ordinals, as they stand in an index."""
        self._write(records)

    def close(self) -> None:
        """Return when all records, and the name of the file, are on the disk. Raises OSError."""
        with self._stream as stream:
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(self._path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and not self._stream.closed:
            self.close()
        self._stream.close()


class LineIndex:
    """An index that is complete. Holds one descriptor and no records; several threads may read."""

    def __init__(self, path: Path) -> None:
        """Open the index; raises OSError, and BrokenIndex if it ends within a record."""
        self._file = path.open("rb", buffering=0)
        self._lines, torn = divmod(os.fstat(self._file.fileno()).st_size, RECORD.size)
        if torn:
            self._file.close()
            raise BrokenIndex(f"the line index ends within record {self._lines}")

    def __len__(self) -> int:
        return self._lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release the descriptor."""
        self._file.close()

    def record(self, ordinal: int) -> Record:
        """Return where the line is. Raises IndexError for an ordinal that the file does not have."""
        if not 0 <= ordinal < self._lines:
            raise IndexError(f"there is no line with ordinal {ordinal}, only {self._lines} lines")
        return next(self.records(ordinal, ordinal + 1))

    def read_line(self, source: int, ordinal: int) -> bytes:
        """Return one line's bytes, without its ending, from the source's open descriptor."""
        record = self.record(ordinal)
        return _read_exactly(source, record.offset, record.length)

    def lines(self, source: Path, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, bytes]]:
        """Yield (ordinal, line number, bytes without the ending) for ordinals `start` to `stop`, exclusive.

        Reads the source in order, and holds 1 MiB of it or one longer line. Raises BrokenIndex where it is too short.
        """
        with source.open("rb", buffering=0) as stream:
            descriptor, window, base = stream.fileno(), b"", 0
            for ordinal, (offset, length, number) in enumerate(self._unpacked(start, stop), start):
                if offset + length > base + len(window):
                    window = b""  # released before the next one is read
                    window, base = _read_window(descriptor, offset, length), offset
                yield ordinal, number, window[offset - base : offset - base + length]

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[Record]:
        """Yield where the lines from ordinal `start` to `stop`, exclusive, are. Holds 4,096 of them."""
        yield from map(Record._make, self._unpacked(start, stop))

    def _unpacked(self, start: int, stop: int | None) -> Iterator[tuple[int, int, int]]:
        end = self._lines if stop is None else min(stop, self._lines)
        for first in range(start, end, _RECORDS_AT_ONCE):
            count = min(_RECORDS_AT_ONCE, end - first)
            packed = _read_exactly(self._file.fileno(), first * RECORD.size, count * RECORD.size)
            yield from RECORD.iter_unpack(packed)


def _read_window(descriptor: int, offset: int, length: int) -> bytes:
    window = os.pread(descriptor, max(CHUNK_BYTES, length), offset)
    if len(window) < length:
        raise BrokenIndex(f"the source ends before the line at byte {offset} does")
    return window


def _read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    content = os.pread(descriptor, length, offset)
    if len(content) < length:
        raise BrokenIndex(f"the file ends before byte {offset + length}")
    return content
