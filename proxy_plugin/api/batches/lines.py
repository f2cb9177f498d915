"""`GET /batches/{id}/lines`: the ledger of an ended batch, whole or chosen.

The ledger is read, searched and chosen from by threads, a block of 256 KiB at a time, so neither memory nor the event
loop knows how long it is. It is kept as long as the batch's output or error file is.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from aiohttp import hdrs, web

from proxy_plugin.api import ids
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.errors import Conflict, NotFound
from proxy_plugin.routing.route import may_go_on
from proxy_plugin.storage import states
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.web.queries import integer, one_of

if TYPE_CHECKING:
    from proxy_plugin.storage.batch_folders import BatchFolders
    from proxy_plugin.storage.blobs import Blobs, Source

FILTERS = ("outcome", "provider", "virtual_key", "model", "code")
BLOCK_BYTES = 128 * 1024  # a client that does not read holds two of them
CONTENT_TYPE = "application/jsonl"
MOST_LINES = 10**12 - 1
ATTEMPTS, EVERY = "attempts", "all"
_LINE = b'{"line":'  # what every line of a ledger begins with
_NO_END = b'"counts":false'  # of a try behind which another one counts; within a JSON text its quotes had backslashes


class LineFacts(msgspec.Struct, frozen=True, gc=False):
    """What a ledger line can be chosen by."""

    outcome: str
    provider: str
    virtual_key: str
    model: str
    code: str | None = None


class Selection(msgspec.Struct, frozen=True):
    """Which lines: behind line number `after`, up to `limit` of them, with one of the values of every filter.

    `attempts`: also the tries that do not count, as the line went on and was told of elsewhere.
    """

    filters: dict[str, frozenset[str]]
    after: int
    limit: int | None
    attempts: bool = False

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return not self.filters and not self.after and self.limit is None

    def admits(self, line: bytes) -> bool:
        """Tell whether the filters let this line through."""
        if not self.attempts and _NO_END in line:
            return False
        if not self.filters:
            return True
        told = told_by(line)
        return all(getattr(told, name) in values for name, values in self.filters.items())


_quick = msgspec.json.Decoder(LineFacts).decode


def told_by(line: bytes) -> LineFacts:
    """Return what a line of a ledger can be chosen by."""
    try:
        return _quick(line)
    except msgspec.DecodeError:  # an id with half a surrogate pair, which only the standard library takes
        return msgspec.convert(json.loads(line), LineFacts)


async def lines(request: web.Request) -> web.StreamResponse:
    """GET and HEAD /batches/{batch_id}/lines: JSONL, an object a line, in input order. 409 before it has ended.

    With `attempts=all` an object for every try, those that do not count before the one that does.
    """
    batch, selection = await ids.visible_batch(request), _selection(request)
    if not may_go_on(batch.route):  # so every line of the ledger counts
        selection = msgspec.structs.replace(selection, attempts=True)
    require_ended(batch, "The lines of a batch are told when it has ended")
    gateway = request.app[GATEWAY]
    source = await gateway.blobs.read(open_ledger, gateway.folders, batch)
    try:
        return await _send(request, gateway.blobs, Chosen(source, selection), selection)
    finally:
        await gateway.blobs.read(source.close)


def require_ended(batch: BatchRow, what: str) -> None:
    """Raise Conflict, naming the status, for a batch that has not ended."""
    if batch.state not in states.BATCH_ENDS:
        status = states.public_status(batch.state, cancelling=batch.cancelling_at is not None)
        raise Conflict(f"{what}; this one is '{status}'. Ask again later, or cancel it.", code="batch_not_ended")


def ledger_of(folders: BatchFolders, batch: BatchRow) -> Path:
    """Return the path of an ended batch's ledger."""
    return folders.ledger(batch.id, batch.output_file_id or batch.error_file_id)


def open_ledger(folders: BatchFolders, batch: BatchRow) -> Source:
    """Return an ended batch's ledger, open. Raises Conflict if there never was one, NotFound if it went, StoreAway."""
    with suppress(FileNotFoundError):
        return folders.open(ledger_of(folders, batch))
    if batch.output_file_id is None and batch.error_file_id is None:
        raise Conflict("This batch failed before any line was sent; its 'errors' say why.", code="no_lines")
    raise NotFound("The records of this batch's lines were removed with its output and error files.")


async def _send(request: web.Request, blobs: Blobs, chosen: Chosen, selection: Selection) -> web.StreamResponse:
    block = await blobs.read(chosen.block)  # before the answer begins: a damaged ledger is an error, not half an answer
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: CONTENT_TYPE, "X-Content-Type-Options": "nosniff"})
    if selection.all and selection.attempts:
        response.content_length = chosen.size
    await response.prepare(request)
    while block is not None and request.method != hdrs.METH_HEAD:
        if block:
            await response.write(block)
        block = await blobs.read(chosen.block)
    await response.write_eof()
    return response


def _selection(request: web.Request) -> Selection:
    given = {name: frozenset(request.query.getall(name, [])) for name in FILTERS}
    return Selection(
        filters={name: values for name, values in given.items() if values},
        after=_number(request, "after") or 0,
        limit=_number(request, "limit"),
        attempts=bool(one_of(ATTEMPTS, asked, (EVERY,)) if (asked := request.query.get(ATTEMPTS)) else False),
    )


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    return integer(name, text, 0, MOST_LINES)


class Chosen:
    """The wanted lines of a ledger, a block at a time. Its methods block."""

    def __init__(self, source: Source, selection: Selection) -> None:
        self.size = source.size
        self._source, self._selection = source, selection
        self._left = selection.limit
        self._offset: int | None = None

    def block(self) -> bytes | None:
        """Return the wanted ones of the next lines, perhaps none of them; None at the end."""
        if self._offset is None:
            self._offset = self._beginning()
        if self._offset >= self.size or self._left == 0:
            return None
        data = self._whole_lines(self._offset)
        self._offset += len(data)
        whole = self._selection.all and (self._selection.attempts or _NO_END not in data)
        return data if whole else self._choose(data)

    def _choose(self, data: bytes) -> bytes:
        found = [line for line in data.split(b"\n")[:-1] if self._selection.admits(line)][: self._left]
        if self._left is not None:
            self._left -= len(found)
        return b"".join(line + b"\n" for line in found)

    def _whole_lines(self, offset: int) -> bytes:
        """Return a block without the line that it cuts, or one line that is longer than a block."""
        data = self._source.pread(BLOCK_BYTES, offset)
        end = data.rfind(b"\n") + 1
        while not end:
            more = self._source.pread(BLOCK_BYTES, offset + len(data))
            if not more:
                raise ValueError("the ledger ends within a line")
            end = len(data) + more.find(b"\n") + 1 if b"\n" in more else 0
            data += more
        return data[:end]

    def _beginning(self) -> int:
        """Return where the first line behind the wanted one begins: numbers rise, so halving finds it."""
        low, high = 0, self.size if self._selection.after else 0
        while low < high:
            begin = self._line_from((low + high) // 2)
            if begin >= high:
                high = (low + high) // 2
            elif self._number_at(begin) <= self._selection.after:
                low = self._line_from(begin + 1)
            else:
                high = begin
        return self._line_from(low)

    def _line_from(self, offset: int) -> int:
        """Return where the first line at or behind a byte begins."""
        at = offset - 1
        while 0 <= at < self.size:
            data = self._source.pread(4096, at)
            if b"\n" in data:
                return at + data.index(b"\n") + 1
            at += len(data)
        return 0 if at < 0 else self.size

    def _number_at(self, begin: int) -> int:
        head = self._source.pread(32, begin)
        return int(head.removeprefix(_LINE).split(b",", 1)[0])
