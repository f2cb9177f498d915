"""The Webhooks routes: endpoints of a workspace, their secrets, what was sent, and sending once more.

They are OpenAI's, as its SDK calls them (openai-python 3.52, `resources/webhooks`, under `/webhook_endpoints`), under
`/webhooks` too, with what OpenAI does not have: deliveries, replay, and the secret for URLs that batches name.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
from aiohttp import hdrs, web
from msgspec import structs

from proxy_plugin.api.ids import in_path
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground import sentences
from proxy_plugin.ground.errors import BadRequest, Conflict, NotFound, TooManyRequests
from proxy_plugin.ground.webhooks import ENDS, EVENTS, INSIDE, address_of, check_url, read_url
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import webhooks
from proxy_plugin.storage.tables.webhooks import DeliveryRow, EndpointRow
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.queries import integer
from proxy_plugin.web.request_body import json_object
from proxy_plugin.web.served import Served
from proxy_plugin.webhooks import signing
from proxy_plugin.webhooks.post import SECONDS, may_go

PATHS = ("/webhooks", "/webhook_endpoints")
MOST = 20  # endpoints of one workspace, beside those of the configuration
PAGE_DEFAULT, PAGE_MAX = 20, 100
NAME_MAX = 256
LOOK_SECONDS = 0.05  # between looks at what became of a test
NAMES, OUR_NAMES = "event_types", "events"  # OpenAI's word, and that of the configuration
KEEP = "keep_old_secret_active_for_24_hours"
STATUS = {"due": "pending"}  # other states are shown as they are


class OfTheConfiguration(Conflict):
    """The endpoint stands in the operator's file, and is changed there."""

    default_code: ClassVar[str | None] = "webhook_of_config"


# ---- endpoints ----


async def create(request: web.Request) -> web.Response:
    """`POST /webhooks`: a new endpoint, with its secret, which is shown this once."""
    gateway, body = request.app[GATEWAY], await json_object(request)
    now, url = int(gateway.clock.now()), await _url(gateway, body)
    row = EndpointRow(
        id=f"we_{secrets.token_hex(12)}",
        workspace=request[CALLER].workspace,
        source=webhooks.API,
        name=_name(body),
        url=url,
        event_types=json.dumps(_event_types(body)),
        created_at=now,
        updated_at=now,
    )
    if not await gateway.registry.write(webhooks.insert, row, MOST):
        text = f"The workspace has {MOST} webhook endpoints, as many as it may. Delete one first."
        raise TooManyRequests(text, code="too_many_webhooks")
    return json_answer(_endpoint(gateway, row, 0, secret=True))


async def list_endpoints(request: web.Request) -> web.Response:
    """`GET /webhooks`: those of the workspace, of the configuration too, the oldest first."""
    gateway, after = request.app[GATEWAY], request.query.get("after")
    limit = _limit(request)
    rows = await gateway.registry.read(webhooks.endpoints, request[CALLER].workspace)
    ids = [row.id for row in rows]
    if after and after not in ids:
        raise BadRequest("'after' is not the id of a webhook endpoint.", param="after")
    rows = rows[ids.index(after) + 1 :] if after else rows
    return json_answer(_page([await _shown(gateway, row) for row in rows[:limit]], more=len(rows) > limit))


async def retrieve(request: web.Request) -> web.Response:
    """`GET /webhooks/{id}`."""
    return json_answer(await _shown(request.app[GATEWAY], await _found(request)))


async def update(request: web.Request) -> web.Response:
    """`POST /webhooks/{id}`: another URL, other events or another name."""
    gateway, row = request.app[GATEWAY], _changeable(await _found(request))
    body = await json_object(request)
    names = _event_types(body) if NAMES in body or OUR_NAMES in body else json.loads(row.event_types)
    row = structs.replace(
        row,
        url=await _url(gateway, body) if "url" in body else row.url,
        name=_name(body) if "name" in body else row.name,
        event_types=json.dumps(names),
        updated_at=int(gateway.clock.now()),
    )
    await gateway.registry.write(webhooks.change, row)
    gateway.hooks.set()
    return json_answer(await _shown(gateway, row))


async def delete(request: web.Request) -> web.Response:
    """`DELETE /webhooks/{id}`: what was due to it is dropped."""
    gateway, row = request.app[GATEWAY], _changeable(await _found(request))
    await gateway.registry.write(webhooks.remove, row.id, gateway.clock.now())
    return json_answer({"id": row.id, "object": "webhook_endpoint.deleted", "deleted": True})


async def rotate_secret(request: web.Request) -> web.Response:
    """`POST /webhooks/{id}/rotate_secret`: a new secret. The one before it signs for another day if that is asked."""
    gateway, row = request.app[GATEWAY], _changeable(await _found(request))
    number = await _rotated(gateway, row.id, await json_object(request, optional=True))
    row = structs.replace(row, updated_at=int(gateway.clock.now()))
    return json_answer(_endpoint(gateway, row, number, secret=True))


async def test(request: web.Request) -> web.Response:
    """`POST /webhooks/{id}/test`: send a sample once, and say what the endpoint answered."""
    gateway, row = request.app[GATEWAY], await _found(request)
    body = await json_object(request, optional=True)
    what = _event(body.get("event_type", ENDS[0]), "event_type")
    delivery_id = await gateway.registry.write(webhooks.book_test, row, what, gateway.clock.now())
    gateway.hooks.set()
    found = await _tried(gateway, row.workspace, delivery_id)
    if found is None or found.status is None:
        why = "it was not tried yet" if found is None or found.error is None else found.error
        raise BadRequest(f"The test was not delivered: {why}.", code="webhook_test_failed")
    answer = {"object": "webhook_endpoint.test", "event_type": what, "status_code": found.status, "success": True}
    return json_answer({**answer, "webhook_endpoint_id": row.id, "delivery_id": delivery_id})


async def _tried(gateway: Gateway, workspace: str, delivery_id: str) -> DeliveryRow | None:
    until = gateway.clock.monotonic() + SECONDS + 1
    while gateway.clock.monotonic() < until:
        row = await gateway.registry.read(webhooks.delivery, workspace, delivery_id)
        if row is None or row.tries:
            return row
        await asyncio.sleep(LOOK_SECONDS)
    return None


# ---- the secret for URLs that batches name ----


async def secret(request: web.Request) -> web.Response:
    """`GET /webhooks/secret`: what signs for URLs that batches name. One of the operator's file is not shown."""
    gateway, workspace = request.app[GATEWAY], request[CALLER].workspace
    if signing.of_workspace(gateway.config, workspace) is not None:
        return json_answer({"object": "webhook_secret", "source": webhooks.CONFIG, "signing_secret": None})
    owner, now = signing.owner_of(workspace), gateway.clock.now()
    found = await gateway.registry.read(signing.generated, gateway.secret, owner, now)
    return json_answer({"object": "webhook_secret", "source": webhooks.API, "signing_secret": found[0]})


async def rotate_workspace_secret(request: web.Request) -> web.Response:
    """`POST /webhooks/secret/rotate_secret`: a new one, as for an endpoint."""
    gateway, workspace = request.app[GATEWAY], request[CALLER].workspace
    if signing.of_workspace(gateway.config, workspace) is not None:
        raise OfTheConfiguration("The secret stands in the operator's configuration; it is changed there.")
    owner = signing.owner_of(workspace)
    number = await _rotated(gateway, owner, await json_object(request, optional=True))
    found = signing.made(gateway.secret, owner, number)
    return json_answer({"object": "webhook_secret", "source": webhooks.API, "signing_secret": found})


async def _rotated(gateway: Gateway, owner: str, body: Mapping[str, Any]) -> int:
    keep = body.get(KEEP, False)
    if not isinstance(keep, bool):
        raise sentences.wrong_type(KEEP, "a boolean", keep).refusal()
    return await gateway.registry.write(webhooks.rotate, owner, gateway.clock.now(), signing.DAY if keep else 0.0)


# ---- deliveries ----


async def list_deliveries(request: web.Request) -> web.Response:
    """`GET /webhooks/{id}/deliveries`, and `GET /webhooks/deliveries` for all; `batch_id` leaves those of a batch."""
    of_one = (await _found(request)).id if "endpoint_id" in request.match_info else None
    return await _deliveries(request, of_one)


async def _deliveries(request: web.Request, endpoint_id: str | None) -> web.Response:
    registry, workspace, query = request.app[GATEWAY].registry, request[CALLER].workspace, request.query
    limit, after, batch_id = _limit(request), query.get("after"), query.get("batch_id")
    if after and await registry.read(webhooks.delivery, workspace, after) is None:
        raise BadRequest("'after' is not the id of a delivery.", param="after")
    named = {"after": after or None, "endpoint_id": endpoint_id, "batch_id": batch_id}
    rows = await registry.scan(webhooks.deliveries, workspace, limit + 1, **named)
    return json_answer(_page([_delivery(row) for row in rows[:limit]], more=len(rows) > limit))


async def retrieve_delivery(request: web.Request) -> web.Response:
    """`GET /webhooks/deliveries/{id}`."""
    wanted = in_path(request, "delivery_id")
    row = await request.app[GATEWAY].registry.read(webhooks.delivery, request[CALLER].workspace, wanted)
    if row is None:
        raise _no_delivery()
    return json_answer(_delivery(row))


async def replay(request: web.Request) -> web.Response:
    """`POST /webhooks/deliveries/{id}/replay`: the same event once more, under the same `webhook-id`."""
    gateway = request.app[GATEWAY]
    now, wanted = gateway.clock.now(), in_path(request, "delivery_id")
    row = await gateway.registry.write(_replay, request[CALLER].workspace, wanted, now)
    gateway.hooks.set()
    return json_answer(_delivery(row))


def _replay(conn: Connection, workspace: str, wanted: str, now: float) -> DeliveryRow:
    row = webhooks.delivery(conn, workspace, wanted)
    if row is None:
        raise _no_delivery()
    if row.endpoint_id is not None and webhooks.endpoint(conn, row.endpoint_id) is None:
        raise Conflict("The endpoint of this delivery was deleted; there is nowhere to send it.")
    return webhooks.replay(conn, workspace, wanted, now) or row


def _no_delivery() -> NotFound:
    return NotFound("No such webhook delivery in this workspace.", param="id")


# ---- what is asked for, and what is shown ----


async def _found(request: web.Request) -> EndpointRow:
    row = await request.app[GATEWAY].registry.read(webhooks.endpoint, in_path(request, "endpoint_id"))
    if row is None or row.workspace != request[CALLER].workspace:
        raise NotFound("No such webhook endpoint in this workspace.", param="id")
    return row


def _changeable(row: EndpointRow) -> EndpointRow:
    if row.source == webhooks.CONFIG:
        raise OfTheConfiguration("This endpoint stands in the operator's configuration; it is changed there.")
    return row


async def _url(gateway: Gateway, body: Mapping[str, Any]) -> str:
    """Return the URL of a body, which is looked up now and again whenever something is sent there."""
    text, listed = body.get("url"), gateway.config.server.webhooks_hosts
    if text is None:
        raise sentences.missing("url").refusal()
    if not isinstance(text, str):
        raise sentences.wrong_type("url", sentences.STRING, text).refusal()
    try:
        check_url(text, listed)
        why = "" if await may_go(address_of(read_url(text)), listed) else INSIDE
    except ValueError as error:
        why = str(error)
    if why:
        raise BadRequest(f"Invalid 'url': it {why}.", param="url", code="invalid_webhook_url")
    return text


def _event_types(body: Mapping[str, Any]) -> list[str]:
    said = NAMES if NAMES in body or OUR_NAMES not in body else OUR_NAMES
    names = body.get(said, list(ENDS))
    if not isinstance(names, list):
        raise sentences.wrong_type(said, "an array", names).refusal()
    if not names:
        raise sentences.empty_array(said).refusal()
    return list(dict.fromkeys(_event(name, said) for name in names))


def _event(name: object, param: str) -> str:
    if not isinstance(name, str):
        raise sentences.wrong_type(param, sentences.STRING, name).refusal()
    if name not in EVENTS:
        raise sentences.wrong_value(param, name, EVENTS).refusal()
    return name


def _name(body: Mapping[str, Any]) -> str:
    name = body.get("name", "")
    if not isinstance(name, str):
        raise sentences.wrong_type("name", sentences.STRING, name).refusal()
    if len(name) > NAME_MAX:
        raise sentences.too_long("name", NAME_MAX, len(name)).refusal()
    return name


def _limit(request: web.Request) -> int:
    text = request.query.get("limit")
    return PAGE_DEFAULT if text is None else integer("limit", text, 1, PAGE_MAX)


async def _shown(gateway: Gateway, row: EndpointRow) -> dict[str, Any]:
    number, _ = await gateway.registry.read(webhooks.generation, row.id, gateway.clock.now())
    return _endpoint(gateway, row, number)


def _endpoint(gateway: Gateway, row: EndpointRow, number: int, *, secret: bool = False) -> dict[str, Any]:
    """Return OpenAI's object; `source` is ours. The hint is the end of the present secret."""
    if row.source == webhooks.API:
        text = signing.made(gateway.secret, row.id, number)
    else:
        entry = signing.of_endpoint(gateway.config, row.id)
        text = entry.secrets()[0] if entry else ""
    shown = {
        "id": row.id,
        "object": "webhook_endpoint",
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "name": row.name,
        "url": row.url,
        "event_types": json.loads(row.event_types),
        "signing_secret_hint": f"…{text[-5:]}" if text else None,
        "source": row.source,
    }
    return shown | {"signing_secret": text} if secret else shown


def _delivery(row: DeliveryRow) -> dict[str, Any]:
    """Return what became of an event at a receiver. Times are seconds since the epoch."""
    return {
        "id": row.id,
        "object": "webhook_delivery",
        "created_at": int(row.created_at),
        "webhook_endpoint_id": row.endpoint_id,
        "url": row.url,
        "batch_id": row.batch_id,
        "event_type": row.type,
        "status": STATUS.get(row.state, row.state),
        "attempts": row.tries,
        "last_attempt_at": None if row.tried_at is None else int(row.tried_at),
        "next_attempt_at": None if row.due_at is None else int(row.due_at),
        "last_status_code": row.status,
        "last_error": row.error,
        "event": orjson.loads(row.body),
    }


def _page(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": more}


OPENAIS = (
    ("", hdrs.METH_POST, create),
    ("", hdrs.METH_GET, list_endpoints),
    ("/{endpoint_id}", hdrs.METH_GET, retrieve),
    ("/{endpoint_id}", hdrs.METH_POST, update),
    ("/{endpoint_id}", hdrs.METH_DELETE, delete),
    ("/{endpoint_id}/rotate_secret", hdrs.METH_POST, rotate_secret),
    ("/{endpoint_id}/test", hdrs.METH_POST, test),
)
OURS = (
    ("/secret", hdrs.METH_GET, secret),
    ("/secret/rotate_secret", hdrs.METH_POST, rotate_workspace_secret),
    ("/deliveries", hdrs.METH_GET, list_deliveries),
    ("/deliveries/{delivery_id}", hdrs.METH_GET, retrieve_delivery),
    ("/deliveries/{delivery_id}/replay", hdrs.METH_POST, replay),
    ("/{endpoint_id}/deliveries", hdrs.METH_GET, list_deliveries),
)
ROUTES = (
    *(Served(method, f"/webhooks{path}", handler) for path, method, handler in (*OURS, *OPENAIS)),
    *(Served(method, f"/webhook_endpoints{path}", handler) for path, method, handler in OPENAIS),
)
