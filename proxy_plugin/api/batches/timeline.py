"""`GET /batches/{id}/timeline`: what happened to a batch, from the rows that were written when it did."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy_plugin.api import ids
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.storage.views import history
from proxy_plugin.storage.views.history import Happened
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.queries import integer

PAGE_DEFAULT, PAGE_MAX = 100, 1000
_MOST = 10**15
WORDS = {  # of the rows -> one word for each, which clients may rely on
    "created": "created",
    "retry of": "retry_of",
    "requests came inline": "came_inline",
    "split": "split",
    "accepted": "accepted",
    "adopted provisionally": "adopted",
    "outcome unknown": "in_doubt",
    "create provably absent": "not_accepted",
    "create taken to be absent": "not_accepted",
    "not ours after all": "in_doubt",
    "deleted before it was certain": "in_doubt",
    "job doubled": "job_doubled",
    "calls begin": "calls_begin",
    "rescued": "rescued",
    "not rescued": "not_rescued",
    "looked at again": "looked_at_again",
    "refused": "refused",
    "no quota": "no_quota",
    "cut": "cut",
    "rows not counted": "rows_not_counted",
    "cancel asked": "cancel_asked",
    "window over": "window_over",
    "credentials given again": "credentials_given",
    "cleared": "cleared",
    "objects left": "objects_left",
    "completed": "completed",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
    "merging": "merging",
}


async def timeline(request: web.Request) -> web.Response:
    """Return a list, first first, behind the entry `after`. Nobody but the batch's workspace is told."""
    batch = await ids.visible_batch(request)
    limit = integer("limit", request.query.get("limit", str(PAGE_DEFAULT)), 1, PAGE_MAX)
    after = integer("after", request.query.get("after", "0"), 0, _MOST)
    rows = await request.app[GATEWAY].registry.read(history.of_batch, batch.id, after, limit + 1)
    entries = [entry(row) for row in rows[:limit]]
    ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]} if entries else {}
    return json_answer({"object": "list", "data": entries, **ends, "has_more": len(rows) > limit})


def entry(row: Happened) -> dict[str, Any]:
    """Return one entry as it is shown; `at` is Unix seconds with their fraction. What is absent is left out."""
    fields = {
        "id": str(row.seq),
        "object": "batch.timeline_entry",
        "at": round(row.at, 3),
        "what": WORDS.get(row.what, row.what.replace(" ", "_")),
        "detail": row.detail or None,
        "part": row.part,
        "provider": row.provider,
        "virtual_key": row.virtual_key,
        "model": row.model,
    }
    return {name: value for name, value in fields.items() if value is not None}
