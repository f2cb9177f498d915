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

from proxy_plugin.access.callers import Callers
from proxy_plugin.access.outgoing import http_of
from proxy_plugin.access.own_keys import OwnKeys
from proxy_plugin.access.vault import Vault
from proxy_plugin.api import models as models_api
from proxy_plugin.api import operations
from proxy_plugin.api import uploads as uploads_api
from proxy_plugin.api.batches import plan as batch_plan
from proxy_plugin.api.batches import replies, so_far
from proxy_plugin.api.batches import routes as batches_api
from proxy_plugin.api.files import routes as files_api
from proxy_plugin.config import Config, load, parse
from proxy_plugin.engine.reconciler import Engine
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground import logs
from proxy_plugin.ground.clock import Clock, SystemClock
from proxy_plugin.ground.errors import ConfigError, NotFound
from proxy_plugin.ground.fingerprints import gateway_secret
from proxy_plugin.ground.workers import Workers
from proxy_plugin.storage.blobs import Blobs
from proxy_plugin.storage.data_dir import DataDirLock
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.registry import Registry
from proxy_plugin.storage.tables import files, uploads
from proxy_plugin.web import provider_paths
from proxy_plugin.web.entrance import Entrance
from proxy_plugin.web.passthrough import Upstream
from proxy_plugin.web.served import Handler, Served

LOG = logging.getLogger("proxy_plugin")
ROOTS = ("/v1", "")
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
    configuration with problems and for an application that already serves our paths. On start-up the application
    raises DataDirBusy if another gateway owns the data directory, SchemaTooNew or OSError.
    """
    gateway = _gateway(_configuration(config), clock or SystemClock())
    server = gateway.config.server
    upstream = Upstream(server, gateway.callers) if server.upstream else None
    entrance = Entrance(gateway, upstream)
    app[GATEWAY] = gateway
    app[replies.REPLIES] = replies.Replies()
    app[so_far.SO_FAR] = so_far.SoFar()
    app[batch_plan.PLANS] = batch_plan.Plans(gateway.workers, gateway.config.limits.max_plans)
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
    return gateway


def _configuration(config: Config | Path | str | Mapping[str, Any]) -> Config:
    if isinstance(config, Config):
        return config
    return parse(config, os.environ) if isinstance(config, Mapping) else load(Path(config))


def _gateway(config: Config, clock: Clock) -> Gateway:
    data_dir = config.storage.data_dir
    secret, own_hosts = gateway_secret(data_dir), set[str]()
    return Gateway(
        config=config,
        callers=Callers(config, secret),
        clock=clock,
        registry=Registry(data_dir),
        blobs=Blobs(data_dir),
        workers=Workers(config.engine.workers, shared=config.shared),
        http=http_of(config, own_hosts),
        own_hosts=own_hosts,
        answerers=Workers(config.engine.direct_workers, shared=False),
        secret=secret,
        vault=Vault(config.secrets.seal_key),
    )


async def _refuse_new_work(app: web.Application) -> None:
    app[GATEWAY].traffic.stopping = True


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
        kept = await gateway.registry.scan(files.kept) | await gateway.registry.scan(uploads.kept)
        await asyncio.to_thread(gateway.blobs.sweep, kept)
        stack.push_async_callback(app[replies.REPLIES].close)
        stack.push_async_callback(gateway.http.close)
        stack.push_async_callback(gateway.workers.close)
        stack.push_async_callback(gateway.answerers.close)
        stack.push_async_callback(app[so_far.SO_FAR].close)
        gateway.engine = engine = Engine(gateway)
        stack.push_async_callback(engine.stop)
        await engine.start()
        stack.push_async_callback(_ended, asyncio.create_task(_forget_keys(gateway.own_keys), name="forget keys"))
        app[operations.OPERATIONS].started = True
        yield


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
    for path, handler in operations.ROUTES.items():
        if path not in taken:
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
    routes = _with_head([*files_api.ROUTES, *uploads_api.ROUTES, *batches_api.ROUTES, *models_api.ROUTES])
    paths = dict.fromkeys(route.path for route in routes)
    for root in ROOTS:
        for path in paths:
            here = [route for route in routes if route.path == path]
            if path not in SHARED:
                here.append(Served(hdrs.METH_ANY, path, _wrong_method([route.method for route in here])))
            for route in here:
                yield route._replace(path=root + path)
        for path in OURS:
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
