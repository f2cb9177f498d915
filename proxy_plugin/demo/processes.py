"""The gateway's process: started, watched and ended by the demo, whatever ends the demo."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from proxy_plugin.demo.screen import DemoFailed

STOP_SECONDS = 5.0
LOG_LINES = 20
_GOOD_REQUEST = ('"event": "request"', '"status": 200')

T = TypeVar("T")


@asynccontextmanager
async def gateway_process(config: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `proxy-plugin serve`, its output in `log`. A session of its own keeps the terminal's Ctrl-C away from it."""
    command = (sys.executable, "-m", "proxy_plugin", "serve", "--config", str(config))
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        with _guard(process.pid):
            yield process
    finally:
        await _stopped(process)


@contextmanager
def _guard(pid: int) -> Iterator[None]:
    """Have `pid` ended by a shell that outlives this process: its pipe closes even when nothing here can still act."""
    command = ("/bin/sh", "-c", 'read -r _; kill "$1"', "sh", str(pid))
    quiet = subprocess.DEVNULL
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
    ) as shell:
        try:
            yield
        finally:
            shell.kill()  # before `pid` is waited for, after which the number could be another process's


async def _stopped(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def while_alive(process: asyncio.subprocess.Process, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. Raises DemoFailed as soon as the process ends before it."""
    job, end = asyncio.create_task(work), asyncio.create_task(process.wait())
    try:
        await asyncio.wait({job, end}, return_when=asyncio.FIRST_COMPLETED)
        if job.done() and isinstance(job.exception(), aiohttp.ClientError):
            await asyncio.wait({end}, timeout=1.0)  # a broken connection may be the first sign of its death
        if end.done() and not (job.done() and job.exception() is None):
            raise DemoFailed(f"the gateway ended with status {end.result()}")
        return job.result()
    finally:
        job.cancel()
        end.cancel()
        await asyncio.gather(job, end, return_exceptions=True)


def last_lines(log: Path) -> list[str]:
    """Return the end of the log, without the demo's own successful looks at the batch: four a second."""
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            telling = (line.rstrip("\n") for line in file if not all(word in line for word in _GOOD_REQUEST))
            return list(deque(telling, LOG_LINES))
    except FileNotFoundError:
        return []
