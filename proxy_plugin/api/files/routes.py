"""The Files routes: create, list, retrieve, delete, content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import hdrs, web

from proxy_plugin.access.callers import Caller
from proxy_plugin.api import ids
from proxy_plugin.api.files import at_provider, content
from proxy_plugin.api.files.at_provider import Accounts
from proxy_plugin.api.files.form import precheck, receive
from proxy_plugin.api.files.room import Store
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground import failpoints
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import files, provider_files
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.queries import integer, one_of
from proxy_plugin.web.served import Served

LIMITS = range(1, 10_000 + 1)  # of a page; "List files", OpenAI's openapi.yaml of 2026-08-21
ORDERS = ("desc", "asc")  # the default first
SMALL_PAGE = 100  # read on the event loop: 1 ms; longer ones on a thread
SLICE = 200  # rows that are in memory as rows at once


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


def store_of(gateway: Gateway) -> Store:
    """Return the parts of a gateway that keep a file."""
    return Store(gateway.registry, gateway.blobs, gateway.clock, gateway.config.limits, gateway.traffic, gateway.room)


def accounts_of(gateway: Gateway) -> Accounts:
    """Return the parts of a gateway that reach a provider."""
    return Accounts(gateway.config, gateway.own_keys, gateway.http, gateway.secret)


async def precheck_file(request: web.Request) -> None:
    """Refuse what the headers of an upload alone show to be impossible. Raises GatewayError."""
    await precheck(request, store_of(request.app[GATEWAY]))


async def create_file(request: web.Request) -> web.Response:
    """POST /files: store an upload; its lines are checked afterwards."""
    gateway = request.app[GATEWAY]
    row = await receive(request, store_of(gateway), accounts_of(gateway))
    gateway.engine.wake()
    return json_answer(file_object(row))


async def retrieve_file(request: web.Request) -> web.Response:
    """GET /files/{file_id}."""
    return json_answer(file_object(await ids.visible_file(request)))


async def delete_file(request: web.Request) -> web.Response:
    """DELETE /files/{file_id}: the name goes now; the bytes go with the housekeeping, once no live batch needs them."""
    gateway, row = request.app[GATEWAY], await ids.visible_file(request)
    if (where := await gateway.registry.read(provider_files.place, row.id)) is not None:
        await at_provider.delete(request, accounts_of(gateway), where)
    failpoints.passing("delete_file.before")
    if not await gateway.registry.write(files.hide, row.workspace, row.id, gateway.clock.now()):
        raise ids.no_such_file(row.id)
    failpoints.passing("delete_file.after")
    return json_answer({"id": row.id, "object": "file", "deleted": True})


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
    await ids.also_said(request)
    page = _page(request, gateway.clock.now())
    if page.limit <= SMALL_PAGE:
        body = await gateway.registry.read(_page_body, page)
    else:
        body = await gateway.registry.scan(_page_body, page)
    if body is None:
        raise BadRequest("'after' is not the id of a file of this workspace.", param="after")
    return web.Response(body=body, content_type="application/json")


def _page(request: web.Request, now: float) -> _Page:
    query = request.query
    limit = integer("limit", query.get("limit", str(LIMITS[-1])), LIMITS[0], LIMITS[-1])
    order = one_of("order", query.get("order", ORDERS[0]), ORDERS)
    after = unquote(query["after"]) if query.get("after") else None
    return _Page(request[CALLER], now, after, limit, order, query.get("purpose") or None)


def _page_body(conn: Connection, page: _Page) -> bytes | None:
    """Return the JSON of the page, made slice by slice; None if the cursor names nothing."""
    found: list[str] = []
    objects: list[bytes] = []
    after = page.after
    while (left := page.limit + 1 - len(found)) > 0:
        rows = _slice(conn, page, after, min(left, SLICE))
        if rows is None:
            return None
        shown = ids.permitted(conn, page.caller, rows)
        found += [row.id for row in shown]
        objects += [orjson.dumps(file_object(row)) for row in shown]
        if len(rows) < min(left, SLICE):
            break
        after = rows[-1].id
    has_more = len(found) > page.limit
    page_ids = found[: page.limit]
    ends = {"first_id": page_ids[0], "last_id": page_ids[-1]} if page_ids else {"first_id": "", "last_id": ""}
    tail = orjson.dumps(ends | {"has_more": has_more})
    return b'{"object":"list","data":[%b],%b' % (b",".join(objects[: page.limit]), tail[1:])


def _slice(conn: Connection, page: _Page, after: str | None, limit: int) -> list[FileRow] | None:
    return files.page(
        conn, page.caller.workspace, now=page.now, after=after, limit=limit, order=page.order, purpose=page.purpose
    )


async def file_content(request: web.Request) -> web.StreamResponse:
    """GET and HEAD /files/{file_id}/content: the bytes, or one range of them."""
    gateway, row = request.app[GATEWAY], await ids.visible_file(request)
    if (where := await gateway.registry.read(provider_files.place, row.id)) is not None:
        return await at_provider.content(request, accounts_of(gateway), row, where)
    return await content.send(request, gateway.blobs, row)


ROUTES = [
    Served(hdrs.METH_POST, "/files", create_file, precheck_file, new_work=True),
    Served(hdrs.METH_GET, "/files", list_files),
    Served(hdrs.METH_GET, "/files/{file_id}", retrieve_file),
    Served(hdrs.METH_DELETE, "/files/{file_id}", delete_file),
    Served(hdrs.METH_GET, "/files/{file_id}/content", file_content),
    Served(hdrs.METH_HEAD, "/files/{file_id}/content", file_content),
]
