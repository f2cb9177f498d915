"""The pictures of a batch whose route says `fetch_media`, gathered before its split (engine).

A worker lists the URLs, the event loop fetches what is not there yet, the split's worker puts the pictures into the
lines. Nothing of it is in the registry: the folder says what is left to do, whatever was killed when. A batch works on
it for a minute at a time and then lets others have the turn, workspace by workspace.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

import msgspec

from proxy_plugin.engine import space, tasks
from proxy_plugin.engine.desk import Desk
from proxy_plugin.ground import logs
from proxy_plugin.lines.picture_urls import UrlsJob, list_urls
from proxy_plugin.lines.split import SplitJob
from proxy_plugin.media.fetch import Bounds, Fetcher, connections
from proxy_plugin.media.store import MAX_URL, URLS, Media, known, name_of
from proxy_plugin.storage.batch_folders import size_of
from proxy_plugin.storage.room import Claim
from proxy_plugin.storage.tables import batches
from proxy_plugin.storage.tables.batches import BatchRow

LOG = logging.getLogger("proxy_plugin.engine")
AT_ONCE = 8  # pictures of one batch
TURN_SECONDS = 60.0
PAUSE_SECONDS = 2.0
QUEUE_SECONDS = 600.0  # until a batch in the queue asks by itself; it is called when it is its turn
_URLS_READ = 64
_STOPPED = "the batch was cancelled, or its window ended, before it came"


class NotYet(Exception):
    """Pictures are still to be fetched; go on after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


async def gathered(desk: Desk, batch: BatchRow, job: SplitJob, size: int) -> Media:
    """Return where the pictures are once each is there, or the reason why it is not. `size`: of the file.

    Raises NotYet, Full, OSError (a full disk), Unwanted, OutOfBudget and WorkerDied; what has been fetched is kept.
    """
    limits, folder = desk.gateway.config.limits, desk.folders.media(batch.id)
    if not desk.fetching.take(batch.workspace, batch.id):
        raise NotYet(QUEUE_SECONDS)
    try:
        await desk.folders.present_media(batch.id)
        with space.claiming(desk, batch, space.rank_of(desk, batch)) as claim:
            if not await asyncio.to_thread((folder / URLS).exists):
                await claim.cover(min(size, limits.max_media_files * MAX_URL))
                listing = UrlsJob(job, str(folder), limits.max_media_files)
                work = desk.gateway.workers.run(desk.gateway.terms(batch.workspace, size), list_urls, listing)
                await tasks.while_wanted(partial(tasks.to_be_sent, desk, batch), work)
                claim.wrote(await asyncio.to_thread(size_of, folder / URLS))
            whole = await _fetch(desk, batch, folder, claim)
    finally:
        called = desk.fetching.leave(batch.id)
        if called is not None:
            await desk.insist(batches.wake, called)
            desk.gateway.engine.wake()
    more = f"the file names more than {limits.max_media_files} pictures (limits.max_media_files); split it"
    return Media(str(folder), more if whole else _STOPPED, limits.max_line_bytes, limits.max_file_bytes)


async def _fetch(desk: Desk, batch: BatchRow, folder: Path, claim: Claim) -> bool:
    """Fetch what is missing. False: the batch wants no more of them. Raises NotYet when its turn is over, NoSpace."""
    config = desk.gateway.config
    limits, there, turn = config.limits, await asyncio.to_thread(known, folder), _Turn(desk, batch)
    bounds = Bounds(
        limits.max_media_bytes, limits.max_media_total_bytes, limits.max_media_seconds, config.server.media_hosts
    )
    with await asyncio.to_thread((folder / URLS).open, "rb") as stream:
        urls = _Urls(stream, frozenset(there))
        async with await connections(config.server.ca_bundle) as session:
            stored, proxy = sum(there.values()), desk.gateway.http.proxy
            fetcher = Fetcher(
                session, folder, bounds, stored=stored, proxy=proxy, cut_off=turn.cut_off, take=claim.take
            )
            whole = await _side_by_side(urls, fetcher, turn)
    logs.event(LOG, "media_fetched", batch=batch.id, stored_before=len(there), whole=whole)
    await desk.folders.share(folder)
    if not whole and not await turn.unwanted():
        raise NotYet(PAUSE_SECONDS)
    return whole


async def _side_by_side(urls: _Urls, fetcher: Fetcher, turn: _Turn) -> bool:
    """Fetch until the list ends, True, or the turn does."""

    async def one_after_the_other() -> bool:
        while not await turn.over():
            url = await urls.next()
            if url is None:
                return True
            if not await fetcher.fetch(url):
                return False
        return False

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one_after_the_other()) for _ in range(AT_ONCE)]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None  # the engine tells a full disk by its type
    return all(task.result() for task in tasks)


class _Turn:
    """How long a batch may go on fetching now."""

    def __init__(self, desk: Desk, batch: BatchRow) -> None:
        self._desk, self._batch = desk, batch
        self._end = desk.gateway.clock.monotonic() + TURN_SECONDS

    async def unwanted(self) -> bool:
        """Tell whether nothing of the batch will be sent any more."""
        batch = await self._desk.batch(self._batch.id)
        return batch.stopping is not None or self._desk.now() >= batch.expires_at

    async def cut_off(self) -> bool:
        """Tell whether what has begun should not be tried again."""
        return self._desk.gateway.traffic.stopping or await self.unwanted()

    async def over(self) -> bool:
        """Tell whether nothing more should begin."""
        return self._desk.gateway.clock.monotonic() >= self._end or await self.cut_off()


class _Urls:
    """The URLs of a list that have no file yet, read a few at a time, off the event loop."""

    def __init__(self, stream: IO[bytes], there: frozenset[str]) -> None:
        self._stream, self._there = stream, there
        self._waiting: list[str] = []
        self._reading = asyncio.Lock()
        self._ended = False

    async def next(self) -> str | None:
        async with self._reading:
            while not self._waiting and not self._ended:
                self._waiting = await asyncio.to_thread(self._read)
            return self._waiting.pop() if self._waiting else None

    def _read(self) -> list[str]:
        lines = [msgspec.json.decode(line, type=str) for line in islice(self._stream, _URLS_READ)]
        self._ended = not lines
        return [url for url in reversed(lines) if name_of(url) not in self._there]
