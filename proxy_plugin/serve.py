"""The gateway as a process of its own: an application with nothing else in it, served until a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE

from proxy_plugin.access.callers import require_loopback
from proxy_plugin.app import ANYTHING, setup
from proxy_plugin.config import Config
from proxy_plugin.gateway import Traffic
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import NotFound
from proxy_plugin.web.answers import error_answer
from proxy_plugin.web.unreadable import Runner

LOG = logging.getLogger("proxy_plugin")
DRAIN_SECONDS = 30.0  # for running uploads, while the rest is still served
LAST_SECONDS = 10.0  # then for all other requests
READ_BUFFER = 64 * 1024  # bytes a connection; with aiohttp's 256 KiB, 50 uploads at once take 10 MB more
HEADER_BYTES = 32 * 1024  # of one header: configs come in one; what is longer is unreadable


async def serve(config: Config, host: str | None = None, port: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code 0. `host` and `port` replace those of the configuration.

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
        app.router.add_route(hdrs.METH_ANY, f"/{ANYTHING}", _nobody_behind)
    runner, asked_to_stop = _runner(app), _stop_signal()
    _log_doubts(config)
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, config.server.port if port is None else port)
        await site.start()
        logs.event(LOG, "listening", host=host, port=site.port, upstream=config.server.upstream is not None)
        await asked_to_stop.wait()
        await _drain(gateway.traffic)
    finally:
        await runner.cleanup()
    logs.event(LOG, "stopped", uploads_cut=gateway.traffic.uploads)
    return 0


def _runner(app: web.Application) -> web.AppRunner:
    return Runner(
        app,
        access_log=None,
        shutdown_timeout=LAST_SECONDS,
        read_bufsize=READ_BUFFER,
        max_field_size=HEADER_BYTES,
        auto_decompress=False,
    )


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


async def _drain(traffic: Traffic) -> None:
    traffic.stopping = True
    logs.event(LOG, "stopping", uploads=traffic.uploads)
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while traffic.uploads:  # noqa: ASYNC110 - a number that uploads change; an event would be one more thing to keep
                await asyncio.sleep(0.05)


async def _nobody_behind(request: web.Request) -> web.StreamResponse:  # noqa: ARG001
    return error_answer(NotFound("This gateway serves files and batches only: it has no upstream for other requests."))
