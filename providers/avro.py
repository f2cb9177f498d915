"""An Avro file of results, as JSON lines.

fastavro is the reader that Cohere's own SDK has (7.3.1). It is imported where a file is read and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from proxy_plugin.providers.errors import Short
from proxy_plugin.providers.kept import publish

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Intake


async def convert(avro: Path, to: Path, intake: Intake | None, more: Mapping[str, str], *, last: bool) -> None:
    """Write the records of a file as JSON lines, each with `more` members, whole and durable or not at all.

    Raises Short for a file that breaks off, or with more than the intake takes; the `last` reading keeps what is there.
    """
    part = to.with_name(to.name + ".part")
    most = None if intake is None else intake.most_bytes
    try:
        size, cut = await asyncio.to_thread(_write, avro, part, more, most)
        if cut and not last:
            raise Short("an Avro file of results breaks off, or holds more than is taken")
        if intake is not None:
            await intake.take(size)
        await asyncio.to_thread(publish, part, to)
    finally:
        part.unlink(missing_ok=True)


def _write(avro: Path, part: Path, more: Mapping[str, str], most: int | None) -> tuple[int, bool]:
    """Return the size of what was written, and whether it is less than there should be."""
    from fastavro import reader  # noqa: PLC0415 - see above

    size = 0
    with avro.open("rb") as source, part.open("wb") as target:
        try:
            for record in reader(source):
                fields: dict[str, Any] = record if isinstance(record, dict) else {}
                line = orjson.dumps({**fields, **more}, default=_text) + b"\n"  # json holds the lock for 100 ms
                if most is not None and size + len(line) > most:
                    return size, True
                size += target.write(line)
            cut = False
        except (EOFError, ValueError, LookupError, TypeError, OverflowError, StopIteration, struct.error, zlib.error):
            cut = True  # what fastavro raises for files that break off or are none
        target.flush()
        os.fsync(target.fileno())
    return size, cut


def _text(value: object) -> str:
    """Write what JSON has no form for: bytes, times, decimals."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
