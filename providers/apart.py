"""What a provider packed, unpacked in a process of its own: what is small on the disk may have no end in memory.

A tool is a module with `rows(file, more)`, which yields lines. They come back through a pipe, so that one chunk of them
is held here, and the process may take `MEMORY`; one that is left alone ends with its pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from proxy_plugin.providers.errors import Short, TooLarge
from proxy_plugin.providers.kept import publish

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Intake

MEMORY = 256 << 20  # bytes of data; a process that has done nothing yet has 20 MB [measured, Python 3.11]
CHUNK = 256 << 10
WHOLE, CUT, TOO_MUCH = 0, 3, 4  # how a process ends


class Cut(Exception):
    """The file breaks off, or is none of its kind."""


class TooMuch(Exception):
    """The file unpacks to more than is taken in one piece."""


async def unpack(
    tool: str, source: Path, to: Path, intake: Intake | None, more: Mapping[str, str], *, last: bool
) -> None:
    """Write the lines that a tool makes of a file, whole and durable or not at all.

    Raises Short for a file that breaks off, or with more than the intake takes: the `last` reading keeps what is there.
    Of one that unpacks to more than is taken in one piece what stands before is kept, and it is TooLarge.
    """
    part = to.with_name(to.name + ".part")
    most = -1 if intake is None else intake.most_bytes
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", f"from {__name__} import main; main()"),
        *(tool, str(source), str(most), json.dumps(dict(more))),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # no secret of the gateway's environment
    )
    try:
        assert process.stdout is not None
        with await asyncio.to_thread(part.open, "wb") as target:
            await _copy(process.stdout, target, intake)
        end = await process.wait()
        if end == CUT and not last:
            raise Short("a file of results breaks off, is not what it should be, or holds more than is taken")
        await asyncio.to_thread(publish, part, to)
        if end not in {WHOLE, CUT}:
            raise TooLarge("a file of results unpacks to more than is taken in one piece")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        part.unlink(missing_ok=True)


async def _copy(lines: asyncio.StreamReader, target: BinaryIO, intake: Intake | None) -> None:
    while chunk := await lines.read(CHUNK):
        if intake is not None:
            await intake.take(len(chunk))
        await asyncio.to_thread(target.write, chunk)
    target.flush()
    await asyncio.to_thread(os.fsync, target.fileno())


def _run(tool: str, source: Path, most: int, more: Mapping[str, str]) -> int:
    """Write lines to standard output, up to `most` bytes (-1: all). Returns how it went."""
    size = 0
    try:
        for line in import_module(tool).rows(source, more):
            size += len(line) + 1
            if 0 <= most < size:
                return CUT
            sys.stdout.buffer.write(line + b"\n")
    except Cut:
        return CUT
    except (TooMuch, MemoryError):
        return TOO_MUCH
    return WHOLE


def _bound() -> None:
    import resource  # noqa: PLC0415 - not on every system; and for this process alone

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def main() -> None:
    """Be such a process."""
    tool, source, most, more = sys.argv[1:]
    _bound()
    end = _run(tool, Path(source), int(most), json.loads(more))
    sys.stdout.flush()
    sys.exit(end)
