"""The Batches routes: create, list, retrieve, cancel. They touch only the registry; the engine does the work."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import msgspec
import orjson
from aiohttp import hdrs, web

from proxy_plugin import byok, failpoints, headers, logs
from proxy_plugin.answers import batch_object, deliver, json_answer
from proxy_plugin.byok import Brought
from proxy_plugin.config import VirtualKey
from proxy_plugin.context import GATEWAY, Gateway
from proxy_plugin.errors import BadRequest, Conflict, GatewayError, IdempotencyMismatch, NotFound, TooLarge
from proxy_plugin.files_api import Route
from proxy_plugin.middleware import CALLER, HEADERS
from proxy_plugin.registry import RegistryFull
from proxy_plugin.tables import batches, files
from proxy_plugin.tables.batches import BatchRow

LOG = logging.getLogger("proxy_plugin.batches")
MAX_BODY = 2**20
BODY_SECONDS = 60.0
WINDOW, WINDOW_SECONDS = "24h", 86_400
ENDPOINTS = (  # OpenAI's description, commit f85dbe2, 2026-08-21: CreateBatchRequest.endpoint
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
)
PAIRS_MAX, NAME_MAX, VALUE_MAX = 16, 64, 512  # metadata, same description
EXPIRY_MIN, EXPIRY_MAX = 3_600, 2_592_000
PAGE_DEFAULT, PAGE_MAX = 20, 100

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

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

    def note(self, app: web.Application, row: BatchRow) -> None:
        """Write down, beside everything else, that the client has its answer."""
        task = asyncio.create_task(_note_replied(app, row.id))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def close(self) -> None:
        """Return when everything noted is written."""
        await asyncio.gather(*self._notes)


REPLIES = web.AppKey("proxy_plugin.replies", Replies)


async def _note_replied(app: web.Application, batch_id: str) -> None:
    gateway = app[GATEWAY]
    try:
        await gateway.registry.write(lambda conn: batches.replied(conn, batch_id, gateway.clock.now()))
    except (RegistryFull, sqlite3.Error) as error:  # an equal create then gets this batch again
        logs.event(LOG, "reply_not_noted", level=logging.WARNING, error=error)


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /batches`: one durable row, decided and checked in one transaction, then the answer."""
    replies = request.app[REPLIES]
    target, brought = await _target(request)
    row = _new_row(request, _wanted(await _json_object(request)), target, brought)
    same = (row.workspace, row.caller, row.request_hash)
    await replies.settled(same)
    failpoints.passing("create.before")
    # Shielded: a client that hangs up now must not leave a batch of which nobody tells the engine.
    storing = byok.storing(request.app[GATEWAY], row, brought, _store(request, row))
    stored = await asyncio.shield(asyncio.ensure_future(storing))
    failpoints.passing("create.after")
    logs.event(LOG, "batch_created", state=stored.state, repeated=stored.id != row.id, virtual_key=target.slug)
    response = json_answer(
        _shown(request.app[GATEWAY], stored),
        headers=headers.response_headers(target.provider, request[HEADERS].trace_id),
    )
    with replies.sending(same):
        if await deliver(request, response):
            replies.note(request.app, stored)
    return response


async def _store(request: web.Request, row: BatchRow) -> BatchRow:
    gateway, asked = request.app[GATEWAY], request[HEADERS]

    def work(conn: sqlite3.Connection) -> BatchRow:
        file = files.visible(conn, row.workspace, row.input_file_id, gateway.clock.now())
        try:
            stored = batches.insert(conn, row, is_retry=asked.retry_count > 0)
        except sqlite3.IntegrityError:  # the file never was; one that is gone may still be that of an earlier batch
            raise _no_file(row.input_file_id) from None
        if stored.id == row.id and (file is None or file.purpose != "batch"):
            raise _no_file(row.input_file_id)
        return stored

    try:
        stored = await gateway.registry.write(work)
    except batches.KeyReused:
        raise IdempotencyMismatch(
            f"This {headers.IDEMPOTENCY_KEY} was used with another request in the last 24 hours; use a new one.",
            param=headers.IDEMPOTENCY_KEY,
        ) from None
    gateway.engine.wake()
    return stored


def _no_file(file_id: str) -> NotFound:
    shown = f" with id '{file_id}'" if _ID.fullmatch(file_id) else ""
    return NotFound(f"No file of purpose 'batch' found{shown}.", param="input_file_id")


async def _target(request: web.Request) -> tuple[VirtualKey, Brought | None]:
    """Return the provider account for new work, and what the caller brought if it is the caller's own."""
    gateway, asked = request.app[GATEWAY], request[HEADERS]
    provider = headers.own_provider(asked)
    if provider is not None:
        brought = await byok.choose(gateway, request.headers, provider, request[CALLER])
        return brought.account, brought
    key = headers.resolve_target(asked, request[CALLER], gateway.config)
    if key is None:
        raise BadRequest(
            "A batch needs a provider account to run on: send "
            f"`{headers.PROVIDER}: @slug` or `{headers.VIRTUAL_KEY}: slug`.",
            param=headers.PROVIDER,
        )
    return key, None


class BodyLate(GatewayError):
    """The client began a request and did not finish it; nothing was done."""

    status: ClassVar[int] = 408
    type: ClassVar[str] = "invalid_request_error"
    default_code: ClassVar[str | None] = "request_timeout"


async def _json_object(request: web.Request) -> dict[str, Any]:
    """Read a JSON body of at most 1 MiB, whatever the application's own limit is."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            value = orjson.loads(await _small_body(request))
    except TimeoutError:
        raise BodyLate(f"The request body did not arrive within {BODY_SECONDS:g} seconds.") from None
    except orjson.JSONDecodeError:
        raise BadRequest("The request body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise BadRequest("The request body must be a JSON object.")
    return value


async def _small_body(request: web.Request) -> bytearray:
    body = bytearray()
    if (request.content_length or 0) > MAX_BODY:
        raise TooLarge(f"The request body may have at most {MAX_BODY} bytes.")
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge(f"The request body may have at most {MAX_BODY} bytes.")
    return body


class Wanted(msgspec.Struct, frozen=True):
    """A checked create body. `output_expires_after` is in seconds."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None
    output_expires_after: int | None


def _wanted(body: Mapping[str, Any]) -> Wanted:
    return Wanted(
        input_file_id=_text(body, "input_file_id"),
        endpoint=_endpoint(body),
        completion_window=_window(body),
        metadata=_metadata(body.get("metadata")),
        output_expires_after=_expiry(body.get("output_expires_after")),
    )


def _new_row(request: web.Request, wanted: Wanted, target: VirtualKey, brought: Brought | None) -> BatchRow:
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
        route=orjson.dumps(_route(target, brought)).decode(),
        sealed=None if brought is None else gateway.vault.seal(batch_id, brought.secrets),
        request_hash=_request_hash(caller.name, wanted, [target.slug, *([brought.own.key] if brought else [])]),
        idempotency_key=_idempotency_key(asked),
        trace_id=asked.trace_id,
        state="validating",
        created_at=now,
        expires_at=now + WINDOW_SECONDS,
        due_at=0.0,
    )


def _request_hash(caller: str, wanted: Wanted, slugs: list[str]) -> str:
    known = {"caller": caller, "body": msgspec.structs.asdict(wanted), "slugs": slugs}
    return hashlib.sha256(orjson.dumps(known, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _idempotency_key(asked: headers.RequestHeaders) -> str | None:
    key = asked.idempotency_key
    if key is not None and not key.isprintable():  # bytes that are no UTF-8 reach us as lone surrogates
        raise BadRequest(f"{headers.IDEMPOTENCY_KEY} must be printable text.", param=headers.IDEMPOTENCY_KEY)
    return key


def _route(key: VirtualKey, brought: Brought | None) -> dict[str, Any]:
    """Return what is stored with the batch, so that a reload of the configuration does not change a running one."""
    own = {} if brought is None else {"byok": msgspec.structs.asdict(brought.own)}
    target = {
        "slug": key.slug,
        "provider": key.provider,
        "model": None,
        "drop_params": False,
        "max_lines_per_job": key.max_lines_per_job,
        "max_bytes_per_job": key.max_bytes_per_job,
        "min_lines_per_job": key.min_lines_per_job,
        "models": key.models,
        **own,
    }
    return {"targets": [target], "strict": False, "on_deadline": "cancel"}


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise BadRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if not isinstance(value, str) or not value:
        raise BadRequest(f"'{name}' must be a non-empty string.", param=name)
    return value


def _endpoint(body: Mapping[str, Any]) -> str:
    endpoint = _text(body, "endpoint")
    if endpoint not in ENDPOINTS:
        raise BadRequest(f"'endpoint' must be one of {', '.join(ENDPOINTS)}.", param="endpoint")
    return endpoint


def _window(body: Mapping[str, Any]) -> str:
    window = body.get("completion_window")
    if window not in (None, WINDOW):
        raise BadRequest(f"'completion_window' must be '{WINDOW}'.", param="completion_window")
    return WINDOW


def _metadata(value: object) -> dict[str, str] | None:
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


def _expiry(value: object) -> int | None:
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


async def retrieve(request: web.Request) -> web.Response:
    """`GET /batches/{id}`: from the registry; no provider is asked."""
    batch_id, workspace = _batch_id(request), request[CALLER].workspace
    row = request.app[GATEWAY].registry.read(lambda conn: batches.visible(conn, workspace, batch_id))
    if row is None:
        raise _no_batch(batch_id)
    await byok.offered(request.app[GATEWAY], request.headers, request[CALLER], row)
    return json_answer(_shown(request.app[GATEWAY], row))


def _shown(gateway: Gateway, row: BatchRow) -> dict[str, Any]:
    return batch_object(row, needs=byok.NEEDED if byok.needed(gateway, row) else None)


def _batch_id(request: web.Request) -> str:
    batch_id = request.match_info["batch_id"]
    if not _ID.fullmatch(batch_id):
        raise NotFound("No batch found with this id.")
    return batch_id


def _no_batch(batch_id: str) -> NotFound:
    return NotFound(f"No batch found with id '{batch_id}'.")


async def list_batches(request: web.Request) -> web.Response:
    """`GET /batches`: newest first, behind the cursor `after`."""
    limit, after = _limit(request.query.get("limit")), request.query.get("after") or None
    workspace = request[CALLER].workspace
    rows = request.app[GATEWAY].registry.read(
        lambda conn: batches.page(conn, workspace, after=after, limit=limit + 1),
    )
    if rows is None:
        raise BadRequest("'after' is not the id of a batch.", param="after")
    shown = [_shown(request.app[GATEWAY], row) for row in rows[:limit]]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {}
    return json_answer({"object": "list", "data": shown, **ends, "has_more": len(rows) > limit})


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= PAGE_MAX):
        raise BadRequest(f"'limit' must be an integer from 1 to {PAGE_MAX}.", param="limit")
    return int(text)


async def cancel(request: web.Request) -> web.Response:
    """`POST /batches/{id}/cancel`: a durable flag; the engine stops what runs."""
    gateway, workspace, batch_id = request.app[GATEWAY], request[CALLER].workspace, _batch_id(request)

    def work(conn: sqlite3.Connection) -> BatchRow:
        row = batches.visible(conn, workspace, batch_id)
        if row is None:
            raise _no_batch(batch_id)
        return batches.cancel(conn, row, gateway.clock.now())

    failpoints.passing("cancel.before")
    try:
        row = await gateway.registry.write(work)
    except batches.NotCancellable as error:
        raise Conflict(f"A batch with status '{error}' cannot be cancelled.") from None
    failpoints.passing("cancel.after")
    await byok.offered(gateway, request.headers, request[CALLER], row)
    gateway.engine.wake()
    return json_answer(_shown(gateway, row))


ROUTES = (
    Route(hdrs.METH_POST, "/batches", create),
    Route(hdrs.METH_GET, "/batches", list_batches),
    Route(hdrs.METH_GET, "/batches/{batch_id}", retrieve),
    Route(hdrs.METH_POST, "/batches/{batch_id}/cancel", cancel),
)
