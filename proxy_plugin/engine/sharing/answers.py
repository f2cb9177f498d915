"""Answers of ordinary calls, in pieces, where replicas share batches: the next replica goes on with what was published.

The worker appends each answer to a local file before its call counts. What is new there is published each second
and at the end of a turn, as an object of its own. Whoever takes the part next joins all pieces; of two rows of a
record the first counts. So a machine that is lost repeats the calls that ran, and those answered in its last second or
two; a process that is killed and comes back on its disk publishes what it had left, before anything else.

While the store takes nothing the calls go on for a minute: so many answers are at risk, and no more.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import monotonic, time_ns

from proxy_plugin.direct.answers import NAME, Answers, rows_behind
from proxy_plugin.storage.blobs.object_store import StoredObject
from proxy_plugin.storage.blobs.tree import Tree
from proxy_plugin.storage.errors import StoreAway

PIECE = "answers-"
PUBLISHED = ".published"  # holds how many bytes of the file beside it are in the store
JOINED_BYTES = 32 * 2**20  # of pieces in memory
AT_RISK_SECONDS = 60.0


@dataclass(slots=True)
class _Known:
    pieces: set[str] = field(default_factory=set)
    published: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Gathering:
    """What this replica has of the answers of parts, by their folders."""

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}

    async def take(self, tree: Tree | None, folder: Path) -> None:
        """Have all answers of a part here. Raises StoreAway, OSError, and Busy while a process writes there."""
        if tree is None:
            return
        await self.publish(tree, folder)
        known = self._of(folder)
        async with known.lock:
            listed = await tree.run(tree.store.listed, tree.key(folder))
            fresh = [each for each in listed if _is_piece(each) and each.key not in known.pieces]
            async for keys, rows in _read(tree, sorted(fresh)):
                known.published = await asyncio.to_thread(Answers(folder).join, rows)
                known.pieces |= keys
            if fresh:
                await asyncio.to_thread(_note, folder, known.published)

    async def publish(self, tree: Tree | None, folder: Path) -> None:
        """Return when the store has all answers that are here. Raises StoreAway, OSError."""
        if tree is None:
            return
        known = self._of(folder)
        async with known.lock:
            while True:
                start, rows = await asyncio.to_thread(rows_behind, folder / NAME, known.published)
                if not rows:
                    return
                key = f"{tree.key(folder)}/{PIECE}{time_ns() // 1_000_000:015d}-{secrets.token_hex(8)}"
                await tree.run(tree.store.put_bytes, key, rows)
                known.pieces.add(key)
                known.published = start + len(rows)
                await asyncio.to_thread(_note, folder, known.published)

    async def publish_left(self, tree: Tree, folders: Iterable[Path]) -> None:
        """Publish what earlier lives of this process have left here. Raises StoreAway, OSError."""
        for folder in folders:
            self._of(folder).published = await asyncio.to_thread(_noted, folder)
            await self.publish(tree, folder)
        self._known.clear()

    async def drop(self, tree: Tree | None, folder: Path) -> None:
        """Forget a part that has been collected, and remove its pieces; where the store is away they go later."""
        self._known.pop(folder, None)
        if tree is not None:
            with suppress(StoreAway):
                await tree.remove(folder)

    def _of(self, folder: Path) -> _Known:
        return self._known.setdefault(folder, _Known())


class Risk:
    """Publishes one turn's answers beside it, and tells since when that fails."""

    def __init__(self, gathering: Gathering, tree: Tree | None, folder: Path) -> None:
        self._gathering, self._tree, self._folder = gathering, tree, folder
        self._task: asyncio.Task[None] | None = None
        self._began = self._done = monotonic()

    def look(self) -> None:
        """Publish what is new, unless that is being done."""
        if self._tree is None or (self._task is not None and not self._task.done()):
            return
        if self._task is not None and not self._task.cancelled() and self._task.exception() is None:
            self._done = self._began
        self._began = monotonic()
        self._task = asyncio.create_task(self._gathering.publish(self._tree, self._folder), name="publish answers")

    @property
    def too_high(self) -> bool:
        """Whether no more answers should come before the store has these."""
        return self._tree is not None and monotonic() - self._done > AT_RISK_SECONDS

    async def end(self) -> None:
        """Wait for what is being published."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


def _is_piece(found: StoredObject) -> bool:
    return found.key.rpartition("/")[2].startswith(PIECE)


async def _read(tree: Tree, pieces: list[StoredObject]) -> AsyncIterator[tuple[set[str], list[memoryview]]]:
    """Yield pieces with their names, a few at a time."""
    ends, size = [0], 0
    for n, each in enumerate(pieces, 1):
        size += each.size
        if size >= JOINED_BYTES or n == len(pieces):
            ends.append(n)
            size = 0
    for first, stop in pairwise(ends):
        some = pieces[first:stop]
        rows = await asyncio.gather(*(tree.run(tree.store.read, each.key, 0, each.size) for each in some))
        yield {each.key for each in some}, rows


def _note(folder: Path, published: int) -> None:
    (folder / PUBLISHED).write_text(str(published))


def _noted(folder: Path) -> int:
    with suppress(FileNotFoundError, ValueError):
        return int((folder / PUBLISHED).read_text())
    return 0
