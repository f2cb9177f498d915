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

_HEADER = Struct("<IIBII")
_SUFFIX = ".rows"
_OPEN_DESCRIPTORS = 64
_READ_BYTES = 256 * 1024


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
        header = _HEADER.pack(ordinal, part, kind, len(said), len(text))
        self._file(ordinal // BLOCK).append(header, said, text)

    def close(self) -> None:
        """Return when every row and every file name is durable."""
        for file in self._files.values():
            file.sync()
        sync_folder(self._folder)

    def _file(self, bucket: int) -> GrowingFile:
        file = self._files.get(bucket)
        if file is None:
            file = self._files[bucket] = self._growing.file(bucket_path(self._folder, bucket))
        return file


def buckets(folder: Path) -> list[int]:
    """Return the numbers of the buckets that hold rows, ascending. Raises FileNotFoundError if there is no store."""
    return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == _SUFFIX)


def spans(path: Path) -> Iterator[Span]:
    """Yield where each record of a bucket's file is, in the order of writing. Raises TruncatedRows.

    Only headers are looked at: memory is one read of 256 KiB, whatever the rows weigh.
    """
    with path.open("rb", buffering=0) as stream:
        yield from _spans(path, stream.fileno(), os.fstat(stream.fileno()).st_size)


def _spans(path: Path, descriptor: int, size: int) -> Iterator[Span]:
    start, held, offset = 0, b"", 0
    while offset < size:
        if offset + _HEADER.size > start + len(held):
            start, held = offset, os.pread(descriptor, _READ_BYTES, offset)
            if len(held) < _HEADER.size:
                raise _truncated(path, offset)
        ordinal, part, kind, meta, text = _HEADER.unpack_from(held, offset - start)
        length = _HEADER.size + meta + text
        if offset + length > size:
            raise _truncated(path, offset)
        yield Span(ordinal, part, kind, offset, length)
        offset += length


class RowReader:
    """Reads single records of many stores, keeping at most 64 files open."""

    def __init__(self) -> None:
        self._descriptors: OrderedDict[Path, int] = OrderedDict()

    def read(self, path: Path, offset: int, length: int) -> StoredRow:
        """Return the record that `spans` found there in the file at `path`. Raises TruncatedRows."""
        descriptor = self._descriptor(path)
        record = _exactly(path, descriptor, offset, min(length, _READ_BYTES))
        ordinal, part, kind, meta, text = _HEADER.unpack_from(record)
        begun = _HEADER.size + meta
        if length <= _READ_BYTES:
            return StoredRow(ordinal, part, kind, _decode_meta(record[_HEADER.size : begun]), record[begun:])
        said = _exactly(path, descriptor, offset + _HEADER.size, meta)
        # A large text is read on its own: cut out of its record it would be held twice.
        content = _exactly(path, descriptor, offset + begun, text)
        return StoredRow(ordinal, part, kind, _decode_meta(said), content)

    def close(self) -> None:
        """Close every file."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _descriptor(self, path: Path) -> int:
        known = self._descriptors.get(path)
        if known is not None:
            self._descriptors.move_to_end(path)
            return known
        if len(self._descriptors) >= _OPEN_DESCRIPTORS:
            os.close(self._descriptors.popitem(last=False)[1])
        self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[path]


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
