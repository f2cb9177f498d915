"""Answers to creates: whether the client has them decides what an equal create means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from proxy_plugin.ground import logs
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.tables import batches

LOG = logging.getLogger("proxy_plugin.batches")

Request = tuple[str, str, str]  # workspace, caller, hash of a create


class Replies:
    """Answers to creates of which it is not known yet whether the client has them.

    Whether an equal create is a repetition or a deliberate second run depends on that, so it waits for the word.
    """

    def __init__(self) -> None:
        self._open: dict[Request, asyncio.Future[None]] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def settled(self, request: Request) -> None:
        """Return when no answer to an equal create is on its way."""
        while (waiting := self._open.get(request)) is not None:
            await asyncio.shield(waiting)

    @contextmanager
    def sending(self, request: Request) -> Iterator[None]:
        """Hold back equal creates."""
        done = asyncio.get_running_loop().create_future()
        earlier = self._open.setdefault(request, done)
        try:
            yield
        finally:
            done.set_result(None)
            if earlier is done:
                del self._open[request]

    def note(self, registry: Registry, batch_id: str, now: float) -> None:
        """Write down, beside everything else, that the client has its answer."""
        task = asyncio.create_task(_note_replied(registry, batch_id, now))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def close(self) -> None:
        """Return when everything noted is written."""
        await asyncio.gather(*self._notes)


REPLIES = web.AppKey("proxy_plugin.replies", Replies)


async def _note_replied(registry: Registry, batch_id: str, now: float) -> None:
    try:
        await registry.write(batches.replied, batch_id, now)
    except StorageError as error:  # an equal create then gets this batch again
        logs.event(LOG, "reply_not_noted", level=logging.WARNING, error=error)
