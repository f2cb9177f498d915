"""`GET /operator`: what all workspaces have together, for callers whose key says `operator: true`. Sums, and no ids."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

from aiohttp import hdrs, web

from proxy_plugin import __version__
from proxy_plugin.api.operations import OPERATIONS, not_ready
from proxy_plugin.api.workspace import FIGURES, spend
from proxy_plugin.config import OWN_KEY_PREFIX, Config
from proxy_plugin.config.sections import UNNAMED
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground.errors import Forbidden
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.states import IN_FLIGHT
from proxy_plugin.storage.tables import spending, submissions, waits
from proxy_plugin.storage.tables.waits import Waiting
from proxy_plugin.storage.views import figures
from proxy_plugin.storage.views.figures import AtAccount, Refusals
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.served import Served

DAY = 86_400.0
_FOLLOWED = "running"  # the state of parts whose jobs are polled


async def operator(request: web.Request) -> web.Response:
    """Return accounts, the last 24 hours, spending, disk and workers. Raises Forbidden for other keys."""
    if not request[CALLER].operator:
        raise Forbidden("This key may not see all workspaces; its entry in api_keys needs 'operator: true'.")
    gateway = request.app[GATEWAY]
    found = await request.app[FIGURES].of(gateway, None, _counted)
    disk = await asyncio.to_thread(gateway.blobs.space.disk)
    shown = {name: value for name, value in found.items() if not name.startswith("_")}
    return json_answer(
        {
            "object": "operator",
            "version": __version__,
            "not_ready": not_ready(request.app[OPERATIONS], gateway),
            "accounts": _accounts(gateway.config, found),
            **shown,
            "disk": {
                "total_bytes": disk.total,
                "free_bytes": disk.free,
                "reserve_bytes": gateway.config.limits.disk_reserve_bytes,
                "full": gateway.registry.full or gateway.room.disk_full,
            },
            "workers": _workers(gateway),
        }
    )


def _counted(conn: Connection, workspace: str | None, now: float) -> dict[str, Any]:
    return {
        "_open": figures.accounts(conn),
        "_refused": figures.refusals(conn, now - DAY),
        "_doubts": dict(submissions.unresolved(conn)),
        "_waiting": waits.totals(conn),
        "batches": figures.by_status(conn, workspace),
        "hours": [hour._asdict() for hour in figures.hours(conn, workspace, now)],
        "spend": spend(spending.totals(conn)),
        "workspaces": [each._asdict() for each in figures.holdings(conn)],
    }


def _workers(gateway: Gateway) -> dict[str, int]:
    return {
        "count": gateway.workers.count,
        "busy": gateway.workers.busy,
        "answerers": gateway.answerers.count,
        "answerers_busy": gateway.answerers.busy,
        "uploads": gateway.traffic.uploads,
        "requests": gateway.traffic.requests.total(),
    }


def _accounts(config: Config, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every configured account, and all keys that callers brought as one."""
    slugs = {slug: key.provider for slug, key in config.virtual_keys.items()}
    slugs |= {_label(each.slug): each.provider for each in found["_open"] if _label(each.slug) not in slugs}
    return [_account(config, slug, provider, found) for slug, provider in slugs.items()]


def _account(config: Config, slug: str, provider: str, found: dict[str, Any]) -> dict[str, Any]:
    key = config.virtual_keys.get(slug)
    open_: list[AtAccount] = [each for each in found["_open"] if _label(each.slug) == slug]
    flying = [each for each in open_ if each.state in IN_FLIGHT]
    polled = [each for each in open_ if each.state == _FOLLOWED]
    next_at = [each.next_at for each in polled if each.next_at is not None]
    return {
        "virtual_key": slug,
        "provider": None if slug == UNNAMED else provider,
        "disabled": config.disabled.get(slug),
        "retired": key is not None and key.retired,
        "queued": _sum(each for each in open_ if each.state == "planned"),
        "in_flight": _sum(flying),
        "collecting": _sum(each for each in open_ if each.state in ("ended", "stored", "rescuing", "cutting")),
        "in_doubt": sum(count for other, count in found["_doubts"].items() if _label(other) == slug),
        "polls": {"jobs": sum(each.parts for each in polled), "next_at": min(next_at, default=None)},
        "errors": _errors(each for each in found["_refused"] if _label(each.slug) == slug),
        "waiting": _waits(each for each in found["_waiting"] if _label(each.slug) == slug),
        "max_jobs_in_flight": None if key is None else key.max_jobs_in_flight,
        "max_lines_queued": None if key is None else key.max_lines_queued,
    }


def _sum(rows: Iterable[AtAccount]) -> dict[str, int]:
    rows = list(rows)
    return {"parts": sum(each.parts for each in rows), "lines": sum(each.lines for each in rows)}


def _errors(rows: Iterable[Refusals]) -> list[dict[str, Any]]:
    """Return refused parts of the last day by code, the most first."""
    counted, last = Counter[str](), dict[str, float]()
    for each in rows:
        counted[each.code] += each.times
        last[each.code] = max(last.get(each.code, 0.0), each.last_at)
    return [{"code": code, "parts": times, "last_at": int(last[code])} for code, times in counted.most_common(20)]


def _waits(rows: Iterable[Waiting]) -> list[dict[str, Any]]:
    return [
        {"reason": each.reason, "parts": each.waiting, "since": int(each.since), "next_try_at": int(each.next_at)}
        for each in rows
    ]


def _label(slug: str) -> str:
    return UNNAMED if slug.startswith(OWN_KEY_PREFIX) else slug


ROUTES = (Served(hdrs.METH_GET, "/operator", operator),)
