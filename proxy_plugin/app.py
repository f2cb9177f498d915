"""The gateway as part of any aiohttp application (`setup`), and as a process of its own (`serve`)."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE

from proxy_plugin import logs
from proxy_plugin.access import callers
from proxy_plugin.access.vault import Vault
from proxy_plugin.api import models as models_api
from proxy_plugin.api import operations
from proxy_plugin.api import uploads as uploads_api
from proxy_plugin.api.batches import plan as batch_plan
from proxy_plugin.api.batches import replies, so_far
from proxy_plugin.api.batches import routes as batches_api
from proxy_plugin.api.files import routes as files_api
from proxy_plugin.clock import Clock, SystemClock
from proxy_plugin.config import Config, load, parse
from proxy_plugin.engine.reconciler import Engine
from proxy_plugin.errors import ConfigError, NotFound
from proxy_plugin.fingerprints import gateway_secret
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.storage.blobs import Blobs
from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.registry import DataDirLock, Registry
from proxy_plugin.storage.tables import files, uploads
from proxy_plugin.web.answers import error_answer
from proxy_plugin.web.entrance import Entrance
from proxy_plugin.web.passthrough import Upstream
from proxy_plugin.web.served import Handler, Served
from proxy_plugin.workers import Workers

LOG = logging.getLogger("proxy_plugin")
ROOTS = ("/v1", "")
OURS = ("/files", "/uploads", "/batches")  # below them, what is no route is answered 404 here, never elsewhere
ANYTHING = "{rest:(?s:.*)}"  # newlines too: an escaped one must not lead past our routes
SHARED = {models_api.MODEL_PATH}  # the upstream has the other methods: DELETE is for fine-tuned models
DRAIN_SECONDS = 30.0  # for running uploads, while the rest is still served
READ_BUFFER = 64 * 1024  # bytes a connection; with aiohttp's 256 KiB, 50 uploads at once take 10 MB more
HEADER_BYTES = 32 * 1024  # of one header: configs come in one; beyond it aiohttp answers by itself, as plain text
FORGET_SECONDS = 10.0  # between looks for batches that have ended and whose caller's key is still in memory
LAST_SECONDS = 10.0  # then for all other requests


def setup(
    app: web.Application, config: Config | Path | str | Mapping[str, Any], *, clock: Clock | None = None
) -> Gateway:
    """Add the gateway to an application: its middleware, its routes, and its engine from start-up to clean-up.

    Requests for other paths go to the application's own handlers, without the key of this gateway that they carried;
    if `server.upstream` is set, what the application does not serve is streamed there. Raises ConfigError for a
    configuration with problems and for an application that already serves our paths. On start-up the application
    raises registry.DataDirBusy if another gateway owns the data directory, registry.SchemaTooNew or OSError.
    """
    gateway = _gateway(_configuration(config), clock or SystemClock())
    server = gateway.config.server
    upstream = Upstream(server.upstream, gateway.callers, server.ca_bundle) if server.upstream else None
    entrance = Entrance(gateway, upstream)
    app[GATEWAY] = gateway
    app[replies.REPLIES] = replies.Replies()
    app[so_far.SO_FAR] = so_far.SoFar()
    app[batch_plan.PLANS] = batch_plan.Plans(gateway.workers)
    app[operations.OPERATIONS] = operations.Operations()
    app[models_api.STARTED] = int(gateway.clock.now())
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
    data_dir, server = config.storage.data_dir, config.server
    proxy = server.outgoing_proxy.get_secret_value() if server.outgoing_proxy else None
    secret = gateway_secret(data_dir)
    return Gateway(
        config=config,
        callers=callers.Callers(config, secret),
        clock=clock,
        registry=Registry(data_dir),
        blobs=Blobs(data_dir),
        workers=Workers(config.engine.workers),
        http=Http(HttpSettings(outgoing_proxy=proxy, ca_bundle=str(server.ca_bundle) if server.ca_bundle else None)),
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
        stack.push_async_callback(asyncio.to_thread, gateway.blobs.close)
        stack.push_async_callback(asyncio.to_thread, gateway.registry.close)
        await asyncio.to_thread(gateway.registry.open)
        kept = await gateway.registry.scan(files.kept) | await gateway.registry.scan(uploads.kept)
        await asyncio.to_thread(gateway.blobs.sweep, kept)
        stack.push_async_callback(app[replies.REPLIES].close)
        stack.push_async_callback(gateway.http.close)
        stack.push_async_callback(gateway.workers.close)
        stack.push_async_callback(app[so_far.SO_FAR].close)
        gateway.engine = engine = Engine(gateway)
        stack.push_async_callback(engine.stop)
        await engine.start()
        stack.push_async_callback(_ended, asyncio.create_task(_forget_keys(gateway), name="forget keys"))
        app[operations.OPERATIONS].started = True
        yield


async def _forget_keys(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(FORGET_SECONDS)
        try:
            await gateway.own_keys.forget_ended()
        except StorageError as error:
            logs.event(LOG, "keys_not_forgotten", level=logging.WARNING, error=error)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _add_routes(app: web.Application, entrance: Entrance) -> None:
    taken = {_shape(resource.canonical) for resource in app.router.resources()}
    for path, handler in operations.ROUTES.items():
        if path not in taken:
            app.router.add_route(hdrs.METH_GET, path, handler)
    for route in _ours():
        if _shape(route.path) in taken:
            raise ConfigError(f"the application already serves {route.path}; set up the gateway before adding it")
        added = app.router.add_route(route.method, route.path, route.handler, expect_handler=entrance.expect)
        entrance.routes[added] = route


def _shape(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", template)


def _ours() -> Iterator[Served]:
    """Yield our routes under both roots, and behind them what answers the paths and methods that we do not have."""
    routes = (*files_api.ROUTES, *uploads_api.ROUTES, *batches_api.ROUTES, *models_api.ROUTES)
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


def _wrong_method(allowed: list[str]) -> Handler:
    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    return refuse


async def _no_route(request: web.Request) -> web.StreamResponse:  # noqa: ARG001
    raise NotFound("This gateway has no such route.")


async def _nobody_behind(request: web.Request) -> web.StreamResponse:  # noqa: ARG001
    return error_answer(NotFound("This gateway serves files and batches only: it has no upstream for other requests."))


async def serve(config: Config, host: str | None = None, port: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code 0. `host` and `port` replace those of the configuration.

    The first signal refuses new uploads and creates, lets running uploads and the engine's running step finish, and
    ends; a second one ends at once. Nothing depends on either: what a SIGKILL cuts off goes on at the next start.
    Raises ConfigError, and on start-up what `setup` names or OSError for an address that cannot be bound.
    """
    host = config.server.host if host is None else host
    callers.require_loopback(config, host)
    app = web.Application()
    gateway = setup(app, config)
    app.on_response_prepare.append(_hide_server)
    if config.server.upstream is None:
        app.router.add_route(hdrs.METH_ANY, f"/{ANYTHING}", _nobody_behind)
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=LAST_SECONDS,
        read_bufsize=READ_BUFFER,
        max_field_size=HEADER_BYTES,
        auto_decompress=False,
    )
    asked_to_stop = _stop_signal()
    _log_doubts(config)
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, config.server.port if port is None else port)
        await site.start()
        logs.event(LOG, "listening", host=host, port=site.port, upstream=config.server.upstream is not None)
        await asked_to_stop.wait()
        await _drain(gateway)
    finally:
        await runner.cleanup()
    logs.event(LOG, "stopped", uploads_cut=gateway.traffic.uploads)
    return 0


def _log_doubts(config: Config) -> None:
    for warning in config.warnings:
        logs.event(LOG, "config_warning", level=logging.WARNING, warning=warning)
    for slug, reason in config.disabled.items():
        logs.event(LOG, "virtual_key_disabled", level=logging.WARNING, virtual_key=slug, reason=reason)


async def _hide_server(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001
    if response.headers.get(hdrs.SERVER) == SERVER_SOFTWARE:
        del response.headers[hdrs.SERVER]


def _stop_signal() -> asyncio.Event:
    loop, asked = asyncio.get_running_loop(), asyncio.Event()

    def stop(number: int) -> None:
        if asked.is_set():
            os._exit(128 + number)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return asked


async def _drain(gateway: Gateway) -> None:
    gateway.traffic.stopping = True
    logs.event(LOG, "stopping", uploads=gateway.traffic.uploads)
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while gateway.traffic.uploads:  # noqa: ASYNC110 - a number that uploads change; an event would be one more thing to keep
                await asyncio.sleep(0.05)
