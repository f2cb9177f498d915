"""`POST /batches`: check what is wanted, and make one durable row of it in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import orjson
from aiohttp import web

from proxy_plugin import failpoints, logs
from proxy_plugin.access import headers
from proxy_plugin.access.own_keys import NEEDED
from proxy_plugin.access.resolve import Resolved, resolve
from proxy_plugin.api.batches.replies import REPLIES
from proxy_plugin.api.ids import no_input_file
from proxy_plugin.errors import BadRequest, IdempotencyMismatch
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.routing.endpoints import asked_endpoint
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import Conflict
from proxy_plugin.storage.tables import batches, files
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.web.answers import batch_object, deliver, json_answer
from proxy_plugin.web.keys import CALLER, HEADERS
from proxy_plugin.web.request_body import json_object

LOG = logging.getLogger("proxy_plugin.batches")
WINDOW, WINDOW_SECONDS = "24h", 86_400
PAIRS_MAX, NAME_MAX, VALUE_MAX = 16, 64, 512  # metadata, same description
EXPIRY_MIN, EXPIRY_MAX = 3_600, 2_592_000


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /batches`: one durable row, decided and checked in one transaction, then the answer."""
    resolved = await resolved_route(request)
    row = new_row(request, wanted_in(await json_object(request)), resolved)
    return await conclude(request, row, resolved, lambda: _store(request, row))


async def resolved_route(request: web.Request) -> Resolved:
    """Return where the batch of a request goes. Raises BadRequest, Forbidden."""
    gateway, asked, caller = request.app[GATEWAY], request[HEADERS], request[CALLER]
    return await resolve(gateway.config, gateway.own_keys, asked, caller, request.headers)


async def conclude(
    request: web.Request, row: BatchRow, resolved: Resolved, store: Callable[[], Awaitable[BatchRow]]
) -> web.StreamResponse:
    """Store a new batch, or find the one that this request repeats, and give it to the client.

    `store` commits the row with `batches.insert` and returns what that returned.
    """
    gateway, replies = request.app[GATEWAY], request.app[REPLIES]
    same = (row.workspace, row.caller, row.request_hash)
    await replies.settled(same)
    failpoints.passing("create.before")
    # Shielded: a client that hangs up now must not leave a batch of which nobody tells the engine.
    storing = gateway.own_keys.storing(row, resolved.brought, _told(gateway, store()))
    stored = await asyncio.shield(asyncio.ensure_future(storing))
    failpoints.passing("create.after")
    logs.event(LOG, "batch_created", state=stored.state, repeated=stored.id != row.id, virtual_key=resolved.same[0])
    response = json_answer(
        shown(gateway, stored),
        headers=headers.response_headers(resolved.provider, request[HEADERS].trace_id, resolved.option),
    )
    with replies.sending(same):
        if await deliver(request, response):
            replies.note(request.app, stored)
    return response


async def _told(gateway: Gateway, storing: Awaitable[BatchRow]) -> BatchRow:
    stored = await storing
    gateway.engine.wake()
    return stored


async def _store(request: web.Request, row: BatchRow) -> BatchRow:
    gateway, asked = request.app[GATEWAY], request[HEADERS]

    def work(conn: Connection) -> BatchRow:
        file = files.visible(conn, row.workspace, row.input_file_id, gateway.clock.now())
        try:
            stored = batches.insert(conn, row, is_retry=asked.retry_count > 0)
        except Conflict:  # the file never was; one that is gone may still be that of an earlier batch
            raise no_input_file(row.input_file_id) from None
        if stored.id == row.id and (file is None or file.purpose != "batch"):
            raise no_input_file(row.input_file_id)
        return stored

    try:
        return await gateway.registry.write(work)
    except batches.KeyReused:
        raise key_reused() from None


def key_reused() -> IdempotencyMismatch:
    """Return the refusal of an Idempotency-Key that came with another request."""
    return IdempotencyMismatch(
        f"This {headers.IDEMPOTENCY_KEY} was used with another request in the last 24 hours; use a new one.",
        param=headers.IDEMPOTENCY_KEY,
    )


class Wanted(msgspec.Struct, frozen=True):
    """A checked create body. `endpoint` is as it is stored (`endpoints`), `output_expires_after` in seconds."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None
    output_expires_after: int | None


def wanted_in(body: Mapping[str, Any]) -> Wanted:
    """Return what a create's body wants. Raises BadRequest."""
    return Wanted(
        input_file_id=_text(body, "input_file_id"),
        endpoint=_endpoint(body),
        completion_window=_window(body),
        metadata=metadata(body.get("metadata")),
        output_expires_after=expiry(body.get("output_expires_after")),
    )


def new_row(request: web.Request, wanted: Wanted, resolved: Resolved) -> BatchRow:
    """Return the row of a new batch. Raises BadRequest for an Idempotency-Key that cannot be one."""
    gateway, caller, asked = request.app[GATEWAY], request[CALLER], request[HEADERS]
    now, batch_id = int(gateway.clock.now()), f"batch_{secrets.token_hex(16)}"
    return BatchRow(
        id=batch_id,
        workspace=caller.workspace,
        caller=caller.name,
        input_file_id=wanted.input_file_id,
        endpoint=wanted.endpoint,
        completion_window=wanted.completion_window,
        metadata=None if wanted.metadata is None else orjson.dumps(wanted.metadata).decode(),
        output_expires_after=wanted.output_expires_after,
        route=resolved.route,
        sealed=gateway.own_keys.sealed(batch_id, resolved.brought),
        request_hash=_request_hash(caller.name, wanted, resolved.same),
        idempotency_key=idempotency_key(asked),
        trace_id=asked.trace_id,
        state="validating",
        created_at=now,
        expires_at=now + WINDOW_SECONDS,
        due_at=0.0,
    )


def _request_hash(caller: str, wanted: Wanted, slugs: list[str]) -> str:
    known = {"caller": caller, "body": msgspec.structs.asdict(wanted), "slugs": slugs}
    return hashlib.sha256(orjson.dumps(known, option=orjson.OPT_SORT_KEYS)).hexdigest()


def idempotency_key(asked: headers.RequestHeaders) -> str | None:
    """Return the request's Idempotency-Key, None for none. Raises BadRequest for what cannot be one."""
    key = asked.idempotency_key
    if key is not None and not key.isprintable():  # bytes that are no UTF-8 reach us as lone surrogates
        raise BadRequest(f"{headers.IDEMPOTENCY_KEY} must be printable text.", param=headers.IDEMPOTENCY_KEY)
    return key


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise BadRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if not isinstance(value, str) or not value:
        raise BadRequest(f"'{name}' must be a non-empty string.", param=name)
    return value


def _endpoint(body: Mapping[str, Any]) -> str:
    return asked_endpoint(_text(body, "endpoint") if isinstance(body.get("endpoint"), str | None) else body["endpoint"])


def _window(body: Mapping[str, Any]) -> str:
    window = body.get("completion_window")
    if window not in (None, WINDOW):
        raise BadRequest(f"'completion_window' must be '{WINDOW}'.", param="completion_window")
    return WINDOW


def metadata(value: object) -> dict[str, str] | None:
    """Return checked metadata, None for none."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRequest("'metadata' must be an object of strings.", param="metadata")
    if len(value) > PAIRS_MAX:
        raise BadRequest(f"'metadata' may have at most {PAIRS_MAX} pairs.", param="metadata")
    for name, text in value.items():
        if len(name) > NAME_MAX:
            raise BadRequest(f"A key of 'metadata' may have at most {NAME_MAX} characters.", param="metadata")
        if not isinstance(text, str) or len(text) > VALUE_MAX:
            raise BadRequest(
                f"Every value of 'metadata' must be a string of at most {VALUE_MAX} characters.", param="metadata"
            )
    return value


def expiry(value: object) -> int | None:
    """Return the seconds that output files are kept, None for the default."""
    if value is None:
        return None
    if not isinstance(value, dict) or value.get("anchor") != "created_at":
        raise BadRequest(
            "'output_expires_after' must be an object with 'anchor': 'created_at' and 'seconds'.",
            param="output_expires_after",
        )
    seconds = value.get("seconds")
    if type(seconds) is not int or not EXPIRY_MIN <= seconds <= EXPIRY_MAX:
        raise BadRequest(
            f"'output_expires_after.seconds' must be an integer from {EXPIRY_MIN} to {EXPIRY_MAX}.",
            param="output_expires_after",
        )
    return seconds


def shown(gateway: Gateway, row: BatchRow) -> dict[str, Any]:
    """Return the batch as its caller sees it."""
    return batch_object(row, needs=NEEDED if gateway.own_keys.needed(row) else None)
