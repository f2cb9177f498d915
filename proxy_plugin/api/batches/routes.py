"""The Batches routes that read and cancel. They touch only the registry; the engine does the work."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import unquote

from aiohttp import hdrs, web

from proxy_plugin.access.litellm_words import Words, slugs_of
from proxy_plugin.api import ids
from proxy_plugin.api.batches import jobs
from proxy_plugin.api.batches.events import events, events_of_many
from proxy_plugin.api.batches.inline import create, precheck
from proxy_plugin.api.batches.lines import lines
from proxy_plugin.api.batches.objects import described
from proxy_plugin.api.batches.outcomes import outcomes
from proxy_plugin.api.batches.output import output
from proxy_plugin.api.batches.plan import plan, plan_again
from proxy_plugin.api.batches.retry import retry
from proxy_plugin.api.batches.timeline import timeline
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground import failpoints
from proxy_plugin.ground.errors import BadRequest, Conflict
from proxy_plugin.storage import states
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.queries import integer, one_of
from proxy_plugin.web.request_body import json_object
from proxy_plugin.web.served import Served

PAGE_DEFAULT, PAGE_MAX = 20, 100
_LATEST = 10**11  # a Unix second


class NotCancellableNow(Conflict):
    """The batch has ended. OpenAI's sentence, and its code: none."""

    default_code: ClassVar[str | None] = None


async def retrieve(request: web.Request) -> web.Response:
    """`GET /batches/{id}`: from the registry; no provider is asked. `include=jobs` adds its native jobs."""
    with_jobs = jobs.wanted(request)
    row = await ids.visible_batch(request)
    await request.app[GATEWAY].own_keys.offered(request.headers, request[CALLER], row)
    [batch] = await described(request.app[GATEWAY], [row], with_jobs=with_jobs)
    return json_answer(batch)


async def list_batches(request: web.Request) -> web.Response:
    """`GET /batches`: newest first, behind the cursor `after`. `include=jobs` adds the native jobs of each.

    Ours: `status`, once or several times, and `since`, Unix seconds, leave those that have one and were created then.
    """
    limit, after = _limit(request.query.get("limit")), unquote(request.query.get("after", "")) or None
    with_jobs = jobs.wanted(request)
    registry, workspace = request.app[GATEWAY].registry, request[CALLER].workspace
    statuses = [one_of("status", each, states.STATUSES) for each in request.query.getall("status", [])] or None
    since = None if (text := request.query.get("since")) is None else integer("since", text, 0, _LATEST)
    words = ids.said(request, await ids.also_said(request))
    if words == Words() and statuses is None and since is None:
        rows = await registry.read(batches.page, workspace, after=after, limit=limit + 1)
    else:  # few of many may be at this place
        slugs, provider = slugs_of(words, request.app[GATEWAY].config), words.provider
        rows = await registry.scan(
            batches.page,
            workspace,
            after=after,
            limit=limit + 1,
            provider=provider,
            slugs=slugs,
            statuses=statuses,
            since=since,
        )
    if rows is None:
        raise BadRequest("'after' is not the id of a batch.", param="after")
    page = await described(request.app[GATEWAY], rows[:limit], with_jobs=with_jobs)
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    return json_answer({"object": "list", "data": page, **ends, "has_more": len(rows) > limit})


def _limit(text: str | None) -> int:
    return PAGE_DEFAULT if text is None else integer("limit", text, 1, PAGE_MAX)


async def cancel(request: web.Request) -> web.Response:
    """`POST /batches/{id}/cancel`: a durable flag; the engine stops what runs."""
    gateway, workspace, batch_id = request.app[GATEWAY], request[CALLER].workspace, ids.batch_id(request)
    await ids.visible_batch(request, await json_object(request, optional=True))
    failpoints.passing("cancel.before")
    try:
        row = await gateway.registry.write(_cancel, workspace, batch_id, gateway.clock.now())
    except batches.NotCancellable as error:
        raise NotCancellableNow(f"Cannot cancel a batch with status '{error}'.") from None
    failpoints.passing("cancel.after")
    await gateway.own_keys.offered(request.headers, request[CALLER], row)
    gateway.engine.wake()
    [batch] = await described(gateway, [row], with_jobs=False)
    return json_answer(batch)


def _cancel(conn: Connection, workspace: str, batch_id: str, now: float) -> BatchRow:
    row = batches.visible(conn, workspace, batch_id)
    if row is None:
        raise ids.no_such_batch(batch_id)
    return row if row.state == "cancelled" else batches.cancel(conn, row, now)  # once more is no mistake, as at OpenAI


ROUTES = (
    Served(hdrs.METH_POST, "/batches", create, precheck, new_work=True),
    Served(hdrs.METH_GET, "/batches", list_batches),
    Served(hdrs.METH_POST, "/batches/plan", plan, precheck, new_work=True),  # before the ids, of which it is none
    Served(hdrs.METH_GET, "/batches/events", events_of_many),
    Served(hdrs.METH_HEAD, "/batches/events", events_of_many),
    Served(hdrs.METH_GET, "/batches/{batch_id}", retrieve),
    Served(hdrs.METH_POST, "/batches/{batch_id}/cancel", cancel),
    Served(hdrs.METH_GET, "/batches/{batch_id}/output", output),
    Served(hdrs.METH_HEAD, "/batches/{batch_id}/output", output),
    Served(hdrs.METH_GET, "/batches/{batch_id}/lines", lines),
    Served(hdrs.METH_GET, "/batches/{batch_id}/events", events),
    Served(hdrs.METH_HEAD, "/batches/{batch_id}/events", events),
    Served(hdrs.METH_GET, "/batches/{batch_id}/timeline", timeline),
    Served(hdrs.METH_GET, "/batches/{batch_id}/outcomes", outcomes),
    Served(hdrs.METH_GET, "/batches/{batch_id}/plan", plan_again),
    Served(hdrs.METH_POST, "/batches/{batch_id}/retry", retry, new_work=True),
)
