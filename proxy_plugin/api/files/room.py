"""Room for uploads: on the disk, down to its reserve, and in a workspace, up to its quota.

An upload claims its bytes before it writes them, so that many at once cannot fill the disk together. What a request's
Content-Length promises is claimed at the start, what comes beyond it block by block.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from proxy_plugin.ground.errors import NoSpace
from proxy_plugin.storage.tables import files

if TYPE_CHECKING:
    from proxy_plugin.config.sections import Limits
    from proxy_plugin.gateway import Traffic
    from proxy_plugin.ground.clock import Clock
    from proxy_plugin.storage.blobs import Blobs
    from proxy_plugin.storage.registry import Registry

DISK_FULL = "The disk is full; nothing was stored. The gateway's operator has to make room."


@dataclass(frozen=True, slots=True)
class Store:
    """What it takes to keep a file: where its bytes and its row go, and what else is on its way there."""

    registry: Registry
    blobs: Blobs
    clock: Clock
    limits: Limits
    traffic: Traffic


async def require_room(store: Store, workspace: str | None, count: int) -> None:
    """Raise NoSpace unless `count` more bytes fit on the disk and, where one is given, in the workspace."""
    await _require_quota(store, workspace, count)
    if count > 0:
        _require_disk(store, count)


async def _require_quota(store: Store, workspace: str | None, count: int) -> None:
    most = store.limits.max_workspace_bytes
    if workspace is None or most is None:
        return
    # In this order: an upload that ends meanwhile counts twice, as a claim and as a row, never not at all.
    claimed = store.traffic.upload_bytes.get(workspace, 0)
    stored = await store.registry.read(files.stored_bytes, workspace)
    if stored + claimed + count > most:
        raise NoSpace(
            f"The workspace would store more than its {most} bytes; nothing was stored."
            " Delete files that are no longer needed."
        )


def _require_disk(store: Store, count: int) -> None:
    if store.blobs.space.room() - count < store.limits.disk_reserve_bytes:
        raise NoSpace(DISK_FULL)


class Claim:
    """The bytes that one upload has reserved; leaving the context gives back what no row accounts for.

    Without a workspace only the disk is asked: for bytes that replace others which the workspace stores already.
    """

    def __init__(self, store: Store, workspace: str | None) -> None:
        self._store, self._workspace = store, workspace
        self._claimed = self._written = 0

    async def cover(self, total: int) -> None:
        """Claim up to `total` bytes for this upload. Raises NoSpace.

        They are claimed before the database is asked, so that of two uploads the later one at least sees both.
        """
        more = total - self._claimed
        if more <= 0:
            return
        self._change(more)
        try:
            await _require_quota(self._store, self._workspace, 0)
            _require_disk(self._store, 0)
        except NoSpace:
            self._change(-more)
            raise

    def wrote(self, count: int) -> None:
        """Note that `count` of the claimed bytes are in the file."""
        self._written += count
        self._store.blobs.space.wrote(count)

    def _change(self, count: int) -> None:
        if self._workspace is not None:
            claims = self._store.traffic.upload_bytes
            claims[self._workspace] = claims.get(self._workspace, 0) + count
            if not claims[self._workspace]:
                del claims[self._workspace]
        self._store.blobs.space.claim(count)
        self._claimed += count

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._store.blobs.space.claim(self._written)  # those bytes are the file system's to count, kept or removed
        self._change(-self._claimed)
