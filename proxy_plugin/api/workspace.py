"""`GET /workspace`, `GET /workspace/figures`: who the caller is here, what it may use, and what its workspace did."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from aiohttp import hdrs, web

from proxy_plugin import __version__
from proxy_plugin.access.callers import Caller
from proxy_plugin.config import Config
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import spending
from proxy_plugin.storage.tables.spending import Total
from proxy_plugin.storage.views import figures
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.served import Served

KEPT_SECONDS = 5.0  # that figures are given again: they read whole tables, and anybody may ask
MOST_KEPT = 1000  # workspaces whose figures are remembered


class KeptFigures:
    """The latest figures of some workspaces, and of all (None); of each one counting at a time."""

    def __init__(self) -> None:
        self._known: OrderedDict[str | None, tuple[float, dict[str, Any]]] = OrderedDict()
        self._locks: dict[str | None, asyncio.Lock] = {}

    async def of(
        self, gateway: Gateway, workspace: str | None, count: Callable[[Connection, str | None, float], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return figures that are at most five seconds old."""
        lock = self._locks.setdefault(workspace, asyncio.Lock())
        async with lock:
            at, found = self._known.get(workspace, (float("-inf"), {}))
            if gateway.clock.monotonic() - at > KEPT_SECONDS:
                found = await gateway.registry.scan(count, workspace, gateway.clock.now())
                self._known[workspace] = gateway.clock.monotonic(), found
                self._known.move_to_end(workspace)
                self._forget()
        return found

    def _forget(self) -> None:
        while len(self._known) > MOST_KEPT:
            workspace, _ = self._known.popitem(last=False)
            self._locks.pop(workspace, None)


FIGURES = web.AppKey("proxy_plugin.figures", KeptFigures)


async def workspace(request: web.Request) -> web.Response:
    """Return the caller's own name and workspace, and the virtual keys and saved configs that it may name."""
    caller, config = request[CALLER], request.app[GATEWAY].config
    return json_answer(
        {
            "object": "workspace",
            "name": caller.workspace,
            "caller": caller.name,
            "operator": caller.operator,
            "virtual_keys": [
                {"slug": slug, "provider": key.provider, "models": list(key.models or ())}
                for slug, key in config.virtual_keys.items()
                if caller.allows(slug) and not key.retired and slug not in config.disabled
            ],
            "configs": sorted(name for name, tree in config.configs.items() if all(map(caller.allows, _slugs(tree)))),
            "models": _named(config, caller),
            "default": caller.default,
            "max_file_bytes": config.limits.max_file_bytes,
            "version": __version__,
        }
    )


def _slugs(tree: object) -> Iterator[str]:
    """Yield the virtual keys that a saved config names."""
    if isinstance(tree, Mapping):
        named = (tree.get("virtual_key"), str(tree.get("provider", "")).partition("@")[2])
        yield from (each for each in named if isinstance(each, str) and each)
        yield from (slug for each in tree.values() for slug in _slugs(each))
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        yield from (slug for each in tree for slug in _slugs(each))


def _named(config: Config, caller: Caller) -> list[str]:
    """Return the names of `model_list` that lines may have."""
    names = dict.fromkeys(
        each.name for each in config.models if each.slug and caller.allows(each.slug) and not each.hidden
    )
    allowed = caller.models
    return [each for each in names if allowed is None or any(fnmatchcase(each, glob) for glob in allowed)]


async def workspace_figures(request: web.Request) -> web.Response:
    """Return batches by status, the last 24 hours, and what ended batches cost, all of the caller's workspace."""
    found = await request.app[FIGURES].of(request.app[GATEWAY], request[CALLER].workspace, _counted)
    return json_answer({"object": "workspace.figures", **found})


def _counted(conn: Connection, workspace: str | None, now: float) -> dict[str, Any]:
    mine = [each for each in spending.totals(conn) if each.workspace == workspace]
    return {
        "batches": figures.by_status(conn, workspace),
        "hours": [hour._asdict() for hour in figures.hours(conn, workspace, now)],
        "spend": spend(mine),
    }


def spend(totals: Iterable[Total]) -> list[dict[str, Any]]:
    """Return what was spent, the most first; `cost` is US dollars of the lines whose price is known."""
    return [
        {
            "workspace": each.workspace,
            "virtual_key": each.virtual_key,
            "lines": each.lines,
            "cost": each.cost,
            "cost_unknown_lines": each.unpriced,
            "input_tokens": each.input_tokens,
            "output_tokens": each.output_tokens,
        }
        for each in sorted(totals, key=lambda each: -each.cost)
    ]


ROUTES = (
    Served(hdrs.METH_GET, "/workspace", workspace),
    Served(hdrs.METH_GET, "/workspace/figures", workspace_figures),
)
