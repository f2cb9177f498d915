"""`GET /batches/{id}/events`, `GET /batches/events?id=…`: how batches go on, as server-sent events.

    event: batch      data: the batch as `GET /batches/{id}` shows it, at first and whenever it has changed
    event: timeline   data: one entry of its timeline, `id:` its place: `Last-Event-ID` goes on behind it
    event: end        data: {}   all of them have ended; a client that hangs up now has missed nothing

The registry alone is asked, once a second. A stream lasts ten minutes at most, so that a key that was taken away ends,
too; its client asks again. It ends at once when the gateway stops.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson
from aiohttp import hdrs, web

from proxy_plugin.api import ids
from proxy_plugin.api.batches import jobs
from proxy_plugin.api.batches.objects import described
from proxy_plugin.api.batches.timeline import entry
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground.errors import BadRequest, TooManyRequests
from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.views import history, pulse
from proxy_plugin.web.keys import CALLER

LOOK_SECONDS = 1.0
SILENT_SECONDS = 15.0  # after which a comment is sent, so that nobody between takes the stream for dead
LONGEST_SECONDS = 600.0
MOST_IDS = 100
MOST_EACH = 50  # streams of one workspace at a time: each is a request that runs, of which it has 200
LAST_EVENT_ID = "Last-Event-ID"
_PAGE = 500
_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold it back
    "X-Content-Type-Options": "nosniff",
}


class Streams:
    """How many there are, by workspace."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()

    @contextmanager
    def counted(self, workspace: str) -> Iterator[None]:
        """Count one while it runs. Raises TooManyRequests."""
        if self._running[workspace] >= MOST_EACH:
            raise TooManyRequests(f"{MOST_EACH} streams of events of this workspace are open; close one of them first.")
        self._running[workspace] += 1
        try:
            yield
        finally:
            self._running[workspace] -= 1
            if not self._running[workspace]:
                del self._running[workspace]


STREAMS = web.AppKey("proxy_plugin.streams", Streams)
Pulse = tuple[Hashable, ...]


@dataclass(slots=True)
class Following:
    """What one stream is about, and what it has told. `after`: the last entry of the timeline; None: without it."""

    workspace: str
    batch_ids: list[str]
    with_jobs: bool
    after: int | None
    told: dict[str, Pulse] = field(default_factory=dict)
    version: Hashable = None  # of the registry, when it was looked at last

    def look(self, conn: Connection) -> dict[str, Pulse]:
        """Return what is to be told now: those of the batches whose pulse is another.

        The jobs of one batch are looked at, too; those of many are told when the counts of their batch have changed.
        """
        version = pulse.version(conn)
        if version == self.version:
            return {}
        self.version = version
        open_ = [each for each in self.batch_ids if self.told.get(each, ("",))[0] not in states.BATCH_ENDS]
        found = pulse.of_batches(conn, self.workspace, open_)
        if self.after is not None:
            found = {each: (*beat, *pulse.with_jobs(conn, each)) for each, beat in found.items()}
        return {each: beat for each, beat in found.items() if self.told.get(each) != beat}

    @property
    def over(self) -> bool:
        """Whether all of them have been told to have ended."""
        return all(self.told.get(each, ("",))[0] in states.BATCH_ENDS for each in self.batch_ids)


async def events(request: web.Request) -> web.StreamResponse:
    """Stream one batch, with its timeline; `include=jobs` tells its jobs, too. HEAD answers without a body."""
    with_jobs, after = jobs.wanted(request), _last_event(request)
    row = await ids.visible_batch(request)
    await request.app[GATEWAY].own_keys.offered(request.headers, request[CALLER], row)
    return await _stream(request, Following(row.workspace, [row.id], with_jobs, after))


async def events_of_many(request: web.Request) -> web.StreamResponse:
    """Stream up to 100 batches, `id` each, without their timelines."""
    with_jobs, wanted = jobs.wanted(request), list(dict.fromkeys(request.query.getall("id", [])))
    if not 0 < len(wanted) <= MOST_IDS:
        raise BadRequest(f"Name the batches to be told of as 'id', at least one and at most {MOST_IDS}.", param="id")
    workspace = request[CALLER].workspace
    known = await request.app[GATEWAY].registry.read(pulse.of_batches, workspace, wanted)
    for each in wanted:
        if each not in known:
            raise ids.no_such_batch(each)
    return await _stream(request, Following(workspace, wanted, with_jobs, None))


def _last_event(request: web.Request) -> int:
    text = request.headers.get(LAST_EVENT_ID, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


async def _stream(request: web.Request, watch: Following) -> web.StreamResponse:
    response = web.StreamResponse(headers=_HEADERS)
    if request.method == hdrs.METH_HEAD:
        await response.prepare(request)
        return response
    gateway = request.app[GATEWAY]
    with request.app[STREAMS].counted(watch.workspace):
        await response.prepare(request)
        await _run(request, response, gateway, watch)
    await response.write_eof()
    return response


async def _run(request: web.Request, response: web.StreamResponse, gateway: Gateway, watch: Following) -> None:
    loop = asyncio.get_running_loop()
    began = wrote = loop.time()
    while loop.time() - began < LONGEST_SECONDS and not gateway.traffic.stopping:
        data = await _news(gateway, watch)
        if watch.over:
            await response.write(data + _event("end", {}))
            return
        if not data and loop.time() - wrote >= SILENT_SECONDS:
            data = b": still there\n\n"
        if data:
            await response.write(data)
            wrote = loop.time()
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client has gone")
        await asyncio.sleep(LOOK_SECONDS)


async def _news(gateway: Gateway, watch: Following) -> bytes:
    """Return what is new, as events, and note that it is told."""
    found = await gateway.registry.read(watch.look)
    rows = await gateway.registry.read(_rows, list(found)) if found else []
    told = [_event("batch", each) for each in await described(gateway, rows, with_jobs=watch.with_jobs)]
    if found and watch.after is not None:
        told += await _happened(gateway, watch, watch.after)
    watch.told |= found
    return b"".join(told)


async def _happened(gateway: Gateway, watch: Following, after: int) -> list[bytes]:
    rows = await gateway.registry.read(history.of_batch, watch.batch_ids[0], after, _PAGE)
    told = [_event("timeline", entry(row), row.seq) for row in rows]
    watch.after = rows[-1].seq if rows else after
    return told + (await _happened(gateway, watch, watch.after) if len(rows) == _PAGE else [])


def _rows(conn: Connection, batch_ids: list[str]) -> list[BatchRow]:
    found = (batches.get(conn, each) for each in batch_ids)
    return [row for row in found if row is not None]


def _event(name: str, value: object, place: int | None = None) -> bytes:
    at = b"" if place is None else b"id: %d\n" % place
    return at + b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(value))
