"""`POST /batches`: check what is wanted, and make one durable row of it in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec

import msgspec
import orjson
from aiohttp import web
from multidict import MultiMapping

from proxy_plugin.access import headers, litellm_words, steering
from proxy_plugin.access.resolve import Resolved, resolve
from proxy_plugin.api.batches.objects import shown
from proxy_plugin.api.batches.replies import REPLIES
from proxy_plugin.api.batches.wanted import HURRIED, WINDOWS, Wanted, idempotency_key, in_time, wanted_in
from proxy_plugin.api.batches.webhook import webhook_of
from proxy_plugin.api.ids import no_input_file, said_of_file
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.errors import GatewayError, IdempotencyMismatch, NotFound, TooManyRequests
from proxy_plugin.routing.endpoints import takes_native
from proxy_plugin.routing.route import decode_route, encode_route
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import ConstraintError
from proxy_plugin.storage.tables import batches, files, holdings
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.web.answers import deliver, json_answer
from proxy_plugin.web.keys import CALLER, HEADERS

P = ParamSpec("P")
LOG = logging.getLogger("proxy_plugin.batches")


async def create_of(request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
    """Create a batch of an uploaded file: one durable row, decided and checked in one transaction, then the answer."""
    resolved = await resolved_route(request, body)
    wanted = wanted_in(body)
    row = new_row(request, wanted, resolved)
    try:
        return await conclude(request, row, resolved, _store, request, row, wanted, resolved)
    except NotFound as error:
        if error.param == "input_file_id":  # as the client has it: it may be one that LiteLLM encoded
            raise no_input_file(body["input_file_id"]) from None
        raise


async def resolved_route(
    request: web.Request, body: Mapping[str, Any], given: MultiMapping[str] | None = None
) -> Resolved:
    """Return where the batch of a request goes; its `portkey_options` are headers from now on.

    `given` stands for the headers of the request, of which HEADERS were read.

    Raises BadRequest, Forbidden, TooManyRequests.
    """
    gateway, caller = request.app[GATEWAY], request[CALLER]
    file = await said_of_file(request, body.get("input_file_id"))
    sent = request.headers if given is None else given
    steered = steering.asked(request[HEADERS], sent, body, request.query, file=file)
    sent = steered.sent
    said = litellm_words.naming(body, request.query, request.headers)
    asked, model = litellm_words.placed(
        steered.headers, steered.provider, steered.model, gateway.config, caller, said=said
    )
    request[HEADERS] = asked
    try:
        resolved = await resolve(gateway.config, gateway.own_keys, asked, caller, sent, model)
        await gateway.patterns.check(caller.workspace, resolved.patterns)
    except GatewayError as error:
        error.param = steered.where(error.param)
        raise
    return resolved


async def conclude(
    request: web.Request,
    row: BatchRow,
    resolved: Resolved,
    store: Callable[P, Awaitable[BatchRow]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> web.StreamResponse:
    """Store a new batch, or find the one that this request repeats, and give it to the client.

    `store(*args, **kwargs)` commits the row with `batches.insert` and returns what that returned.
    """
    gateway, replies = request.app[GATEWAY], request.app[REPLIES]
    same = (row.workspace, row.caller, row.request_hash)
    await replies.settled(same)
    failpoints.passing("create.before")
    # Shielded: a client that hangs up now must not leave a batch of which nobody tells the engine.
    storing = gateway.own_keys.storing(row, resolved.brought, _told(gateway, store(*args, **kwargs)))
    stored = await asyncio.shield(asyncio.ensure_future(storing))
    failpoints.passing("create.after")
    logs.event(LOG, "batch_created", state=stored.state, repeated=stored.id != row.id, virtual_key=resolved.same[0])
    response = json_answer(
        shown(gateway, stored),
        headers=headers.response_headers(resolved.provider, request[HEADERS].trace_id, resolved.option),
    )
    with replies.sending(same):
        if await deliver(request, response):
            replies.note(gateway.registry, stored.id, gateway.clock.now())
    return response


async def _told(gateway: Gateway, storing: Awaitable[BatchRow]) -> BatchRow:
    stored = await storing
    gateway.engine.wake()
    return stored


async def _store(request: web.Request, row: BatchRow, wanted: Wanted, resolved: Resolved) -> BatchRow:
    gateway, is_retry = request.app[GATEWAY], request[HEADERS].retry_count > 0
    most, now = gateway.config.limits.max_open_batches, gateway.clock.now()
    try:
        return await gateway.registry.write(_insert, row, now, is_retry=is_retry, most=most)
    except holdings.TooManyBatches:
        raise too_many_batches(most) from None
    except batches.KeyReused:
        return await _of_the_same_bytes(request, row, wanted, resolved)
    except ConstraintError:  # the file never was; one that is gone may still be that of an earlier batch
        raise no_input_file(row.input_file_id) from None


async def _of_the_same_bytes(request: web.Request, row: BatchRow, wanted: Wanted, resolved: Resolved) -> BatchRow:
    """Return the first batch of an Idempotency-Key where all that differs is the upload, and that has the same bytes.

    A script that failed half-way and is run again uploads its file again. Raises IdempotencyMismatch for what differs.
    """
    gateway = request.app[GATEWAY]
    first = await gateway.registry.read(_first, row, gateway.clock.now())
    if first is None:
        raise key_reused() from None
    again = new_row(request, msgspec.structs.replace(wanted, input_file_id=first.input_file_id), resolved)
    if again.request_hash != first.request_hash:
        raise key_reused() from None
    return first


def _first(conn: Connection, row: BatchRow, now: float) -> BatchRow | None:
    first = batches.keyed(conn, row)
    visible = files.visible(conn, row.workspace, row.input_file_id, now) is not None
    same = first is not None and visible and files.same_bytes(conn, first.input_file_id, row.input_file_id)
    return first if same else None


def _insert(conn: Connection, row: BatchRow, now: float, *, is_retry: bool, most: int) -> BatchRow:
    file = files.visible(conn, row.workspace, row.input_file_id, now)
    stored = batches.insert(conn, row, is_retry=is_retry, most=most)
    if stored.id == row.id and (file is None or file.purpose != "batch"):
        raise no_input_file(row.input_file_id)
    return stored


def too_many_batches(most: int) -> TooManyRequests:
    """Return the refusal of a batch that is one too many."""
    return TooManyRequests(
        f"The workspace has {most} batches that have not ended, as many as it may. Wait for some, or cancel them.",
        code="too_many_batches",
    )


def key_reused() -> IdempotencyMismatch:
    """Return the refusal of an Idempotency-Key that came with another request."""
    return IdempotencyMismatch(
        f"This {headers.IDEMPOTENCY_KEY} was used with another request in the last 24 hours; use a new one.",
        param=headers.IDEMPOTENCY_KEY,
    )


def new_row(request: web.Request, wanted: Wanted, resolved: Resolved) -> BatchRow:
    """Return the row of a new batch. Raises BadRequest for an Idempotency-Key that cannot be one."""
    gateway, caller, asked = request.app[GATEWAY], request[CALLER], request[HEADERS]
    if wanted.completion_window in HURRIED:
        route = in_time(decode_route(resolved.route), wanted.completion_window)
        resolved = resolved._replace(route=encode_route(route))
    resolved = _answering(resolved, native=asked.native_answers and takes_native(wanted.endpoint))
    now, batch_id = int(gateway.clock.now()), f"batch_{secrets.token_hex(16)}"
    webhook = webhook_of(request, wanted.metadata)
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
        request_hash=_request_hash(caller.name, wanted, resolved.same, webhook),
        idempotency_key=idempotency_key(asked),
        trace_id=asked.trace_id,
        state="validating",
        created_at=now,
        expires_at=now + WINDOWS[wanted.completion_window],
        due_at=0.0,
        webhook=webhook,
        identity=None if caller.identity is None else msgspec.json.encode(caller.identity).decode(),
    )


def _answering(resolved: Resolved, *, native: bool) -> Resolved:
    """Return the route with what is asked of the answers to lines in a lane's own shape, by which creates differ."""
    if not native:
        return resolved
    route = msgspec.structs.replace(decode_route(resolved.route), native_answers=True)
    return resolved._replace(route=encode_route(route), same=[*resolved.same, "native answers"])


def _request_hash(caller: str, wanted: Wanted, slugs: list[str], webhook: str | None) -> str:
    known = {"caller": caller, "body": msgspec.structs.asdict(wanted), "slugs": slugs}
    known |= {} if webhook is None else {"webhook": webhook}
    return hashlib.sha256(orjson.dumps(known, option=orjson.OPT_SORT_KEYS)).hexdigest()
