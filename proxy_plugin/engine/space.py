"""Room for what a batch writes: claimed before it is written, counted to its workspace afterwards.

Where there is none the step waits, and says for what. Nothing that is paid for is lost by it: results stay with the
provider until there is room for them, and go before everything that is new.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from proxy_plugin.engine.desk import Desk
from proxy_plugin.ground.allowance import Overdrawn, within
from proxy_plugin.ground.errors import NoSpace
from proxy_plugin.ground.workers import Terms
from proxy_plugin.providers.base import TryLater
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.room import ENDING, NEW, Claim, Rank, WorkspaceFull
from proxy_plugin.storage.tables import waits
from proxy_plugin.storage.tables.batches import BatchRow

J = TypeVar("J", bound="InFolder")
T = TypeVar("T")
TOGETHER = 200  # folders weighed in one go
LEAST = 64 * 1024  # bytes that every work may write


class InFolder(Protocol):
    """What a worker is told. `folder` is its attempt's own, and goes where that fails for want of room."""

    @property
    def folder(self) -> str:
        """The path of the folder, absolute."""


class Full(TryLater):
    """There is no room for what a step would write. `reason` is that of the wait."""

    def __init__(self, found: NoSpace) -> None:
        super().__init__("there is no room for it")
        self.reason = waits.WORKSPACE_FULL if isinstance(found, WorkspaceFull) else waits.DISK_FULL


@contextmanager
def claiming(desk: Desk, batch: BatchRow, rank: Rank, weight: int = 1) -> Iterator[Claim]:
    """Lend a claim; what was written with it counts so many times to the batch. Raises Full for what finds no room."""
    room = desk.gateway.room
    try:
        with Claim(room, batch.workspace, rank=rank, weight=weight) as claim:
            try:
                yield claim
            finally:
                room.working.add(batch.workspace, batch.id, claim.written * weight)
    except NoSpace as error:
        raise Full(error) from None


async def run(
    desk: Desk,
    batch: BatchRow,
    rank: Rank,
    expected: int,
    terms: Terms,
    function: Callable[[J], T],
    job: J,
    *,
    weight: int = 1,
) -> T:
    """Run a worker's function within what is claimed for it: first `expected` bytes, and twice as many each time.

    Raises Full, and what the function and its worker raise.
    """

    async def attempt(most: int) -> tuple[T, int]:
        return await desk.gateway.workers.run(terms, within, most, function, job)

    with claiming(desk, batch, rank, weight) as claim:
        return await spending(claim, job.folder, expected + LEAST, attempt)


async def spending(
    claim: Claim, folder: str, most: int, attempt: Callable[[int], Awaitable[tuple[T, int]]], times: int = 1
) -> T:
    """Return what attempts come to that may write `most` bytes, and twice as many each time; told is how many stay.

    `times` as many are claimed, for what is written on the way. Raises NoSpace.
    """
    while True:
        await claim.cover(most * times)
        try:
            result, written = await attempt(most)
        except (Overdrawn, OSError) as error:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise
            most *= 2
            continue
        claim.wrote(written)
        return result


def rank_of(desk: Desk, batch: BatchRow) -> Rank:
    """Return the rank of what is written before a batch is sent. One that stops only has its error rows to come."""
    return ENDING if batch.stopping or desk.now() >= batch.expires_at else NEW


@dataclass(frozen=True, slots=True)
class Results:
    """Where `fetch` puts results: at most `most_bytes` of one file, of which the last reading keeps the beginning."""

    claim: Claim
    most_bytes: int
    cuts: bool

    async def take(self, count: int) -> None:
        """Claim what is written next. Raises NoSpace."""
        await self.claim.take(count)


async def measure(desk: Desk, batches: Mapping[str, str]) -> None:
    """Count to their workspaces what the folders of these batches hold now. Keys are ids, values workspaces."""
    some = iter(batches.items())
    while taken := dict(islice(some, TOGETHER)):
        sizes = await asyncio.to_thread(_weights, desk.folders, tuple(taken))
        desk.gateway.room.working.measured(taken, sizes)


def _weights(folders: BatchFolders, batch_ids: tuple[str, ...]) -> dict[str, int]:
    return {batch_id: folders.weight(batch_id) for batch_id in batch_ids}
