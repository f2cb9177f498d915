"""`GET /replicas`: which gateways share the database, and what each does now. For operators' keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from aiohttp import hdrs, web

from proxy_plugin import __version__
from proxy_plugin.api.models import STARTED
from proxy_plugin.engine.steps import TABLE
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.errors import Forbidden
from proxy_plugin.storage.views import replicas
from proxy_plugin.storage.views.replicas import Claimed, Standing
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.served import Served

PATH = "/replicas"
SILENT_SECONDS = 60.0  # without a word a replica that still has its session is told as silent: it may be stopped
_DUTY = "duty"
_STEPS = {(step.kind, step.state): step.name for step in TABLE if step.name != "audit"}  # parts that have ended, mostly
_DONE = "done"  # a row that wants no further step now; its claim goes with the next write


async def every(request: web.Request) -> web.Response:
    """Return the replicas, the oldest first, those that have gone too for a while. Raises Forbidden for other keys."""
    if not request[CALLER].operator:
        raise Forbidden("This key may not see replicas; its entry in api_keys needs 'operator: true'.")
    gateway, now = request.app[GATEWAY], request.app[GATEWAY].clock.now()
    if not gateway.config.storage.shared:
        started = float(request.app[STARTED])
        data = [_shown(Standing("alone", __version__, started, now, None), [], now)]
    else:
        found, claims = await gateway.registry.scan(replicas.both, now)
        data = [_shown(each, [one for one in claims if one.holder == each.name], now) for each in found]
    return json_answer({"object": "list", "data": data, "has_more": False})


def _shown(row: Standing, claims: Iterable[Claimed], now: float) -> dict[str, Any]:
    steps, duties = Counter(map(_step, claims)), sorted(each.state or "" for each in claims if each.kind == _DUTY)
    return {
        "id": row.name,
        "object": "replica",
        "status": _status(row, now),
        "version": row.version,
        "started_at": int(row.started_at),
        "seen_at": int(row.seen_at),
        "gone_at": None if row.gone_at is None else int(row.gone_at),
        "steps": {name: count for name, count in sorted(steps.items()) if name},
        "duties": duties,
    }


def _status(row: Standing, now: float) -> str:
    if row.gone_at is not None:
        return "gone"
    return "alive" if now - row.seen_at < SILENT_SECONDS else "silent"


def _step(claim: Claimed) -> str:
    """Return the step that a claim is for, nothing for a duty."""
    if claim.kind == _DUTY:
        return ""
    named = _STEPS.get((claim.kind, claim.state or ""))
    return named or _STEPS.get(("submission", claim.submission or "")) or _DONE


ROUTES = (Served(hdrs.METH_GET, PATH, every),)
