"""The gateway behind a socket of its own, in the process of LiteLLM's that started it or beside it.

Only this machine's user can connect, and only there is LiteLLM's word for who calls believed: it comes with a secret
that is new at each start.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import fcntl
import os
import socket
from pathlib import Path
from secrets import token_hex
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from proxy_plugin.access.identity import Identity
from proxy_plugin.config import Config
from proxy_plugin.ground.fingerprints import same
from proxy_plugin.inside import facts
from proxy_plugin.inside.words import IDENTITY, MOST_PATH, SECRET, listens

BACKLOG = 1024
LOOK_SECONDS = 0.5  # between looks whether anybody is left
TOLD: Final = web.AppKey("proxy_plugin.told", str)  # the secret of an application that serves a socket


class Inside(NamedTuple):
    """Where LiteLLM's plugin finds the gateway; when no process is left that holds a lock on `until_free`, it ends."""

    socket: Path
    until_free: Path | None = None


class SocketSite(web.UnixSite):
    """A listening socket that nobody else can connect to."""

    def __init__(self, runner: web.AppRunner, path: Path) -> None:
        super().__init__(runner, path, backlog=BACKLOG)

    async def start(self) -> None:
        """Listen. Raises OSError."""
        before = os.umask(0o177)
        try:
            await super().start()
        finally:
            os.umask(before)


def require_private(path: Path) -> None:
    """Raise OSError where somebody listens already, or where others could put a socket of theirs."""
    if len(os.fsencode(path)) > MOST_PATH:
        raise OSError(errno.ENAMETOOLONG, "too long for a socket", str(path))
    if path.parent.stat().st_mode & 0o022:
        raise OSError(errno.EPERM, "others can write in the folder of the socket", str(path.parent))
    if listens(path):
        raise OSError(errno.EADDRINUSE, "another gateway listens at this socket", str(path))


def believe(app: web.Application) -> None:
    """Believe from now on what comes with a new secret. To be called before the application starts."""
    app[TOLD] = token_hex(32)


def tell(app: web.Application, path: Path, config: Config) -> None:
    """Say beside the socket which keys are our own. Raises OSError."""
    facts.write(path, app[TOLD], (key.digest().hex() for key in config.api_keys))


def told(request: web.Request) -> Identity | None:
    """Return who calls by LiteLLM's word; None where it says nothing that counts."""
    secret, said = request.app.get(TOLD), request.headers.get(IDENTITY)
    if secret is None or said is None or not _over_socket(request):
        return None
    if not same(request.headers.get(SECRET, ""), secret):
        return None
    try:
        return msgspec.json.decode(base64.b64decode(said), type=Identity)
    except ValueError:
        return None


def _over_socket(request: web.Request) -> bool:
    wire = None if request.transport is None else request.transport.get_extra_info("socket")
    return wire is not None and wire.family == socket.AF_UNIX


async def until_free(path: Path) -> None:
    """Return when no process is left that holds a lock on this file. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(LOOK_SECONDS)
            else:
                return
    finally:
        os.close(descriptor)
