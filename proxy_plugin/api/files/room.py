"""What it takes to keep a file, and how many files and uploads a workspace may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from proxy_plugin.ground.errors import TooManyRequests, Unavailable
from proxy_plugin.storage.tables import holdings

if TYPE_CHECKING:
    from proxy_plugin.config.bounds import Limits
    from proxy_plugin.gateway import Traffic
    from proxy_plugin.ground.clock import Clock
    from proxy_plugin.storage.blobs import Blobs
    from proxy_plugin.storage.connection import Connection
    from proxy_plugin.storage.registry import Registry
    from proxy_plugin.storage.room import Room

P = ParamSpec("P")
T = TypeVar("T")
NAMED_WITHIN = 3600.0  # seconds from the end of an upload to the commit of its row, of the day that an orphan has


@dataclass(frozen=True, slots=True)
class Store:
    """What it takes to keep a file: where its bytes and its row go, and what else is on its way there."""

    registry: Registry
    blobs: Blobs
    clock: Clock
    limits: Limits
    traffic: Traffic
    room: Room


async def named(store: Store, insert: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run the transaction that names a blob which has just been published. Raises Unavailable, and what it raises.

    A store's bytes without a row go when they are a day old. A process may have been stopped since it published these,
    so the transaction itself looks at the clock: what is not named soon is not named any more.
    """
    if store.blobs.tree is None:
        return await store.registry.write(insert, *args, **kwargs)
    until = store.clock.now() + NAMED_WITHIN

    def in_time(conn: Connection) -> T:
        if store.clock.now() > until:
            raise Unavailable("The gateway was stopped while it stored the file; send it again.")
        return insert(conn, *args, **kwargs)

    return await store.registry.write(in_time)


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
