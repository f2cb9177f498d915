"""The gateway as part of any aiohttp application: its parts, joined to each other and to the application."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web

from proxy_plugin import __version__
from proxy_plugin.access.callers import Callers
from proxy_plugin.access.outgoing import http_of
from proxy_plugin.access.own_keys import OwnKeys
from proxy_plugin.access.vault import Vault
from proxy_plugin.alone.front import Alone
from proxy_plugin.api import models as models_api
from proxy_plugin.api import operations, overview, replicas, ui, workspace
from proxy_plugin.api import uploads as uploads_api
from proxy_plugin.api import webhooks as webhooks_api
from proxy_plugin.api.batches import events as batch_events
from proxy_plugin.api.batches import outcomes as batch_outcomes
from proxy_plugin.api.batches import plan as batch_plan
from proxy_plugin.api.batches import replies, so_far
from proxy_plugin.api.batches import routes as batches_api
from proxy_plugin.api.files import routes as files_api
from proxy_plugin.config import Config, load, parse
from proxy_plugin.engine.reconciler import Engine
from proxy_plugin.engine.replicas.replica import Replica
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground import logs
from proxy_plugin.ground.clock import Clock, SystemClock
from proxy_plugin.ground.errors import ConfigError, NotFound
from proxy_plugin.ground.fingerprints import gateway_secret
from proxy_plugin.ground.workers import Workers
from proxy_plugin.storage.blobs import Blobs, StoredBlobs
from proxy_plugin.storage.blobs.object_store import Objects
from proxy_plugin.storage.data_dir import DataDirLock, require_scratch
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.facts import shared_secret
from proxy_plugin.storage.opening import registry_of
from proxy_plugin.storage.tables import files, uploads
from proxy_plugin.web import provider_paths
from proxy_plugin.web.entrance import Entrance
from proxy_plugin.web.key_info import KeyInfo
from proxy_plugin.web.passthrough import Upstream
from proxy_plugin.web.served import Handler, Served
from proxy_plugin.webhooks import sender as webhooks

LOG = logging.getLogger("proxy_plugin")
ROOTS = ("/v1", "")
UNDER_V1 = ("/workspace", "/operator", replicas.PATH, *webhooks_api.PATHS)  # there alone: applications have such paths
OURS = ("/files", "/uploads", "/batches")  # below them, what is no route is answered 404 here, never elsewhere
ANYTHING = "{rest:(?s:.*)}"  # newlines too: an escaped one must not lead past our routes
SHARED = {models_api.MODEL_PATH}  # the upstream has the other methods: DELETE is for fine-tuned models
FORGET_SECONDS = 10.0  # between looks for batches that have ended and whose caller's key is still in memory


def setup(
    app: web.Application, config: Config | Path | str | Mapping[str, Any], *, clock: Clock | None = None
) -> Gateway:
    """Add the gateway to an application: its middleware, its routes, and its engine from start-up to clean-up.

    Requests for other paths go to the application's own handlers, without the key of this gateway that they carried;
    if `server.upstream` is set, what the application does not serve is streamed there. Raises ConfigError for a
    configuration with problems and for an application that already serves our paths. On start-up the application, and
    before it `setup` where a database is named, raises DataDirBusy, SchemaTooNew, StorageError or OSError.
    """
    gateway = _gateway(_configuration(config), clock or SystemClock())
    server = gateway.config.server
    upstream = Upstream(server, gateway.callers) if server.upstream else None
    alone = Alone(gateway) if gateway.config.alone.enabled else None
    key_info = KeyInfo(server)
    if upstream is not None:
        gateway.keys.ask = key_info.of
    entrance = Entrance(gateway, upstream, alone.served if alone else None)
    app[GATEWAY] = gateway
    app[replies.REPLIES] = replies.Replies()
    app[so_far.SO_FAR] = so_far.SoFar()
    app[batch_plan.PLANS] = batch_plan.Plans(gateway.workers, gateway.config.limits.max_plans)
    app[batch_events.STREAMS] = batch_events.Streams()
    app[batch_outcomes.OUTCOMES] = batch_outcomes.Outcomes()
    app[workspace.FIGURES] = workspace.KeptFigures()
    app[operations.OPERATIONS] = operations.Operations()
    app[models_api.STARTED] = int(gateway.clock.now())
    app[models_api.UPSTREAM] = upstream
    _add_routes(app, entrance)
    app.middlewares.insert(0, entrance.intercept)
    app.on_response_prepare.append(entrance.stamp)
    app.on_shutdown.append(_refuse_new_work)
    app.cleanup_ctx.append(_running)
    if upstream is not None:
        app.on_cleanup.append(lambda _: upstream.close())
        app.on_cleanup.append(lambda _: gateway.keys.close())
        app.on_cleanup.append(lambda _: key_info.close())
    if alone is not None:
        app.on_cleanup.append(lambda _: alone.close())
    return gateway


def _configuration(config: Config | Path | str | Mapping[str, Any]) -> Config:
    if isinstance(config, Config):
        return config
    return parse(config, os.environ) if isinstance(config, Mapping) else load(Path(config))


def _gateway(config: Config, clock: Clock) -> Gateway:
    data_dir, own_hosts = config.storage.data_dir, set[str]()
    if config.storage.shared:  # what is wrong with the store is told before a database is asked
        blobs, secret = _blobs(config), _secret(config)
    else:
        secret, blobs = _secret(config), _blobs(config)
    return Gateway(
        config=config,
        callers=Callers(config, secret),
        clock=clock,
        registry=registry_of(data_dir, config.storage.database),
        blobs=blobs,
        workers=Workers(config.engine.workers, shared=config.shared),
        http=http_of(config, own_hosts),
        own_hosts=own_hosts,
        answerers=Workers(config.engine.direct_workers, shared=False),
        secret=secret,
        vault=Vault(config.secrets.seal_key),
    )


def _secret(config: Config) -> bytes:
    """Return what fingerprints are keyed with: a file of one gateway, or a row that replicas share."""
    if not config.storage.shared:
        return gateway_secret(config.storage.data_dir)
    require_scratch(config.storage.data_dir)
    return shared_secret(registry_of(config.storage.data_dir, config.storage.database))


def _blobs(config: Config) -> Blobs:
    storage = config.storage
    if storage.blob_url is None:
        return Blobs(storage.data_dir)
    store = Objects(storage.blob_url, storage.store_options())
    try:
        store.open()
    except ValueError as error:
        raise ConfigError(f"proxy_plugin.storage.blob_options: {error}") from None
    return StoredBlobs(storage.data_dir, store, storage.cache_bytes)


async def _refuse_new_work(app: web.Application) -> None:
    app[GATEWAY].traffic.stopping = True


def _replica(gateway: Gateway) -> Replica | None:
    """Return what this gateway is among those that share its database; None where none do."""
    storage = gateway.config.storage
    return Replica(gateway, __version__, name=storage.replica) if storage.shared else None


async def _running(app: web.Application) -> AsyncIterator[None]:
    """Own the data directory and run the engine; leave in the reverse order, also when the start fails half-way."""
    gateway = app[GATEWAY]
    async with AsyncExitStack() as stack:
        lock = await asyncio.to_thread(DataDirLock, gateway.data_dir)
        stack.callback(lock.release)
        if gateway.config.cache.dir is not None:  # the answers of another gateway are not ours to give
            answers = await asyncio.to_thread(DataDirLock, gateway.config.cache.dir)
            stack.callback(answers.release)
        stack.push_async_callback(asyncio.to_thread, gateway.blobs.close)
        stack.push_async_callback(asyncio.to_thread, gateway.registry.close)
        await asyncio.to_thread(gateway.registry.open)
        await asyncio.to_thread(gateway.blobs.sweep, await _kept(gateway))
        stack.push_async_callback(app[replies.REPLIES].close)
        stack.push_async_callback(gateway.http.close)
        stack.push_async_callback(gateway.workers.close)
        stack.push_async_callback(gateway.answerers.close)
        stack.push_async_callback(app[so_far.SO_FAR].close)
        await webhooks.learn(gateway, gateway.config)
        replica = _replica(gateway)
        claims = None if replica is None else replica.claims
        gateway.engine = engine = Engine(gateway, claims)
        if replica is not None:
            replica.on_reports = engine.report
            stack.push_async_callback(replica.end)
            await replica.begin()
        sender = webhooks.Sender(gateway, claims)
        stack.push_async_callback(sender.stop)
        sender.start()
        stack.push_async_callback(engine.stop)
        await engine.start()
        stack.push_async_callback(_ended, asyncio.create_task(_forget_keys(gateway.own_keys), name="forget keys"))
        app[operations.OPERATIONS].started = True
        yield


async def _kept(gateway: Gateway) -> set[str]:
    """Return the names of blobs that stay in the data directory; of scratch none."""
    if gateway.blobs.tree is not None:
        return set()
    return await gateway.registry.scan(files.kept) | await gateway.registry.scan(uploads.kept)


async def _forget_keys(own_keys: OwnKeys) -> None:
    while True:
        await asyncio.sleep(FORGET_SECONDS)
        try:
            await own_keys.forget_ended()
        except StorageError as error:
            logs.event(LOG, "keys_not_forgotten", level=logging.WARNING, error=error)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _add_routes(app: web.Application, entrance: Entrance) -> None:
    taken = {_shape(resource.canonical) for resource in app.router.resources()}
    pages = ui.routes(upstream=app[models_api.UPSTREAM] is not None)
    for path, handler in (*operations.ROUTES.items(), *pages):
        if _shape(path) not in taken:
            app.router.add_get(path, handler)
    by_provider = provider_paths.pattern()
    for route in _ours():
        prefixed = route.path.startswith(provider_paths.ROOT)
        if _shape(route.path) in taken and prefixed:
            continue  # the application's own, and it has those without a provider
        if _shape(route.path) in taken:
            raise ConfigError(f"the application already serves {route.path}; set up the gateway before adding it")
        path = by_provider + route.path.removeprefix(provider_paths.ROOT) if prefixed else route.path
        added = app.router.add_route(route.method, path, route.handler, expect_handler=entrance.expect)
        entrance.routes[added] = route


def _shape(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", template)


def _ours() -> Iterator[Served]:
    """Yield our routes under both roots, and behind them what answers the paths and methods that we do not have."""
    resources = (files_api, uploads_api, batches_api, models_api, webhooks_api, workspace, overview, replicas)
    routes = _with_head([route for each in resources for route in each.ROUTES])
    paths = dict.fromkeys(route.path for route in routes)
    for root in ROOTS:
        for path in paths:
            if not root and path.startswith(UNDER_V1):
                continue  # applications have such paths of their own
            here = [route for route in routes if route.path == path]
            if path not in SHARED:
                here.append(Served(hdrs.METH_ANY, path, _wrong_method([route.method for route in here])))
            for route in here:
                yield route._replace(path=root + path)
        for path in (*OURS, *(webhooks_api.PATHS if root else ())):
            yield Served(hdrs.METH_ANY, f"{root}{path}/{ANYTHING}", _no_route)
    for route in routes:
        if route.path.startswith(OURS):
            yield route._replace(path=provider_paths.ROOT + route.path, shared=True)


def _with_head(routes: list[Served]) -> list[Served]:
    """Return the routes, and HEAD beside every GET."""
    known = {(route.method, route.path) for route in routes}
    gets = [route for route in routes if route.method == hdrs.METH_GET]
    heads = [route._replace(method=hdrs.METH_HEAD) for route in gets]
    return routes + [route for route in heads if (route.method, route.path) not in known]


def _wrong_method(allowed: list[str]) -> Handler:
    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    return refuse


async def _no_route(request: web.Request) -> web.StreamResponse:  # noqa: ARG001
    raise NotFound("This gateway has no such route.")
