"""Gateway processes that are forked from one which has imported all that a gateway imports, and done nothing else.

Of the 0.55 s of CPU that `python -m proxy_plugin serve` takes to listen 0.45 s are imports, and the suite starts some
hundreds of gateways. What is forked is a process like any other: a child of the test's own, with no thread, no socket
and no file of its forebear's, that dies alone. Campaigns start the command, and so do the tests of the command line.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from tests.support.signals import heard

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: who is orphaned below becomes a child of this process
LOOK = 0.005  # seconds between looks at a process that is to end
CLAIMS_LAST, SENT_WITHIN = "TESTS_CLAIMS_LAST", "TESTS_SENT_WITHIN"  # variables of a gateway: seconds, as replicas have
SOONER = {CLAIMS_LAST: "3", SENT_WITHIN: "1"}  # the second has to be the shorter one
_RUNNING: list[subprocess.Popen[str]] = []


class Forked:
    """A forked gateway; what `subprocess.Popen` has of the same names."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when it has ended. Raises TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("gateway", timeout or 0.0)
            time.sleep(LOOK)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process = subprocess.Popen[bytes] | Forked


def fork(config: Path, log: Path, environ: Mapping[str, str]) -> Forked:
    """Start a gateway."""
    forebear = _forebear()
    assert forebear.stdin is not None
    assert forebear.stdout is not None
    with _adopting():
        forebear.stdin.write(json.dumps([str(config), str(log), dict(environ)]) + "\n")
        forebear.stdin.flush()
        pid = int(forebear.stdout.readline())
        forebear.stdout.readline()  # whoever stood between has ended
        return Forked(pid)


def close() -> None:
    """End the forebear, if there is one."""
    while _RUNNING:
        with _RUNNING.pop() as forebear:
            forebear.kill()


def _forebear() -> subprocess.Popen[str]:
    if not _RUNNING:
        command = [sys.executable, "-m", "tests.support.nursery"]
        root = Path(__file__).parents[2]
        pipe = subprocess.PIPE
        _RUNNING.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root, preexec_fn=heard))
    return _RUNNING[0]


@contextmanager
def _adopting() -> Iterator[None]:
    """Be the parent of whoever is orphaned meanwhile: of the gateway, not of workers that it leaves behind later."""
    prctl = ctypes.CDLL(None).prctl
    prctl(SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(SUBREAPER, 0, 0, 0, 0)


# ---- the forebear ----


def _main() -> None:
    import proxy_plugin.config
    import proxy_plugin.serve  # noqa: F401

    for order in sys.stdin:
        between = os.fork()
        if not between:
            _between(*json.loads(order))
        os.waitpid(between, 0)
        sys.stdout.write("\n")
        sys.stdout.flush()


def _between(config: str, log: str, environ: dict[str, str]) -> None:
    """Leave a gateway behind and tell its id. Who ends here is waited for; the gateway gets another parent by that."""
    gateway = os.fork()
    if gateway:
        sys.stdout.write(f"{gateway}\n")
        sys.stdout.flush()
        os._exit(0)
    code = 1
    try:
        _prepare(log, environ)
        from proxy_plugin.cli import main

        code = main(["serve", "--config", config])
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _prepare(log: str, environ: dict[str, str]) -> None:
    """Be as a process that was started with this environment, and writes to this file."""
    from proxy_plugin.ground import failpoints

    file, nothing = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    sys.path[:0] = [each for each in environ.get("PYTHONPATH", "").split(os.pathsep) if each and each not in sys.path]
    os.environ.clear()
    os.environ.update(environ)
    failpoints._active.update(failpoints._rules(environ.get(failpoints.VARIABLE, "")))
    if seconds := environ.get(CLAIMS_LAST):
        replica = import_module("proxy_plugin.engine.replicas.replica")
        replica.Replica.__init__.__kwdefaults__["life"] = float(seconds)
        vars(import_module("proxy_plugin.engine.steps_submission"))["SEND_WITHIN"] = float(environ[SENT_WITHIN])
    started = ModuleType("__main__")
    started.__spec__ = find_spec("proxy_plugin.__main__")
    sys.modules["__main__"] = started  # what workers look at


if __name__ == "__main__":
    _main()
