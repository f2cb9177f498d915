"""What it takes to keep a file, and how many files and uploads a workspace may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy_plugin.ground.errors import TooManyRequests, Unavailable
from proxy_plugin.storage.tables import holdings

if TYPE_CHECKING:
    from proxy_plugin.config.sections import Limits
    from proxy_plugin.gateway import Traffic
    from proxy_plugin.ground.clock import Clock
    from proxy_plugin.storage.blobs import Blobs
    from proxy_plugin.storage.registry import Registry
    from proxy_plugin.storage.room import Room


@dataclass(frozen=True, slots=True)
class Store:
    """What it takes to keep a file: where its bytes and its row go, and what else is on its way there."""

    registry: Registry
    blobs: Blobs
    clock: Clock
    limits: Limits
    traffic: Traffic
    room: Room


def require_turn(store: Store, workspace: str | None) -> None:
    """Raise Unavailable while the gateway stops, and TooManyRequests while as many uploads run as may."""
    if store.traffic.stopping:
        raise Unavailable("The gateway is stopping; send the file again in a moment.")
    most = store.limits.max_uploads
    if store.traffic.uploads >= most:
        raise TooManyRequests(f"{most} uploads are running already; try again in a moment.")
    own = store.limits.uploads_of_one
    if workspace is not None and store.traffic.uploads_of[workspace] >= own:
        raise TooManyRequests(f"{own} uploads of this workspace are running already; try again in a moment.")


async def require_files(store: Store, workspace: str | None) -> None:
    """Raise TooManyRequests where a workspace has as many files as it may, before it sends another one in vain."""
    most = store.limits.max_workspace_files
    if workspace is not None and await store.registry.read(holdings.files, workspace) >= most:
        raise too_many_files(most)


def too_many_files(most: int) -> TooManyRequests:
    """Return the refusal of a file that is one too many."""
    return TooManyRequests(
        f"The workspace has {most} files, parts of uploads included, as many as it may. Delete files that are no longer"
        " needed.",
        code="too_many_files",
    )
