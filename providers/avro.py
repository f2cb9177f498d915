"""An Avro file of results, as JSON lines: a tool of `apart`.

Blocks are read here, since fastavro, the reader that Cohere's own SDK has (7.3.1), unpacks each whole, whatever comes
of it. It reads their records, one at a time. Source: "Object Container Files", Avro specification 1.12.
"""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from proxy_plugin.providers.apart import Cut, TooMuch

MOST = 32 << 20  # bytes of a block, packed or not: a record of 96 vectors has 0.6 MB, a writer's own bound is 16 KB
HEAD = 1 << 20  # bytes in which a schema ends
HEADER = {
    "type": "record",
    "name": "header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
    ],
}
_UNREADABLE = (  # what files that break off or are none raise
    *(EOFError, ValueError, LookupError, TypeError, OverflowError, StopIteration, RecursionError, AttributeError),
    *(struct.error, zlib.error, lzma.LZMAError, OSError),
)


def rows(source: Path, more: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the records as JSON texts, each with `more` members. Raises Cut or TooMuch."""
    with source.open("rb") as file:
        try:
            for record in _records(file):
                fields: dict[str, Any] = record if isinstance(record, dict) else {}
                yield orjson.dumps({**fields, **more}, default=_text)
        except _UNREADABLE:
            raise Cut from None


def _records(file: BinaryIO) -> Iterator[object]:
    from fastavro import parse_schema, schemaless_reader  # noqa: PLC0415 - for who reads a file alone

    head = io.BytesIO(file.read(HEAD))
    header: Any = schemaless_reader(head, HEADER, None)
    if header["magic"] != b"Obj\x01":
        raise Cut
    file.seek(head.tell())
    schema = parse_schema(orjson.loads(header["meta"]["avro.schema"]))
    for count, block in _blocks(file, header["meta"].get("avro.codec", b"null").decode(), header["sync"]):
        inside = io.BytesIO(block)
        for _ in range(count):
            place = inside.tell()
            yield schemaless_reader(inside, schema, None)
            if inside.tell() == place:  # records of no bytes have no end
                raise Cut


def _blocks(file: BinaryIO, codec: str, sync: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield how many records a block has, and its bytes, unpacked."""
    while (count := _number(file)) is not None:
        size = _number(file)
        if size is None or size < 0 or count < 0:
            raise Cut
        if size > MOST:
            raise TooMuch
        packed = file.read(size)
        if len(packed) < size or file.read(len(sync)) != sync:
            raise Cut
        yield count, packed if codec == "null" else _unpacked(packed, codec)


def _unpacked(packed: bytes, codec: str) -> bytes:
    unpack = _CODECS[codec]()
    block: bytes = unpack.decompress(packed, MOST)
    if len(block) >= MOST:
        raise TooMuch
    if not unpack.eof:
        raise Cut
    return block


_CODECS: Mapping[str, Callable[[], Any]] = {
    "deflate": lambda: zlib.decompressobj(-zlib.MAX_WBITS),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=MOST),
}


def _number(file: BinaryIO) -> int | None:
    """Read a number of up to 64 bits; None at the end of the file."""
    number = shift = 0
    while byte := file.read(1):
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return (number >> 1) ^ -(number & 1)
        shift += 7
        if shift > 63:
            break
    if shift or byte:
        raise Cut
    return None


def _text(value: object) -> str:
    """Write what JSON has no form for: bytes, times, decimals."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
