"""Room to write in: on the disk, down to its reserve, and in a workspace, up to its share.

Whatever is written is claimed first, so that many at once cannot fill the disk together, nor one workspace what is
everybody's. A workspace's share counts its files, the working folders of its batches, and what is on its way there.
Where replicas share them, each counts of the folders what it has of them, and at least the native documents of all.
A byte of results counts three times, because it is written twice more, as a row and in a result file; so what has been
fetched can always be ended.

Who asks has a rank, so that what is paid for is never shut out by what is not:

    NEW       uploads, native documents, pictures        up to the share, down to the reserve
    RESULTS   what a provider has answered               half as much again, and down to half of the reserve
    ENDING    rows and result files, of what is stored   counted already; down to half of the reserve
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from proxy_plugin.ground.errors import NoSpace
from proxy_plugin.storage.tables import files, holdings
from proxy_plugin.storage.working import Working

if TYPE_CHECKING:
    from proxy_plugin.storage.registry import Registry
    from proxy_plugin.storage.space import Space

AHEAD = 64 * 2**20  # bytes that are claimed at most before they have come, whatever was announced
KNOWN_SECONDS = 5.0  # for which it is not asked again what the batches of all replicas hold
MOST_KNOWN = 10_000  # workspaces of which that is kept


class DiskFull(NoSpace):
    """The disk has nothing left above its reserve."""

    def __init__(self) -> None:
        super().__init__("The disk is full; nothing was stored. The gateway's operator has to make room.")


class WorkspaceFull(NoSpace):
    """The workspace holds what it may."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"The workspace would store more than its {most} bytes; nothing was stored."
            " Delete files that are no longer needed."
        )


class Rank(NamedTuple):
    """How far somebody may go: `share` and `reserve` are multiples of the settings."""

    share: float
    reserve: float


NEW, RESULTS, ENDING = Rank(1.0, 1.0), Rank(1.5, 0.5), Rank(math.inf, 0.5)


@dataclass(frozen=True, slots=True)
class Shares:
    """Bytes of one workspace, which are at most this part of the disk; and bytes that stay free on that."""

    workspace: int
    part_of_disk: float
    reserve: int


class Room:
    """What may still be written. `claims` are bytes by workspace that neither a row nor a folder accounts for yet.

    `shared`: other replicas have batches of the same workspaces in work.
    """

    def __init__(self, registry: Registry, space: Space, shares: Shares, *, shared: bool = False) -> None:
        self._registry, self._space, self._shares, self._shared = registry, space, shares, shared
        self._known: dict[str, tuple[float, int]] = {}  # by workspace: when it was asked for, bytes of documents
        self.claims: dict[str, int] = {}
        self.working = Working()

    @property
    def disk_full(self) -> bool:
        """Whether nothing new is taken, from nobody."""
        return self._space.room() < self._shares.reserve

    async def require(self, workspace: str | None, count: int, rank: Rank = NEW) -> None:
        """Raise NoSpace unless `count` bytes more fit on the disk and, where one is given, in the workspace."""
        if workspace is not None and rank.share < math.inf:
            await self._require_share(workspace, count, rank)
        if self._space.room() - count < self._shares.reserve * rank.reserve:
            raise DiskFull

    async def _require_share(self, workspace: str, count: int, rank: Rank) -> None:
        most = int(min(self._shares.workspace, self._space.size() * self._shares.part_of_disk) * rank.share)
        # In this order: what ends meanwhile counts twice, as a claim and as a row, never not at all.
        claimed, working = self.claims.get(workspace, 0), self.working.of(workspace)
        if self._shared and rank == NEW:  # what is paid for is not shut out by what others hold
            working = max(working, await self._documents(workspace))
        if await self._registry.read(files.stored_bytes, workspace) + claimed + working + count > most:
            raise WorkspaceFull(most)

    async def _documents(self, workspace: str) -> int:
        """Return how many bytes of documents the batches of all replicas have, as of a few seconds ago."""
        asked, found = self._known.get(workspace, (-math.inf, 0))
        if time.monotonic() - asked >= KNOWN_SECONDS:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[workspace] = time.monotonic(), found  # nobody else asks meanwhile
            found = await self._registry.scan(holdings.documents, workspace)
            self._known[workspace] = time.monotonic(), found
        return found

    def change(self, workspace: str | None, count: int, weight: int) -> None:
        """Set `count` bytes aside, which count so many times in the workspace; negative gives them back."""
        self._space.claim(count)
        if workspace is not None:
            self.claims[workspace] = self.claims.get(workspace, 0) + count * weight
            if not self.claims[workspace]:
                del self.claims[workspace]

    def wrote(self, count: int) -> None:
        """Note that `count` bytes that were set aside are in a file: the file system itself counts them now."""
        self._space.wrote(count)

    def kept(self, count: int) -> None:
        """Note that `count` bytes of what is given back next are in files, whether those stay or go."""
        self._space.claim(count)


class Claim:
    """The bytes that one work has set aside; leaving the context gives back what no row and no folder accounts for.

    Of what is `announced` no more than `AHEAD` is claimed before it comes. Without a workspace only the disk is asked:
    for bytes that replace others which the workspace stores already. Each byte counts `weight` times in the workspace.
    """

    def __init__(
        self, room: Room, workspace: str | None, *, announced: int = 0, rank: Rank = NEW, weight: int = 1
    ) -> None:
        self._room, self._rank, self._announced, self._weight = room, rank, announced, weight
        self._workspace = workspace if rank.share < math.inf else None
        self.total = self.written = 0

    async def cover(self, total: int) -> None:
        """Claim up to `total` bytes for this work. Raises NoSpace.

        They are claimed before the database is asked, so that of two works the later one at least sees both.
        """
        if total <= self.total:
            return
        await self._claim(max(total, min(self._announced, self.written + AHEAD)) - self.total)

    async def take(self, count: int) -> None:
        """Claim `count` bytes more, which are written at once. Raises NoSpace."""
        await self._claim(count)
        self.wrote(count)

    async def _claim(self, more: int) -> None:
        self._change(more)
        try:
            await self._room.require(self._workspace, 0, self._rank)
        except NoSpace:
            self._change(-more)
            raise

    def wrote(self, count: int) -> None:
        """Note that `count` of the claimed bytes are in a file."""
        self.written += count
        self._room.wrote(count)

    def _change(self, count: int) -> None:
        self._room.change(self._workspace, count, self._weight)
        self.total += count

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._room.kept(self.written)
        self._change(-self.total)
