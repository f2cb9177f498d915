"""Avro files as they should not be: written block by block."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

from proxy_plugin.providers import avro

FIELDS = [{"name": "custom_id", "type": "string"}, {"name": "body", "type": ["null", "string", "bytes"]}]
SCHEMA = {"type": "record", "name": "row", "fields": FIELDS}
SYNC = b"0123456789abcdef"


def written(path: Path, records: list[dict[str, Any]], codec: str) -> Path:
    from fastavro import writer

    with path.open("wb") as target:
        writer(target, SCHEMA, records, codec=codec)
    return path


def number(value: int) -> bytes:
    """Write a number as Avro has it."""
    value, out = (value << 1) ^ (value >> 63), b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def by_hand(path: Path, schema: Any, codec: str, *blocks: tuple[int, bytes]) -> Path:
    """Write a file whose blocks say what they like: how many records they have, and their bytes, packed."""
    from fastavro import schemaless_writer

    head = io.BytesIO()
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
    schemaless_writer(head, avro.HEADER, {"magic": b"Obj\x01", "meta": meta, "sync": SYNC})
    body = b"".join(number(count) + number(len(data)) + data + SYNC for count, data in blocks)
    path.write_bytes(head.getvalue() + body)
    return path


def deflated(data: bytes) -> bytes:
    return zlib.compress(data, 9, wbits=-zlib.MAX_WBITS)
