"""Rows of answers on disk, by buckets of 65,536 ordinals.

`<bucket:06d>.rows` holds records in the order they came, several for one ordinal if need be:

    ordinal u32 | part u32 | kind u8 | length of meta u32 | length of text u32 | meta, JSON | text, JSON

little-endian, no padding. `text` is the `response` or the `error` of an OpenAI output row.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import NamedTuple

import msgspec

from proxy_plugin.ground.durable import GrowingFile, GrowingFiles, sync_folder
from proxy_plugin.lines.manifest import BLOCK
from proxy_plugin.providers.base import Usage

OK, FAILED, ERROR, NOTE = 1, 2, 3, 4
"""What `text` is: a 2xx response, another response, an error object, nothing (the meta says something of the line)."""

HEADER = Struct("<IIBII")
_SUFFIX = ".rows"
_OPEN_DESCRIPTORS = 64
_READ_BYTES = 256 * 1024
_WINDOW_BYTES = 64 * 1024  # read at once of each file whose records are asked for in the order in which they are
_LARGE = 64 * 1024  # bytes of a text that is not copied once more


class TruncatedRows(ValueError):
    """A file of rows ends within a record: it was not closed, or the disk lost its tail."""


class RowMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a row says beyond its text. `provider`, `slug` and `mark` only where no part tells them."""

    code: str | None = None
    model: str | None = None
    usage: Usage | None = None
    dropped: tuple[str, ...] | None = None
    param: str | None = None
    provider: str | None = None
    slug: str | None = None
    mark: str | None = None  # of the part that had a kept answer
    requests: int | None = None  # that the line was, where it was several


class StoredRow(NamedTuple):
    """One record, read back."""

    ordinal: int
    part: int
    kind: int
    meta: RowMeta
    text: bytes


class Span(NamedTuple):
    """Where one record is: `offset` and `length` span it with its header."""

    ordinal: int
    part: int
    kind: int
    offset: int
    length: int


_encode_meta = msgspec.json.Encoder().encode
_decode_meta = msgspec.json.Decoder(RowMeta).decode


class RowWriter:
    """Adds rows to a store, in any order of ordinals. Nothing is promised before `close`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._growing = GrowingFiles()
        self._files: dict[int, GrowingFile] = {}

    def add(self, ordinal: int, part: int, kind: int, meta: RowMeta, text: bytes = b"") -> None:
        """Append one record to the bucket of its ordinal."""
        said = _encode_meta(meta)
        header = HEADER.pack(ordinal, part, kind, len(said), len(text))
        file = self._files.get(ordinal // BLOCK) or self._file(ordinal // BLOCK)
        if len(text) < _LARGE:
            file.add(b"".join((header, said, text)))
        else:
            file.append(header, said, text)

    def close(self) -> None:
        """Return when every row and every file name is durable."""
        for file in self._files.values():
            file.sync()
        sync_folder(self._folder)

    def _file(self, bucket: int) -> GrowingFile:
        file = self._files[bucket] = self._growing.file(bucket_path(self._folder, bucket))
        return file


def buckets(folder: Path) -> list[int]:
    """Return the numbers of the buckets that hold rows, ascending. Raises FileNotFoundError if there is no store."""
    return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == _SUFFIX)


def spans(path: Path) -> Iterator[Span]:
    """Yield where each record of a bucket's file is, in the order of writing. Raises TruncatedRows.

    Only headers are looked at: memory is one read of 256 KiB, whatever the rows weigh.
    """
    return map(Span._make, places(path))


def places(path: Path) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield the same as plain tuples."""
    with path.open("rb", buffering=0) as stream:
        yield from _places(path, stream.fileno(), os.fstat(stream.fileno()).st_size)


def _places(path: Path, descriptor: int, size: int) -> Iterator[tuple[int, int, int, int, int]]:
    start, held, offset = 0, b"", 0
    while offset < size:
        if offset + HEADER.size > start + len(held):
            start, held = offset, os.pread(descriptor, _READ_BYTES, offset)
            if len(held) < HEADER.size:
                raise _truncated(path, offset)
        ordinal, part, kind, meta, text = HEADER.unpack_from(held, offset - start)
        length = HEADER.size + meta + text
        if offset + length > size:
            raise _truncated(path, offset)
        yield ordinal, part, kind, offset, length
        offset += length


class _OpenFile:
    """A file of rows, and the last that was read of it: `held`, from byte `base`."""

    __slots__ = ("base", "descriptor", "held")

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.base, self.held = 0, b""


class RowReader:
    """Reads single records of many stores, keeping at most 64 files open, and 64 KiB of each."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, _OpenFile] = OrderedDict()

    def read(self, path: Path, offset: int, length: int) -> StoredRow:
        """Return the record that `spans` found there in the file at `path`. Raises TruncatedRows."""
        record = self.record(path, offset, min(length, _READ_BYTES))
        ordinal, part, kind, meta, text = HEADER.unpack_from(record)
        begun = HEADER.size + meta
        if length <= _READ_BYTES:
            return StoredRow(ordinal, part, kind, _decode_meta(record[HEADER.size : begun]), record[begun:])
        descriptor = self._file(path).descriptor
        said = _exactly(path, descriptor, offset + HEADER.size, meta)
        # A large text is read on its own: cut out of its record it would be held twice.
        content = _exactly(path, descriptor, offset + begun, text)
        return StoredRow(ordinal, part, kind, _decode_meta(said), content)

    def record(self, path: Path, offset: int, length: int) -> bytes:
        """Return the bytes of a record, header included. Raises TruncatedRows.

        Who asks for one after the other gets them out of a block; who jumps makes it read no more than a record.
        """
        file = self._files.get(path) or self._file(path)
        if length > _WINDOW_BYTES:
            return _exactly(path, file.descriptor, offset, length)
        at = offset - file.base
        if at < 0 or at + length > len(file.held):
            more = _WINDOW_BYTES if 0 <= at <= len(file.held) else length
            file.held, file.base, at = os.pread(file.descriptor, more, offset), offset, 0
            if len(file.held) < length:
                raise _truncated(path, offset)
        return file.held[at : at + length]

    def close(self) -> None:
        """Close every file."""
        while self._files:
            os.close(self._files.popitem()[1].descriptor)

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _file(self, path: Path) -> _OpenFile:
        known = self._files.get(path)
        if known is not None:
            return known
        if len(self._files) >= _OPEN_DESCRIPTORS:
            os.close(self._files.popitem(last=False)[1].descriptor)
        self._files[path] = _OpenFile(path)
        return self._files[path]


def rows(folder: Path) -> Iterator[StoredRow]:
    """Yield every row of a store, bucket by bucket, each in the order of writing. Raises TruncatedRows."""
    with RowReader() as reader:
        for bucket in buckets(folder):
            path = bucket_path(folder, bucket)
            for span in spans(path):
                yield reader.read(path, span.offset, span.length)


def bucket_path(folder: Path, bucket: int) -> Path:
    """Return the file of a bucket. It exists only if the bucket holds rows."""
    return folder / f"{bucket:06d}{_SUFFIX}"


def _exactly(path: Path, descriptor: int, offset: int, length: int) -> bytes:
    content = os.pread(descriptor, length, offset)
    if len(content) < length:
        raise _truncated(path, offset)
    return content


def _truncated(path: Path, offset: int) -> TruncatedRows:
    return TruncatedRows(f"{path.name}: the record at byte {offset} is cut off")
