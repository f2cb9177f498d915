"""The gateway as a process of its own: an application with nothing else in it, served until a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE

from proxy_plugin.access.callers import require_loopback
from proxy_plugin.api.operations import ALONE, OPERATIONS, ROUTES
from proxy_plugin.app import setup
from proxy_plugin.config import Config
from proxy_plugin.config.connections import most_open
from proxy_plugin.gateway import GATEWAY, Gateway, Traffic
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import NotFound
from proxy_plugin.ground.masking import Masker, secrets_in
from proxy_plugin.ground.open_files import raise_file_limit
from proxy_plugin.reload import Read, Reload
from proxy_plugin.web.answers import error_answer
from proxy_plugin.web.served import Handler
from proxy_plugin.web.server import Runner, Site

LOG = logging.getLogger("proxy_plugin")
DRAIN_SECONDS = 30.0  # for running uploads, while the rest is still served
LAST_SECONDS = 10.0  # then for all other requests


async def serve(config: Config, host: str | None = None, port: int | None = None, read: Read | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code 0. `host` and `port` replace those of the configuration.

    With `read` SIGHUP, and a change of one of the files, apply what it then returns.
    The first signal refuses new uploads and creates, lets running uploads and the engine's running step finish, and
    ends; a second one ends at once. Nothing depends on either: what a SIGKILL cuts off goes on at the next start.
    Raises ConfigError, and on start-up what `setup` names or OSError for an address that cannot be bound.
    """
    host = config.server.host if host is None else host
    require_loopback(config, host)
    app = web.Application()
    gateway = setup(app, config)
    app.on_response_prepare.append(_hide_server)
    if config.server.upstream is None:
        app.middlewares.append(_nobody_behind)
    metrics = None if config.server.metrics_port is None else _metrics(app, config)
    limit = raise_file_limit()
    runner, asked_to_stop = Runner(app, config, shutdown_timeout=LAST_SECONDS), _stop_signal()
    _log_doubts(config)
    try:
        await _listen(runner, host, config.server.port if port is None else port, "gateway")
        logs.event(LOG, "bounds", open_files=limit.now, connections=most_open(config))
        if metrics is not None:
            await _listen(metrics, host, config.server.metrics_port or 0, "metrics")
        async with _reloading(gateway, read, host):
            await asked_to_stop.wait()
            await _drain(gateway.traffic)
    finally:
        if metrics is not None:
            await metrics.cleanup()
        await runner.cleanup()
    logs.event(LOG, "stopped", uploads_cut=gateway.traffic.uploads)
    return 0


@asynccontextmanager
async def _reloading(gateway: Gateway, read: Read | None, host: str) -> AsyncIterator[None]:
    if read is None:
        yield
        return
    known = set(secrets_in(gateway.config))

    def learnt(config: Config) -> None:
        known.update(secrets_in(config))
        logs.setup("info", Masker(known))
        _log_doubts(config)

    reload, loop = Reload(gateway, read, host, learnt), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload.asked.set)
    watching = asyncio.create_task(reload.watch(), name="reload")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


async def _listen(runner: Runner, host: str, port: int, what: str) -> None:
    await runner.setup()
    site = Site(runner, host, port)
    await site.start()
    logs.event(LOG, "listening", host=host, port=site.port, serves=what)


def _metrics(app: web.Application, config: Config) -> Runner:
    """Serve the operators' routes alone, for a port that callers cannot reach."""
    alone = web.Application()
    alone[GATEWAY], alone[OPERATIONS], alone[ALONE] = app[GATEWAY], app[OPERATIONS], True
    alone.on_response_prepare.append(_hide_server)
    for path, handler in ROUTES.items():
        alone.router.add_get(path, handler)
    return Runner(alone, config, shutdown_timeout=LAST_SECONDS)


def _log_doubts(config: Config) -> None:
    if config.unread:
        logs.event(LOG, "config_not_read", of_litellm="; ".join(config.unread))
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


async def _drain(traffic: Traffic) -> None:
    traffic.stopping = True
    logs.event(LOG, "stopping", uploads=traffic.uploads)
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while traffic.uploads:  # noqa: ASYNC110 - a number that uploads change; an event would be one more thing to keep
                await asyncio.sleep(0.05)


@web.middleware
async def _nobody_behind(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what no route took in our shape, `OPTIONS *` and CONNECT too, which no route can take."""
    if request.match_info.http_exception is None:
        return await handler(request)
    return error_answer(NotFound("This gateway serves files and batches only: it has no upstream for other requests."))
