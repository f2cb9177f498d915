"""The gateway as a process of its own: an application with nothing else in it, served until a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE

from proxy_plugin.access.callers import require_loopback
from proxy_plugin.api.operations import ALONE, OPERATIONS, ROUTES
from proxy_plugin.app import setup
from proxy_plugin.config import Config
from proxy_plugin.config.connections import most_open
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import ConfigError, NotFound
from proxy_plugin.ground.masking import Masker, secrets_in
from proxy_plugin.ground.observing import traces
from proxy_plugin.ground.open_files import raise_file_limit
from proxy_plugin.reload import Read, Reload
from proxy_plugin.storage import reach
from proxy_plugin.web import private_socket
from proxy_plugin.web.answers import error_answer
from proxy_plugin.web.private_socket import Inside
from proxy_plugin.web.served import Handler
from proxy_plugin.web.server import Runner, Site

LOG = logging.getLogger("proxy_plugin")
STOPPING = (signal.SIGTERM, signal.SIGINT)
STORE_SECONDS = 5.0  # for the store to refuse; one that is silent is away
DRAIN_SECONDS = 30.0  # for running uploads, while the rest is still served
LAST_SECONDS = 10.0  # then for all other requests


async def serve(
    config: Config,
    host: str | None = None,
    port: int | None = None,
    read: Read | None = None,
    inside: Inside | None = None,
    listening: Callable[[str, int], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code 0. `host` and `port` replace those of the configuration.

    With `read` SIGHUP, and a change of a file, apply what it returns; `inside` opens a port only where one is named;
    `listening` is told host and port. The first signal refuses new uploads and creates, lets running uploads and the
    engine's running step finish, and ends; a second one ends at once: a SIGKILL, too, loses nothing.
    Raises ConfigError, and on start-up what `setup` names or OSError for an address that cannot be bound.
    """
    host = config.server.host if host is None else host
    if over_tcp := inside is None or port is not None:
        require_loopback(config, host)
    if not await _storage_there(config):
        return 0
    app, config = web.Application(), replace(config, vouched=inside is not None)
    traffic = setup(app, config).traffic
    metrics, limit = _finish(app, config, inside), raise_file_limit()
    runner, asked_to_stop = Runner(app, config, shutdown_timeout=LAST_SECONDS), _stop_signal()
    try:
        if over_tcp:
            await _listen(runner, host, config.server.port if port is None else port, "gateway", listening or _nobody)
        await _listen_privately(runner, app, inside)
        logs.event(LOG, "bounds", open_files=limit.now, connections=most_open(config))
        if metrics is not None:
            await _listen(metrics, host, config.server.metrics_port or 0, "metrics")
        async with _reloading(app, read, host, inside), _ending(inside, asked_to_stop):
            await asked_to_stop.wait()
            await _drain(app[GATEWAY])
    finally:
        if metrics is not None:
            await metrics.cleanup()
        await runner.cleanup()
    logs.event(LOG, "stopped", uploads_cut=traffic.uploads)
    return 0


async def _storage_there(config: Config) -> bool:
    """Wait until the database of replicas is there; tell whether it is, or that the process is to stop instead.

    A store that is away is waited for while the gateway serves. Raises ConfigError for one that refuses, and what
    `until_there` raises.
    """
    storage, loop = config.storage, asyncio.get_running_loop()
    if storage.database is None:
        return True
    from proxy_plugin.storage.replicas.arrival import until_there  # noqa: PLC0415 - psycopg is an extra

    if storage.blob_url is not None:
        await _require_store(storage.blob_url, storage.store_options())
    try:
        return await until_there(storage.database, _stop_signal())
    finally:  # whatever a start waits for behind this ends with the signal
        for number in STOPPING:
            loop.remove_signal_handler(number)


async def _require_store(url: str, options: Mapping[str, str]) -> None:
    why = ""
    try:
        why = await asyncio.wait_for(asyncio.to_thread(reach.refusal, url, options), STORE_SECONDS)
    except TimeoutError:
        return
    except ValueError as error:
        raise ConfigError(f"proxy_plugin.storage.blob_options: {error}") from None
    if why:
        raise ConfigError(
            f"proxy_plugin.storage.blob_url: the object store refuses this gateway ({why}); look at bucket,"
            " blob_options and rights: `proxy-plugin check --live` tries each"
        )


def _nobody(host: str, port: int) -> None:
    """Be told nothing."""


def _finish(app: web.Application, config: Config, inside: Inside | None) -> Runner | None:
    """Make the application one that has nothing else in it; return what serves the figures, on a port of their own."""
    _log_doubts(config)
    if missing := traces.begin(os.environ):
        logs.event(LOG, "traces_off", level=logging.WARNING, reason=missing)
    app.on_cleanup.append(lambda _: asyncio.to_thread(traces.end))
    if inside is not None:
        private_socket.believe(app)
    app.on_response_prepare.append(_hide_server)
    if config.server.upstream is None:
        app.middlewares.append(_nobody_behind)
    return None if config.server.metrics_port is None else _metrics(app, config)


@asynccontextmanager
async def _reloading(app: web.Application, read: Read | None, host: str, inside: Inside | None) -> AsyncIterator[None]:
    if read is None:
        yield
        return
    gateway = app[GATEWAY]
    known = set(secrets_in(gateway.config))

    def learnt(config: Config) -> None:
        known.update(secrets_in(config))
        logs.learn(Masker(known))
        _log_doubts(config)
        if inside is not None:
            private_socket.tell(app, inside.socket, config)

    reload, loop = Reload(gateway, read, host, learnt), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload.asked.set)
    watching = asyncio.create_task(reload.watch(), name="reload")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


async def _listen(runner: Runner, host: str, port: int, what: str, told: Callable[[str, int], None] = _nobody) -> None:
    await runner.setup()
    site = Site(runner, host, port)
    await site.start()
    logs.event(LOG, "listening", host=host, port=site.port, serves=what)
    told(host, site.port)


async def _listen_privately(runner: Runner, app: web.Application, inside: Inside | None) -> None:
    if inside is None:
        return
    path = inside.socket
    if runner.server is None:
        await runner.setup()
    private_socket.require_private(path)
    private_socket.tell(app, path, app[GATEWAY].config)
    await private_socket.SocketSite(runner, path).start()
    logs.event(LOG, "listening", socket=path, serves="gateway")


@asynccontextmanager
async def _ending(inside: Inside | None, asked_to_stop: asyncio.Event) -> AsyncIterator[None]:
    """Ask to stop when no process of LiteLLM's is left."""
    if inside is None or inside.until_free is None:
        yield
        return
    watching = asyncio.create_task(private_socket.until_free(inside.until_free), name="until free")
    watching.add_done_callback(lambda _: asked_to_stop.set())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


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

    for number in STOPPING:
        loop.add_signal_handler(number, stop, number)
    return asked


async def _drain(gateway: Gateway) -> None:
    traffic = gateway.traffic
    traffic.stopping = True
    gateway.engine.leave()
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
    return error_answer(NotFound("This gateway has no such route, and no upstream for other requests."))
