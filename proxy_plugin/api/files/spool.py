"""Bytes on their way into a temp file, and from there to a blob and the row that names it.

Until the row is committed nothing is promised to the client, and whatever ends the way (an error, a client that
leaves, a kill) leaves nothing that a row names; the start-up sweep removes what a kill left. Bytes are hashed and
written by threads in blocks of 256 KiB.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from proxy_plugin.api.files.room import Store, named, require_turn, too_many_files
from proxy_plugin.ground import failpoints
from proxy_plugin.ground.durable import write_all
from proxy_plugin.ground.errors import BadRequest, TooLarge
from proxy_plugin.storage.blobs import Blobs
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import DatabaseAway, RegistryFull
from proxy_plugin.storage.room import Claim, DiskFull
from proxy_plugin.storage.space import is_full
from proxy_plugin.storage.tables import holdings
from proxy_plugin.web.multipart import Malformed

if TYPE_CHECKING:
    from proxy_plugin.storage.blobs.growing import GrowingObject

P = ParamSpec("P")
T = TypeVar("T")
BLOCK_BYTES = 256 * 1024  # hashed and written at once by a thread
FROM_BYTES = 10 * 2**20  # from which on a file is sent to the store as it comes: two of its pieces


@dataclass(frozen=True, slots=True)
class Bound:
    """How many bytes may come, and what is answered when there are more."""

    bytes: int
    message: str
    param: str

    def check(self, count: int) -> None:
        """Raise TooLarge for more bytes than allowed."""
        if count > self.bytes:
            raise TooLarge(self.message, param=self.param)


@asynccontextmanager
async def spooling(
    store: Store, workspace: str | None, bound: Bound, least: int, name: str | None = None
) -> AsyncIterator[Spool]:
    """Give room for the first of at least `least` bytes; leaving removes the temp file, unless it has become a blob.

    Without a workspace, for bytes that are here already, the room on the disk alone is claimed and no turn is asked. A
    stop of the gateway waits until this is left. `name`: of the blob that it is to become. Raises NoSpace, what
    `require_turn` raises, TooManyRequests for a file too many, and BadRequest for a form that was Malformed.
    """
    if workspace is not None:
        require_turn(store, workspace)  # here it counts: whoever asked earlier may have waited for the database since
    with _told(), _counted(store, workspace), Claim(store.room, workspace, announced=least) as claim:
        await claim.cover(min(least, 1))
        spool = Spool(store.blobs, claim, bound, name)
        try:
            yield spool
        finally:
            await spool.discard()


@contextmanager
def _counted(store: Store, workspace: str | None) -> Iterator[None]:
    store.traffic.uploads += 1
    if workspace is not None:
        store.traffic.uploads_of[workspace] += 1
    try:
        yield
    finally:
        store.traffic.uploads -= 1
        if workspace is not None:
            store.traffic.uploads_of[workspace] -= 1
            store.traffic.uploads_of += Counter()  # forgets who has none


@contextmanager
def _told() -> Iterator[None]:
    """Say in the words of an answer why a file is not kept."""
    try:
        yield
    except Malformed as error:
        raise BadRequest(f"The upload cannot be read: {error}.") from None
    except holdings.TooManyFiles as error:
        raise too_many_files(error.most) from None
    except RegistryFull:
        raise DiskFull from None
    except OSError as error:
        if is_full(error):
            raise DiskFull from None
        raise


async def keep(
    store: Store,
    spool: Spool,
    name: str,
    place: str,
    insert: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Make the blob and then the row; return what the transaction `insert` does. `place` names the failpoints.

    Not to be cancelled: a row that is being committed needs its blob.
    """
    blobs = store.blobs
    await spool.settle()
    try:
        await blobs.write(blobs.adopt, spool.path, name)
        await blobs.publish(name)
        failpoints.passing(f"{place}.renamed")
        kept = await named(store, insert, *args, **kwargs)
    except DatabaseAway:  # which may find later that it has the row
        raise
    except Exception:
        await blobs.discard(name)
        raise
    failpoints.passing(f"{place}.row")
    return kept


class Spool:
    """A temp file that exists from the first full block on.

    Where replicas share bytes, a long one with the `name` of a blob is sent to the store while it comes.
    """

    def __init__(self, blobs: Blobs, claim: Claim, bound: Bound, name: str | None = None) -> None:
        self.path = blobs.temp_path()
        self.size = 0
        self.name = name
        self._growing: GrowingObject | None = None
        self._asked = False
        self._blobs, self._claim, self._bound = blobs, claim, bound
        self._block = bytearray()
        self._hash = hashlib.sha256()
        self._descriptor: int | None = None

    async def add(self, data: bytes | memoryview) -> None:
        """Append to the file. Raises TooLarge, NoSpace, OSError."""
        self.size += len(data)
        self._bound.check(self.size)
        await self._claim.cover(self.size)
        self._block += data
        if len(self._block) >= BLOCK_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Return when everything so far is written, though not yet on the disk."""
        block, self._block = self._block, bytearray()
        await self._blobs.write(self._write, block)
        self._claim.wrote(len(block))
        if self._blobs.tree is not None:
            self._grow()

    def _grow(self) -> None:
        """Let the store have what is written, from the first megabytes on. What it cannot take now it gets later."""
        if self._growing is None and self.name is not None and self.size >= FROM_BYTES and not self._asked:
            self._asked = True
            self._growing = self._blobs.growing(self.name, self.path)
        if self._growing is not None:
            self._growing.grew(self._claim.written)

    async def settle(self) -> None:
        """Return when the bytes are durable, or ready to be published. Raises OSError."""
        if self._blobs.tree is None:
            await self._blobs.write(self.sync)
        elif self._growing is not None and self.name is not None and await self._growing.finish():
            self._blobs.streamed(self.name, self.path)

    def sync(self) -> None:
        """Return when the bytes are on the disk. Blocking."""
        assert self._descriptor is not None
        os.fsync(self._descriptor)
        failpoints.passing("ingest.synced")

    def sha256(self) -> str:
        """Return the hex digest of what has been flushed."""
        return self._hash.hexdigest()

    async def discard(self) -> None:
        """Close the temp file and remove it if it still has its temporary name."""
        if self._growing is not None:
            await self._growing.give_up()
        await self._blobs.write(self._discard)

    def _write(self, block: bytearray) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._hash.update(block)
        write_all(self._descriptor, block)
        failpoints.passing("ingest.temp")

    def _discard(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self.path.unlink(missing_ok=True)
