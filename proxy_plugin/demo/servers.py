"""Server processes for a demo or for tests: each ends with the process that started it, whatever ends that one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

START_SECONDS, STOP_SECONDS = 60.0, 10.0
PAUSE = 0.02  # between two looks
HOST = "127.0.0.1"


class ServerFailed(Exception):
    """A server is not installed, or did not start; the message says what to do, or the last of what it said."""


def free_port() -> int:
    """Return a port of this machine on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Tell whether somebody takes connections there."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=5):
        return True
    return False


class ServerProcess:
    """One process, started and ended at will; what it says goes to `log`, across its lives."""

    end = signal.SIGTERM  # what asks it to end

    def __init__(self, name: str, log: Path) -> None:
        self.name, self.log = name, log
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's number while it runs."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def run(
        self,
        command: Sequence[str | Path],
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        user: int | None = None,
    ) -> Self:
        """Return when it is ready; `user` is the id of another user to run it as. Raises ServerFailed."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [str(each) for each in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                cwd="/",
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        self._guard = guard(self._process.pid, self.end)
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerFailed(f"{self.name} did not start: {self._said()}")
            time.sleep(PAUSE)
        return self

    def _said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-1000:].strip() or "it said nothing"

    def stop(self, number: int | None = None) -> None:
        """End it, by a signal of choice, and return when it is gone."""
        process, self._process = self._process, None
        if self._guard is not None:  # before the process is waited for, after which its number could be another's
            dismiss(self._guard)
            self._guard = None
        if process is None:
            return
        process.send_signal(number or self.end)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def guard(pid: int, number: int = signal.SIGTERM) -> subprocess.Popen[bytes]:
    """Have `pid` ended by a shell that outlives this process: its pipe closes even when nothing here can still act."""
    command = ("/bin/sh", "-c", 'read -r _; kill -"$2" "$1"', "sh", str(pid), str(int(number)))
    quiet = subprocess.DEVNULL
    return subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
    )


def dismiss(shell: subprocess.Popen[bytes]) -> None:
    """End a guard, who ends nobody then."""
    with shell:
        shell.kill()
