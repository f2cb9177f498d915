"""Room for uploads: on the disk, down to its reserve, and in a workspace, up to its quota.

An upload claims its bytes before it writes them, so that many at once cannot fill the disk together. What a request's
Content-Length promises is claimed at the start, what comes beyond it block by block.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from proxy_plugin.errors import NoSpace
from proxy_plugin.storage.tables import files

if TYPE_CHECKING:
    from proxy_plugin.gateway import Gateway

DISK_FULL = "The disk is full; nothing was stored. The gateway's operator has to make room."


def require_room(gateway: Gateway, workspace: str | None, count: int) -> None:
    """Raise NoSpace unless `count` more bytes fit on the disk and, where one is given, in the workspace."""
    limits = gateway.config.limits
    if workspace is not None and limits.max_workspace_bytes is not None:
        stored = gateway.registry.read_now(lambda conn: files.stored_bytes(conn, workspace))
        if stored + gateway.traffic.upload_bytes.get(workspace, 0) + count > limits.max_workspace_bytes:
            raise NoSpace(
                f"The workspace would store more than its {limits.max_workspace_bytes} bytes; nothing was stored."
                " Delete files that are no longer needed."
            )
    if count > 0 and gateway.blobs.space.room() - count < limits.disk_reserve_bytes:
        raise NoSpace(DISK_FULL)


class Claim:
    """The bytes that one upload has reserved; leaving the context gives back what no row accounts for.

    Without a workspace only the disk is asked: for bytes that replace others which the workspace stores already.
    """

    def __init__(self, gateway: Gateway, workspace: str | None) -> None:
        self._gateway, self._workspace = gateway, workspace
        self._claimed = self._written = 0

    def cover(self, total: int) -> None:
        """Claim up to `total` bytes for this upload. Raises NoSpace."""
        more = total - self._claimed
        if more <= 0:
            return
        require_room(self._gateway, self._workspace, more)
        self._change(more)

    def wrote(self, count: int) -> None:
        """Note that `count` of the claimed bytes are in the file."""
        self._written += count
        self._gateway.blobs.space.wrote(count)

    def _change(self, count: int) -> None:
        if self._workspace is not None:
            claims = self._gateway.traffic.upload_bytes
            claims[self._workspace] = claims.get(self._workspace, 0) + count
            if not claims[self._workspace]:
                del claims[self._workspace]
        self._gateway.blobs.space.claim(count)
        self._claimed += count

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._gateway.blobs.space.claim(self._written)  # those bytes are the file system's to count, kept or removed
        self._change(-self._claimed)
