"""Results that stand in the job itself: one object, kept as lines like those of a file.

Source: types of google-genai 3.6.1: `inlinedResponses.inlinedResponses[]`, and `inlinedEmbedContentResponses` for
embeddings, each with the `metadata` of its request.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_plugin.providers.base import JobStatus, Short
from proxy_plugin.providers.kept import note, noted, publish

if TYPE_CHECKING:
    from proxy_plugin.providers.http import Origin

NAMES = ("inlinedResponses", "inlinedEmbedContentResponses")


def elements(output: object) -> list[Any] | None:
    """Return the results in the output of a job; None where it has none."""
    for name in NAMES:
        inner = output.get(name) if isinstance(output, dict) else None
        found = inner.get("inlinedResponses") if isinstance(inner, dict) else None
        if isinstance(found, list):
            return found
    return None


async def bring(origin: Origin, path: str, to: Path, status: JobStatus) -> None:
    """Make `to` hold the results, one a line. Raises Short where the job cannot be read whole."""
    facts = {"reading": status.reading}
    if await asyncio.to_thread(noted, to) != facts:
        await asyncio.to_thread(note, to, facts, keep=False)
    if not await asyncio.to_thread(to.exists):
        document = to.with_name(f".{to.name}.job")
        await origin.download(path, document)
        await asyncio.to_thread(_unpack, document, to)


def _unpack(document: Path, to: Path) -> None:
    try:
        job = msgspec.json.decode(document.read_bytes())
    except msgspec.DecodeError:
        raise Short("a job ends in the middle of its results") from None
    places = (job.get("metadata", {}).get("output"), job.get("response"))
    found = next((each for each in map(elements, places) if each is not None), [])
    part = to.with_name(f"{to.name}.part")
    with part.open("wb") as file:
        file.writelines(msgspec.json.encode(each) + b"\n" for each in found)
        file.flush()
        os.fsync(file.fileno())
    publish(part, to)
