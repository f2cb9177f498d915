"""The final rows of a batch that still runs, as one temporary file that all who ask at the same time share.

A worker merges them. What is final changes only when another part ends, so the file is known by the batch and its ended
parts; it goes a moment after its last reader, and at the latest with the next start of the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy_plugin.engine.sharing.at_hand import for_merge
from proxy_plugin.engine.worker_jobs import merge_bytes, merge_job
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground.errors import Unavailable
from proxy_plugin.ground.turns import Turns
from proxy_plugin.ground.workers import OutOfBudget
from proxy_plugin.lines.merge import merge_so_far
from proxy_plugin.storage.room import ENDING, Claim
from proxy_plugin.storage.states import PART_ENDS
from proxy_plugin.storage.tables import files, parts, submissions
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow

TOO_SLOW = "The rows could not be put together in time; ask for them again later."
LINGER_SECONDS = 5.0  # that a file waits for another reader

Known = tuple[str, frozenset[int]]  # a batch and its ended parts


@dataclass(slots=True)
class _Shared:
    made: asyncio.Task[Path]
    readers: int = 0


class SoFar:
    """The files there are now. Two are made at a time, of one workspace one: each occupies a worker.

    Workspaces take turns.
    """

    def __init__(self) -> None:
        self._files: dict[Known, _Shared] = {}
        self._turns = Turns(2, most_each=1)
        self._removing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def file(self, gateway: Gateway, batch: BatchRow) -> AsyncIterator[Path | None]:
        """Lend the file of a batch's final rows; None where no row is final.

        Raises FileNotFoundError if the batch ended meanwhile, NoSpace, and OSError.
        """
        found = await gateway.registry.read(parts.of_batch, batch.id)
        rows = [row for row in found if row.state in PART_ENDS and row.state != "replaced"]
        if batch.split_dir is None or not (rows or batch.rejected or batch.cached):
            yield None
            return
        known = (batch.id, frozenset(row.n for row in rows))
        shared = self._files.get(known)
        if shared is None:
            making = self._make(gateway, batch, found)
            shared = self._files[known] = _Shared(asyncio.create_task(making, name="rows so far"))
        shared.readers += 1
        try:
            yield await asyncio.shield(shared.made)
        finally:
            shared.readers -= 1
            if not shared.readers:
                self._later(self._remove_unread(gateway, known, shared))

    async def close(self) -> None:
        """Stop waiting for readers; the next start removes the files."""
        tasks = [*self._removing, *(shared.made for shared in self._files.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, gateway: Gateway, batch: BatchRow, rows: list[PartRow]) -> Path:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._turns.turn(batch.workspace))
            path = gateway.blobs.temp_path()
            attempts = await gateway.registry.read(submissions.attempts, batch.id)
            stack.enter_context(gateway.blobs.held())
            job = merge_job(gateway.blobs, gateway.folders, batch, rows, attempts, path)
            await for_merge(gateway.blobs, gateway.folders, batch, job)
            lines = batch.rejected + batch.cached + sum(row.lines for row in rows if row.n in job.fates)
            size = await gateway.blobs.read(merge_bytes, job, lines)
            source = await gateway.registry.read(files.get, batch.input_file_id)
            terms = gateway.terms(batch.workspace, size + (source.bytes if source else 0))
            with Claim(gateway.room, batch.workspace, rank=ENDING) as claim:
                await claim.cover(size)
                try:
                    await gateway.workers.run(terms, merge_so_far, job, str(path))
                except OutOfBudget:
                    await gateway.blobs.write(path.unlink, missing_ok=True)
                    raise Unavailable(TOO_SLOW) from None
                except BaseException:
                    await gateway.blobs.write(path.unlink, missing_ok=True)
                    raise
            return path

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    async def _remove_unread(self, gateway: Gateway, known: Known, shared: _Shared) -> None:
        path: Path | None = None
        with suppress(Exception):  # whoever asked for it has been told
            path = await asyncio.shield(shared.made)
            await asyncio.sleep(LINGER_SECONDS)
        if shared.readers or self._files.get(known) is not shared:
            return
        del self._files[known]
        if path is not None:
            await gateway.blobs.write(path.unlink, missing_ok=True)


SO_FAR = web.AppKey("proxy_plugin.so_far", SoFar)
