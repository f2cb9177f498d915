"""The gateway's process: started, watched and ended by the demo, whatever ends the demo."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from proxy_plugin.demo.screen import DemoFailed
from proxy_plugin.demo.servers import dismiss, guard

STOP_SECONDS = 5.0
LOG_LINES = 20
_GOOD_REQUEST = ('"event": "request"', '"status": 200')

T = TypeVar("T")


@asynccontextmanager
async def gateway_process(config: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `proxy-plugin serve`, its output in `log`. A session of its own keeps the terminal's Ctrl-C away from it."""
    command = (sys.executable, "-m", "proxy_plugin", "serve", "--config", str(config))
    with log.open("ab") as stream:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    shell = guard(process.pid)
    try:
        yield process
    finally:
        dismiss(shell)  # before the process is waited for, after which the number could be another's
        await _stopped(process)


async def _stopped(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def while_alive(ended: Coroutine[Any, Any, int], work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. Raises DemoFailed as soon as `ended` tells a gateway's exit status before it."""
    job, end = asyncio.create_task(work), asyncio.create_task(ended)
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
