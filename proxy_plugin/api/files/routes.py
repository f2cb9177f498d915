"""The Files routes: create, list, retrieve, delete, content."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, unquote

import orjson
from aiohttp import hdrs, web

from proxy_plugin.access.callers import Caller
from proxy_plugin.api import ids as foreign_ids
from proxy_plugin.api.files import at_provider as provider_files
from proxy_plugin.api.files import json_content
from proxy_plugin.api.files.form import precheck, receive
from proxy_plugin.api.ids import no_such_file
from proxy_plugin.errors import BadRequest, Conflict, GatewayError
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import files
from proxy_plugin.storage.tables.files import FileInUse, FileRow
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.served import Served

if TYPE_CHECKING:
    from proxy_plugin.storage.blobs import Blobs

LIMITS = range(1, 10_000 + 1)  # of a page; "List files", OpenAI's openapi.yaml of 2026-08-21
ORDERS = ("desc", "asc")
SMALL_PAGE = 100  # read on the event loop: 1 ms; longer ones on a thread
SLICE = 200  # rows that are in memory as rows at once
BLOCK_BYTES = 256 * 1024  # of a download
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


def file_object(row: FileRow) -> dict[str, Any]:
    """Return the OpenAIFile of OpenAI's OpenAPI description (commit f85dbe2, 2026-08-21).

    What is absent is left out: strict generated clients refuse null.
    """
    fields = {
        "id": row.id,
        "object": "file",
        "bytes": row.bytes,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "filename": row.filename,
        "purpose": row.purpose,
        "status": row.state,
    }
    return {name: value for name, value in fields.items() if value is not None}


async def create_file(request: web.Request) -> web.Response:
    """POST /files: store an upload; its lines are checked afterwards."""
    row = await receive(request)
    request.app[GATEWAY].engine.wake()
    return json_answer(file_object(row))


async def retrieve_file(request: web.Request) -> web.Response:
    """GET /files/{file_id}."""
    return json_answer(file_object(_found(request)))


async def delete_file(request: web.Request) -> web.Response:
    """DELETE /files/{file_id}: the name goes now, the bytes when the housekeeping comes by."""
    gateway, file_id = request.app[GATEWAY], _file_id(request)
    workspace, now = request[CALLER].workspace, gateway.clock.now()
    if (where := provider_files.place(gateway, _found(request))) is not None:
        await provider_files.delete(request, where)
    try:
        if not await gateway.registry.write(lambda conn: files.hide(conn, workspace, file_id, now)):
            raise no_such_file(file_id)
    except FileInUse:
        raise Conflict("A batch that has not ended needs this file. Cancel it or wait for its end.") from None
    return json_answer({"id": file_id, "object": "file", "deleted": True})


def _file_id(request: web.Request) -> str:
    """Return the id in the path. Raises NotFound for one that no file of ours can have."""
    file_id = foreign_ids.in_path(request, "file_id")
    if not foreign_ids.could_be_ours(file_id):
        raise no_such_file(file_id)
    return file_id


def _found(request: web.Request) -> FileRow:
    """Return the file in the path if the caller's workspace can see it. Raises NotFound."""
    gateway, file_id, workspace = request.app[GATEWAY], _file_id(request), request[CALLER].workspace
    row = gateway.registry.read_now(lambda conn: files.visible(conn, workspace, file_id, gateway.clock.now()))
    if row is None or not gateway.registry.read_now(lambda c: provider_files.permitted(c, request[CALLER], [row])):
        raise no_such_file(file_id)
    return row


# ---- the list ----


@dataclass(frozen=True, slots=True)
class _Page:
    """Which page of the list was asked for."""

    caller: Caller
    now: float
    after: str | None
    limit: int
    order: str
    purpose: str | None


async def list_files(request: web.Request) -> web.Response:
    """GET /files: the caller's files, newest first unless `order=asc`."""
    gateway = request.app[GATEWAY]
    page = _page(request, gateway.clock.now())
    if page.limit <= SMALL_PAGE:
        body = gateway.registry.read_now(lambda conn: _page_body(conn, page))
    else:
        body = await gateway.registry.scan(lambda conn: _page_body(conn, page))
    if body is None:
        raise BadRequest("`after` is not the id of a file of this workspace.", param="after")
    return web.Response(body=body, content_type="application/json")


def _page(request: web.Request, now: float) -> _Page:
    query = request.query
    limit, order = query.get("limit", str(LIMITS[-1])), query.get("order", ORDERS[0])
    if not re.fullmatch(r"[0-9]{1,5}", limit) or int(limit) not in LIMITS:
        raise BadRequest(f"`limit` has to be a whole number from {LIMITS[0]} to {LIMITS[-1]}.", param="limit")
    if order not in ORDERS:
        raise BadRequest("`order` has to be `asc` or `desc`.", param="order")
    after = unquote(query["after"]) if query.get("after") else None
    return _Page(request[CALLER], now, after, int(limit), order, query.get("purpose") or None)


def _page_body(conn: Connection, page: _Page) -> bytes | None:
    """Return the JSON of the page, made slice by slice; None if the cursor names nothing."""
    ids: list[str] = []
    objects: list[bytes] = []
    after = page.after
    while (left := page.limit + 1 - len(ids)) > 0:
        rows = _slice(conn, page, after, min(left, SLICE))
        if rows is None:
            return None
        shown = provider_files.permitted(conn, page.caller, rows)
        ids += [row.id for row in shown]
        objects += [orjson.dumps(file_object(row)) for row in shown]
        if len(rows) < min(left, SLICE):
            break
        after = rows[-1].id
    has_more = len(ids) > page.limit
    page_ids = ids[: page.limit]
    ends = {"first_id": page_ids[0], "last_id": page_ids[-1]} if page_ids else {"first_id": "", "last_id": ""}
    tail = orjson.dumps(ends | {"has_more": has_more})
    return b'{"object":"list","data":[%b],%b' % (b",".join(objects[: page.limit]), tail[1:])


def _slice(conn: Connection, page: _Page, after: str | None, limit: int) -> list[FileRow] | None:
    return files.page(
        conn, page.caller.workspace, now=page.now, after=after, limit=limit, order=page.order, purpose=page.purpose
    )


# ---- the content ----


async def file_content(request: web.Request) -> web.StreamResponse:
    """GET and HEAD /files/{file_id}/content: the bytes, or one range of them.

    Blocks are read by threads: `sendfile` would read from a slow disk on the event loop. The open file outlives its
    name, so a delete does not cut a running download. Some clients get the bytes as a JSON string, which has no ranges.
    """
    row = _found(request)
    if (where := provider_files.place(request.app[GATEWAY], row)) is not None:
        return await provider_files.content(request, row, where, _disposition(row.filename))
    as_json = json_content.asked_for(request)
    span = None if as_json else _span(request, row)
    blobs = request.app[GATEWAY].blobs
    source = await blobs.read(_open, blobs.path(row.id), row)
    try:
        response = json_content.response() if as_json else _content_response(row, span)
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            text = json_content.Text() if as_json else None
            await _write_content(response, blobs, source, span or range(row.bytes), text)
        await response.write_eof()
    finally:
        await blobs.read(os.close, source)  # a thread: the last close of a deleted file frees its blocks
    return response


async def _write_content(
    response: web.StreamResponse, blobs: Blobs, source: int, span: range, text: json_content.Text | None
) -> None:
    for offset, count in _blocks(span):
        await response.write(await blobs.read(_read_block, source, offset, count, text))
    if text is not None:
        await response.write(text.end())


def _read_block(source: int, offset: int, count: int, text: json_content.Text | None) -> bytes:
    data = _read_exactly(source, offset, count)
    return data if text is None else text.feed(data)


def _content_response(row: FileRow, span: range | None) -> web.StreamResponse:
    headers = {
        hdrs.CONTENT_TYPE: "application/octet-stream",
        hdrs.CONTENT_DISPOSITION: _disposition(row.filename),
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


def _disposition(filename: str) -> str:
    """Return a header that no name can break out of: a plain name for everybody, the exact one in RFC 8187's form."""
    name = re.split(r"[/\\]", filename)[-1].lstrip(".") or "file.jsonl"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{exact}'


def _open(path: Path, row: FileRow) -> int:
    """Open a blob. Raises NotFound if it went this moment, GatewayError if it is not what was stored."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise no_such_file(row.id) from None
    if os.fstat(source).st_size != row.bytes:
        os.close(source)
        raise GatewayError("The stored file is damaged: its size is not what was stored.")
    return source


def _blocks(span: range) -> Iterator[tuple[int, int]]:
    for offset in range(span.start, span.stop, BLOCK_BYTES):
        yield offset, min(BLOCK_BYTES, span.stop - offset)


def _read_exactly(source: int, offset: int, count: int) -> bytes:
    data = os.pread(source, count, offset)
    while len(data) < count:
        more = os.pread(source, count - len(data), offset + len(data))
        if not more:
            raise GatewayError("The stored file ended early.")
        data += more
    return data


ROUTES = [
    Served(hdrs.METH_POST, "/files", create_file, precheck, new_work=True),
    Served(hdrs.METH_GET, "/files", list_files),
    Served(hdrs.METH_GET, "/files/{file_id}", retrieve_file),
    Served(hdrs.METH_DELETE, "/files/{file_id}", delete_file),
    Served(hdrs.METH_GET, "/files/{file_id}/content", file_content),
    Served(hdrs.METH_HEAD, "/files/{file_id}/content", file_content),
]
