"""The content of a stored file on its way out: the bytes, one range of them, or all of them as one JSON string.

The string is for clients that were generated from OpenAI's description, which says of `GET /files/{file_id}/content`
that it answers `application/json` with a string (commit f85dbe2, 2026-08-21); strict ones parse what they get. OpenAI's
service sends the bytes, and the SDKs of OpenAI and Portkey expect them, some of them under the same `Accept`: so only
who sends none of their headers and accepts nothing but JSON gets the string.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import ClassVar
from urllib.parse import quote

import orjson
from aiohttp import hdrs, web

from proxy_plugin.api.ids import no_such_file
from proxy_plugin.ground.errors import GatewayError
from proxy_plugin.storage.blobs import Blobs, Source
from proxy_plugin.storage.tables.files import FileRow

BLOCK_BYTES = 64 * 1024  # read and sent at once; a client that does not read holds two of them
JSON = "application/json"
_SDK_PREFIXES = ("x-stainless-", "x-portkey-")
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")


class RangeNotSatisfiable(GatewayError):
    """The range begins behind the end of the file."""

    status: ClassVar[int] = 416
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The range begins behind the end of the file, which has {size} bytes.", param="Range")
        self._size = size

    def headers(self) -> dict[str, str]:
        """Return the size too, as RFC 9110 section 15.5.17 asks."""
        return super().headers() | {hdrs.CONTENT_RANGE: f"bytes */{self._size}"}


async def send(request: web.Request, blobs: Blobs, row: FileRow) -> web.StreamResponse:
    """Answer a GET or HEAD of a file's content. Raises NotFound, RangeNotSatisfiable, GatewayError.

    Where the bytes are in a store alone they are read from there, a megabyte at a time, or less where many are read.

    Blocks are read by threads: `sendfile` would read from a slow disk on the event loop. The open file outlives its
    name, so a delete does not cut a running download. The JSON string has no ranges.
    """
    text = JsonText() if _json_asked_for(request) else None
    span = None if text else _span(request, row)
    source = await blobs.read(_open, blobs, row)
    try:
        response = _json_response() if text else _response(row, span)
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            await _write(response, blobs, source, span or range(row.bytes), text)
        await response.write_eof()
    finally:
        await blobs.read(source.close)  # a thread: the last close of a deleted file frees its blocks
    return response


async def _write(
    response: web.StreamResponse, blobs: Blobs, source: Source, span: range, text: JsonText | None
) -> None:
    for offset, count in _blocks(span):
        await response.write(await blobs.read(_read_block, source, offset, count, text))
    if text is not None:
        await response.write(text.end())


def _read_block(source: Source, offset: int, count: int, text: JsonText | None) -> bytes:
    data = _read_exactly(source, offset, count)
    return data if text is None else text.feed(data)


def _response(row: FileRow, span: range | None) -> web.StreamResponse:
    headers = {
        hdrs.CONTENT_TYPE: "application/octet-stream",
        hdrs.CONTENT_DISPOSITION: disposition(row.filename),
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.ETAG: _etag(row),
        hdrs.LAST_MODIFIED: format_datetime(_created(row), usegmt=True),
        "X-Content-Type-Options": "nosniff",
    }
    if span is None:
        response = web.StreamResponse(headers=headers)
        response.content_length = row.bytes
        return response
    headers[hdrs.CONTENT_RANGE] = f"bytes {span[0]}-{span[-1]}/{row.bytes}"
    response = web.StreamResponse(status=206, headers=headers)
    response.content_length = len(span)
    return response


def _span(request: web.Request, row: FileRow) -> range | None:
    """Return the asked range, None for the whole file. What is not one valid range is ignored (RFC 9110, 14.2)."""
    asked = _RANGE.fullmatch(request.headers.get(hdrs.RANGE, "").strip())
    if asked is None or not _still_current(request.headers.get(hdrs.IF_RANGE), row):
        return None
    first, last = asked.groups()
    if not first and not last:
        return None
    if not first:
        span = range(max(0, row.bytes - int(last)), row.bytes)
    elif last and int(last) < int(first):
        return None
    else:
        span = range(int(first), min(row.bytes, int(last) + 1) if last else row.bytes)
    if not span:
        raise RangeNotSatisfiable(row.bytes)
    return span


def _still_current(condition: str | None, row: FileRow) -> bool:
    """Tell whether what the client has is this file: its ETag, or its exact date."""
    if condition is None or condition.strip() == _etag(row):
        return True
    with suppress(ValueError):
        return parsedate_to_datetime(condition) == _created(row)
    return False


def _etag(row: FileRow) -> str:
    return f'"{row.sha256}"'


def _created(row: FileRow) -> datetime:
    return datetime.fromtimestamp(row.created_at, UTC)


def disposition(filename: str) -> str:
    """Return a header that no name can break out of: a plain name for everybody, the exact one in RFC 8187's form."""
    name = re.split(r"[/\\]", filename)[-1].lstrip(".") or "file.jsonl"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{exact}'


def _open(blobs: Blobs, row: FileRow) -> Source:
    """Open a blob. Raises NotFound if it went this moment, GatewayError if it is not what was stored, StoreAway."""
    try:
        source = blobs.open(row.id)
    except FileNotFoundError:
        raise no_such_file(row.id) from None
    if source.size != row.bytes:
        source.close()
        raise GatewayError("The stored file is damaged: its size is not what was stored.")
    return source


def _blocks(span: range) -> Iterator[tuple[int, int]]:
    for offset in range(span.start, span.stop, BLOCK_BYTES):
        yield offset, min(BLOCK_BYTES, span.stop - offset)


def _read_exactly(source: Source, offset: int, count: int) -> bytes:
    data = source.pread(count, offset)
    while len(data) < count:
        more = source.pread(count - len(data), offset + len(data))
        if not more:
            raise GatewayError("The stored file ended early.")
        data += more
    return data


# ---- as JSON ----


def _json_asked_for(request: web.Request) -> bool:
    """Tell whether this client has to be given a JSON string."""
    if [value.strip().lower() for value in request.headers.getall(hdrs.ACCEPT, [])] != [JSON]:
        return False
    return not any(name.lower().startswith(_SDK_PREFIXES) for name in request.headers)


def _json_response() -> web.StreamResponse:
    """Return the beginning of the answer, whose length nobody knows before the whole file is read."""
    answer = web.StreamResponse(headers={"X-Content-Type-Options": "nosniff"})
    answer.content_type = JSON
    return answer


class JsonText:
    """Bytes on their way into one JSON string. What is no UTF-8 becomes U+FFFD, also where blocks meet."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False

    def feed(self, block: bytes) -> bytes:
        """Return the JSON of what the block completes."""
        opening = b"" if self._begun else b'"'
        self._begun = True
        return opening + orjson.dumps(self._decoder.decode(block))[1:-1]

    def end(self) -> bytes:
        """Return what closes the string."""
        return self._closing(orjson.dumps(self._decoder.decode(b"", final=True)))

    def _closing(self, last: bytes) -> bytes:
        return last[1:] if self._begun else last
