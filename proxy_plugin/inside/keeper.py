"""Keeps one gateway running for all processes of a LiteLLM: one of them starts it, and starts it again when it dies.

Locks of the kernel say who does and for how long: they go with the process that holds them, however it ends. A thread
and not a task, so that a busy event loop holds nothing up.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from proxy_plugin.inside.words import Beside, listens

LOG = logging.getLogger("proxy_plugin.inside")
START_LOOK_SECONDS = 0.1  # between looks whether one that is being started listens
LOOK_SECONDS = 0.3  # between looks at a lock that another process holds, or a gateway that was there before
FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0  # before a gateway is started again that did not live long
SERVED_PAUSE = 0.1  # at most, where it had come to listen: callers wait for it, and a start costs 0.7 s of CPU
LONG_LIFE = 10.0  # seconds; one that died after them is started again at once


class GatewayKeeper(threading.Thread):
    """Starts `command` whenever nobody listens at the socket; ends with its process."""

    def __init__(self, listens_at: Path, command: Sequence[str]) -> None:
        super().__init__(name="batch gateway", daemon=True)
        self._socket, self._command = listens_at, tuple(command)
        self._early = 0  # lives in a row that were short
        self._held: tuple[int, ...] = ()  # locked files

    def run(self) -> None:
        """Be one of those whom the gateway serves, and look after it when nobody else does."""
        files = Beside.of(self._socket)
        try:
            self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held = _locked(files.users, fcntl.LOCK_SH), _locked(files.keeper, fcntl.LOCK_EX)
        except OSError as error:
            LOG.error("The batch gateway cannot be started in %s: %s", self._socket.parent, error.strerror)  # noqa: TRY400
            return
        with suppress(KeyboardInterrupt):
            while True:
                if listens(self._socket):  # somebody else has started it
                    time.sleep(LOOK_SECONDS)
                else:
                    self._one_life()

    def _one_life(self) -> None:
        began, served, code = time.monotonic(), False, None
        try:
            with subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True) as gateway:  # noqa: S603
                served = self._came_to_serve(gateway)
                code = gateway.wait()
        except OSError as error:
            LOG.error("The batch gateway cannot be started: %s", error.strerror)  # noqa: TRY400
        self._early = 0 if time.monotonic() - began > LONG_LIFE else self._early + 1
        LOG.warning("The batch gateway has ended with exit code %s and is started again", code)
        time.sleep(pause(self._early, served=served))

    def _came_to_serve(self, gateway: subprocess.Popen[bytes]) -> bool:
        """Tell whether it listens, when it does, or has ended before."""
        while not listens(self._socket):
            with suppress(subprocess.TimeoutExpired):
                gateway.wait(START_LOOK_SECONDS)
                return False
        return True


def pause(early: int, *, served: bool) -> float:
    """Return how many seconds a gateway is not started again after so many short lives in a row.

    One that never came to listen will hardly do so next time; one that did was killed, and is missed.
    """
    if early < 2:
        return 0
    return min(SERVED_PAUSE if served else LAST_PAUSE, FIRST_PAUSE * float(2**early))


def command(config: Path, listens_at: Path) -> list[str]:
    """Return what starts the gateway: it serves the socket alone, and ends when no process of LiteLLM's is left."""
    users = Beside.of(listens_at).users
    where = ["--config", str(config), "--socket", str(listens_at), "--until-free", str(users)]
    return [sys.executable, "-m", "proxy_plugin", "serve", *where]


def _locked(path: Path, kind: int) -> int:
    """Return a file that is locked until this process ends, when it is."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOOK_SECONDS)
        else:
            return descriptor
