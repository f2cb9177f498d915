"""The Models routes: what this caller can reach, told from the configuration alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from aiohttp import hdrs, web

from proxy_plugin.access.callers import Caller
from proxy_plugin.api.ids import in_path
from proxy_plugin.config.sections import Config
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.ground.errors import NotFound
from proxy_plugin.routing.route import allowed
from proxy_plugin.web.answers import json_answer
from proxy_plugin.web.keys import CALLER
from proxy_plugin.web.passthrough import Upstream
from proxy_plugin.web.served import Served

MODEL_PATH = "/models/{model:(?s:.+)}"
STARTED = web.AppKey("proxy_plugin.models_since", int)  # wall-clock second; models have no better birthday here
UPSTREAM = web.AppKey[Upstream | None]("proxy_plugin.models_upstream")
_PATTERN = frozenset("*?[")
_UNKNOWN_OWNER = "system"  # OpenAI's own word for models that are nobody's in particular


def reachable(config: Config, caller: Caller) -> dict[str, str]:
    """Return {model id: provider name} of what this caller can name: `@slug/model`, and names of `model_list`.

    Patterns name no model, and a retired or disabled account takes no new work: neither is listed. A name whose
    provider has no batch lane is listed where an upstream can serve it.
    """
    permitted = caller.models
    return {
        each.id: each.provider
        for each in (*_allow_listed(config, caller), *_named(config, caller))
        if not _PATTERN & set(each.id)
        and (permitted is None or any(allowed(permitted, name) for name in (each.id, each.model, each.full)))
    }


class _Way(NamedTuple):
    """One way to a model. `full` is its name with the account."""

    id: str
    model: str
    full: str
    provider: str


def _allow_listed(config: Config, caller: Caller) -> Iterator[_Way]:
    listed = {entry.slug for entry in config.models}  # these have names of their own
    for slug, key in config.virtual_keys.items():
        if slug not in listed and caller.allows(slug) and not key.retired:
            for model in key.models or ():
                yield _Way(f"@{slug}/{model}", model, f"@{slug}/{model}", key.provider)


def _named(config: Config, caller: Caller) -> Iterator[_Way]:
    for entry in config.models:
        if entry.slug is None:
            usable = config.server.upstream is not None
        else:
            usable = entry.closed is None and caller.allows(entry.slug)
        if usable and not entry.hidden:
            yield _Way(entry.name, entry.model, f"@{entry.slug}/{entry.model}", entry.provider or _UNKNOWN_OWNER)


def _model_object(request: web.Request, name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": request.app[STARTED], "owned_by": owner}


async def list_models(request: web.Request) -> web.Response:
    """GET /models: all of them; this list has no pages. Those that the upstream lists for this caller come first."""
    found = reachable(request.app[GATEWAY].config, request[CALLER])
    upstream = request.app[UPSTREAM]
    theirs = [] if upstream is None else await upstream.models(request)
    known = {each["id"] for each in theirs}
    ours = [_model_object(request, *each) for each in found.items() if each[0] not in known]
    return json_answer({"object": "list", "data": [*theirs, *ours]})


async def retrieve_model(request: web.Request) -> web.StreamResponse:
    """GET /models/{model}: one of them, or the upstream's answer. The id may hold slashes, escaped or not."""
    name = in_path(request, "model")
    owner = reachable(request.app[GATEWAY].config, request[CALLER]).get(name)
    upstream = request.app[UPSTREAM]
    if owner is None and upstream is not None and not name.startswith("@"):
        return await upstream.forward(request)
    if owner is None:
        raise NotFound(
            "This gateway has no such model for you; 'GET /v1/models' lists those that can be named.",
            param="model",
            code="model_not_found",
        )
    return json_answer(_model_object(request, name, owner))


ROUTES = [
    Served(hdrs.METH_GET, "/models", list_models, shared=True),
    Served(hdrs.METH_GET, MODEL_PATH, retrieve_model, shared=True),
]
