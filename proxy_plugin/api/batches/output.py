"""`GET /batches/{id}/output`: all final rows in input order, of both result files, also while the batch runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from proxy_plugin.api import ids
from proxy_plugin.api.batches.so_far import SO_FAR
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.errors import Unavailable
from proxy_plugin.storage import states
from proxy_plugin.storage.blobs import LocalSource, Source
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import files
from proxy_plugin.web.keys import CALLER

if TYPE_CHECKING:
    from proxy_plugin.storage.tables.batches import BatchRow

BLOCK_BYTES = 128 * 1024  # a client that does not read holds two of them
LOOKS = 5  # at a batch that ends while its rows are gathered; each look finds it further on
_BEHIND_ALL = 36**8
_ORDINAL_AT, _ORDINAL_LENGTH = len(b'{"id":"batch_req_') + 10, 8  # in a row: behind the mark, in base 36


async def output(request: web.Request) -> web.StreamResponse:
    """GET and HEAD /batches/{batch_id}/output: JSONL, whatever the client accepts; nothing yet is an empty body."""
    own_keys = request.app[GATEWAY].own_keys
    await own_keys.offered(request.headers, request[CALLER], await ids.visible_batch(request))
    for _ in range(LOOKS):
        batch = await ids.visible_batch(request)
        if request.method == hdrs.METH_HEAD and batch.state not in states.BATCH_ENDS:
            return await _send(request, _response(batch), [])  # its length is not known before its rows are merged
        sources = await _sources(request, batch)
        if sources is not None:
            return await _answer(request, batch, sources)
    raise Unavailable("The batch is just ending; ask again in a moment.")


async def _sources(request: web.Request, batch: BatchRow) -> list[Source] | None:
    """Return open files that together have all final rows; None if the batch ended while they were gathered."""
    gateway = request.app[GATEWAY]
    if batch.state in states.BATCH_ENDS:
        kept = await gateway.registry.read(_kept_results, batch, gateway.clock.now())
        return await gateway.blobs.read(_open_existing, [partial(gateway.blobs.open, file_id) for file_id in kept])
    with suppress(FileNotFoundError):  # its working files are gone
        async with request.app[SO_FAR].file(gateway, batch) as path:
            return await gateway.blobs.read(_open_existing, [partial(LocalSource, path)] if path is not None else [])
    return None


async def _answer(request: web.Request, batch: BatchRow, sources: list[Source]) -> web.StreamResponse:
    try:
        response = _response(batch)
        response.content_length = sum(source.size for source in sources)
        return await _send(request, response, sources)
    finally:
        await request.app[GATEWAY].blobs.read(_close, sources)


async def _send(request: web.Request, response: web.StreamResponse, sources: list[Source]) -> web.StreamResponse:
    """Write the rows; they are read and put in order by threads, a block at a time."""
    blobs, following = request.app[GATEWAY].blobs, blocks(sources)
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        while block := await blobs.read(next, following, b""):
            await response.write(block)
    await response.write_eof()
    return response


def _response(batch: BatchRow) -> web.StreamResponse:
    return web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "application/octet-stream",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{batch.id}_output.jsonl"',
            "X-Content-Type-Options": "nosniff",
        }
    )


def _kept_results(conn: Connection, batch: BatchRow, now: float) -> list[str]:
    """Return the files of an ended batch that were neither deleted nor have expired."""
    named = [file_id for file_id in (batch.output_file_id, batch.error_file_id) if file_id is not None]
    return [file_id for file_id in named if files.visible(conn, batch.workspace, file_id, now) is not None]


def _open_existing(ways: Iterable[Callable[[], Source]]) -> list[Source]:
    found = []
    for way in ways:
        with suppress(FileNotFoundError):  # deleted this moment
            found.append(way())
    return found


def _close(sources: Iterable[Source]) -> None:
    for source in sources:
        source.close()


def blocks(sources: list[Source]) -> Iterator[bytes]:
    """Yield the rows of one file, or of two in input order, in blocks of 256 KiB. Raises ValueError for a torn file."""
    block = bytearray()
    for source, begin, end in _extents(sources):
        for offset in range(begin, end, BLOCK_BYTES):
            block += source.pread(min(BLOCK_BYTES, end - offset), offset)
            if len(block) >= BLOCK_BYTES:
                yield bytes(block)
                block.clear()
    yield bytes(block)


def _extents(sources: list[Source]) -> Iterator[tuple[Source, int, int]]:
    """Yield which bytes of which file come next. Each file has its rows in input order."""
    rows = [_Rows(source) for source in sources]
    while len(rows) > 1:
        rows.sort(key=lambda each: each.ordinal)
        first, other = rows
        begin = first.at
        while first.ordinal < other.ordinal and first.at - begin < BLOCK_BYTES:
            first.advance()
        yield first.source, begin, first.at
        rows = [each for each in rows if each.at < each.source.size]
    for last in rows:
        yield last.source, last.at, last.source.size


class _Rows:
    """The rows of a file, one after the other: where the next begins, and the ordinal of its line."""

    def __init__(self, source: Source) -> None:
        self.source, self.at = source, 0
        self._window, self._base = b"", 0
        self.ordinal = self._ordinal()

    def advance(self) -> None:
        """Go to the next row. A long one is passed by in windows of 256 KiB."""
        end = self._window.find(b"\n", self.at - self._base)
        while end < 0:
            self._read(self._base + len(self._window))
            end = self._window.find(b"\n")
        self.at = self._base + end + 1
        self.ordinal = self._ordinal()

    def _ordinal(self) -> int:
        if self.at >= self.source.size:
            return _BEHIND_ALL
        if self.at + _ORDINAL_AT + _ORDINAL_LENGTH > self._base + len(self._window):
            self._read(self.at)
        begin = self.at - self._base + _ORDINAL_AT
        return int(self._window[begin : begin + _ORDINAL_LENGTH], 36)

    def _read(self, offset: int) -> None:
        self._window, self._base = self.source.pread(BLOCK_BYTES, offset), offset
        if not self._window:
            raise ValueError("a result file ends within a row")
