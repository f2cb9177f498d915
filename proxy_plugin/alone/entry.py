"""Where the process that makes the calls begins. What it needs is imported there alone."""

from __future__ import annotations

import asyncio
import shutil
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from proxy_plugin.alone.order import CallTerms
from proxy_plugin.ground import logs
from proxy_plugin.ground.masking import Masker
from proxy_plugin.ground.workers import enter

READY = "ready"


def run(socket: str, pipe: Connection, terms: CallTerms) -> None:
    """Serve calls until the pipe ends; `socket` is in a folder of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the gateway ends us when it has ended its own
    enter(lambda: shutil.rmtree(Path(socket).parent, ignore_errors=True))
    logs.setup("warning", Masker(()))
    from proxy_plugin.alone.worker import serve_calls  # noqa: PLC0415

    asyncio.run(serve_calls(socket, pipe, terms))
