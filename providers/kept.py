"""What a folder holds already of a job's results, so that a step of several calls goes on where it was.

A file under its own name is whole: `Origin.download` writes it under another one, syncs it and renames it. Beside it
lies a note of what it was read for (`.output.jsonl.note`), which is durable before the file is.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any


def noted(to: Path) -> dict[str, Any]:
    """Return the note beside `to`, {} where there is none that can be read. Blocking."""
    try:
        found = json.loads(_note(to).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(to: Path, facts: Mapping[str, object], *, keep: bool) -> None:
    """Write down what `to` is read for from now on; without `keep` what is there goes first. Blocking.

    A kill between the two leaves nothing, and the file is read again.
    """
    if not keep:
        to.unlink(missing_ok=True)
    beside = _note(to).with_suffix(".new")
    with beside.open("wb") as file:
        file.write(json.dumps(facts).encode())
        file.flush()
        os.fsync(file.fileno())
    publish(beside, _note(to))


async def bring(to: Path, facts: Mapping[str, object], get: Callable[[], Awaitable[object]]) -> None:
    """Make `to` hold what `get` stores there, unless it is there already and was stored for the same facts."""
    await begin(to, facts, _untold)
    if not await asyncio.to_thread(to.exists):
        await get()


async def begin(to: Path, facts: Mapping[str, object], look: Callable[[], Awaitable[object]]) -> int | None:
    """Note what `to` is read for, and return its size in bytes as `look` tells it; None: it does not.

    What is there goes, unless it was read for the same facts, or for those of an earlier `reading` and has that size.
    """
    found = await asyncio.to_thread(noted, to)
    if not facts.items() <= found.items():
        told, earlier = await look(), {**facts, "reading": found.get("reading")}
        keep = earlier.items() <= found.items() and await asyncio.to_thread(_has_size, to, told)
        found = {**facts, "bytes": told}
        await asyncio.to_thread(note, to, found, keep=keep)
    size = found.get("bytes")
    return size if isinstance(size, int) else None


async def _untold() -> None:
    return None


def _has_size(path: Path, size: object) -> bool:
    return path.exists() and path.stat().st_size == size


def publish(part: Path, to: Path) -> None:
    """Give a synced file its own name, durably. Blocking."""
    part.replace(to)
    folder = os.open(to.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _note(to: Path) -> Path:
    return to.with_name(f".{to.name}.note")
