"""One process that makes calls, as its gateway holds it: started on first use, and again when it has died."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import shutil
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from proxy_plugin.alone.entry import READY, run
from proxy_plugin.alone.order import CalledAccount, CallTerms, News
from proxy_plugin.ground import logs
from proxy_plugin.ground.errors import Unavailable
from proxy_plugin.providers.direct.base import Outgoing

LOG = logging.getLogger("proxy_plugin.alone")
START_SECONDS, END_SECONDS = 60.0, 2.0
CONNECT_SECONDS, DYING_SECONDS = 10.0, 0.5
IDLE_SECONDS = 30.0  # of a connection, which the other end keeps for longer: none is stale when a call begins
_NOT_STARTED = "The process that makes the calls did not start; nothing was sent. Try again in a moment."


class Running(NamedTuple):
    """A process that has started, with the ways to it."""

    process: Any
    pipe: Connection
    folder: Path
    session: aiohttp.ClientSession


class CallingProcess:
    """A process and what it was told. `calls` counts those that run."""

    def __init__(self, terms: CallTerms) -> None:
        self.calls = 0
        self._terms = terms
        self._turn, self._sending = asyncio.Lock(), threading.Lock()
        self._start: asyncio.Task[Running] | None = None  # its own: a client that leaves does not end it half-way
        self._number = 0
        self._known: object = None  # whose accounts it was told

    async def told(
        self,
        config: object,
        accounts: Mapping[str, CalledAccount],
        outgoing: Outgoing,
        brought: Mapping[str, CalledAccount],
    ) -> tuple[aiohttp.ClientSession, int]:
        """Return the way to it, and the number of what it has to have heard first. Raises Unavailable.

        `accounts` are those of a configuration, told once; `brought` is what came with one call.
        """
        async with self._turn:
            running = await self._living()
            if self._known is not config:
                await self._tell(running, accounts, outgoing, whole=True)
                self._known = config
            if brought:
                await self._tell(running, brought, outgoing)
            return running.session, self._number

    async def failed(self, session: aiohttp.ClientSession) -> None:
        """Take note that a call had no answer: where it is about to end the next one starts it again.

        Its connections are cut before it counts as dead.
        """
        async with self._turn:
            if self._start is None or not self._start.done() or self._start.result().session is not session:
                return
            process = self._start.result().process
            await asyncio.to_thread(process.join, DYING_SECONDS)
            if not process.is_alive():
                await self._end()

    async def close(self) -> None:
        """End it, and the calls that it makes."""
        async with self._turn:
            await self._end()

    async def _tell(
        self, running: Running, accounts: Mapping[str, CalledAccount], outgoing: Outgoing, *, whole: bool = False
    ) -> None:
        self._number += 1
        news = News(self._number, accounts, outgoing, whole)
        try:
            await asyncio.to_thread(self._sent, running.pipe, news)  # on a thread: it may be importing litellm
        except OSError as error:
            raise Unavailable(_NOT_STARTED) from error

    def _sent(self, pipe: Connection, news: News) -> None:
        with self._sending:
            pipe.send(news)

    async def _living(self) -> Running:
        if self._start is not None and self._start.done() and not self._start.result().process.is_alive():
            await self._end()
        if self._start is None:
            self._start, self._known, self._number = asyncio.create_task(self._started()), None, 0
        try:
            return await asyncio.shield(self._start)
        except Unavailable:
            self._start = None
            raise

    async def _started(self) -> Running:
        folder = Path(tempfile.mkdtemp(prefix="proxy-plugin-calls-"))  # its user's; data_dir may be too long
        try:
            process, pipe = await asyncio.to_thread(_spawned, str(folder / "calls"), self._terms)
        except (OSError, EOFError) as error:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise Unavailable(_NOT_STARTED) from error
        logs.event(LOG, "calls_process_started", pid=process.pid)
        session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(folder / "calls"), limit=0, keepalive_timeout=IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )
        return Running(process, pipe, folder, session)

    async def _end(self) -> None:
        start, self._start = self._start, None
        if start is None:
            return
        with suppress(Unavailable):
            running = await start
            await running.session.close()
            code = await asyncio.to_thread(_ended, running)
            logs.event(LOG, "calls_process_ended", level=logging.WARNING if code else logging.INFO, exit_code=code)


def _spawned(socket: str, terms: CallTerms) -> tuple[Any, Connection]:
    """Spawn a process and wait until it listens. Blocking. Raises OSError, and EOFError where it has ended."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=run, args=(socket, theirs, terms), name="calls", daemon=True)
    process.start()
    theirs.close()
    if not ours.poll(START_SECONDS):
        process.kill()
        raise OSError("it does not listen")
    if ours.recv() != READY:
        raise OSError("it is not what was started")
    return process, ours


def _ended(running: Running) -> int | None:
    """End a process and return its exit code. Blocking."""
    running.pipe.close()
    running.process.join(END_SECONDS)
    if running.process.is_alive():
        running.process.kill()
        running.process.join()
    code: int | None = running.process.exitcode
    running.process.close()
    shutil.rmtree(running.folder, ignore_errors=True)
    return code
