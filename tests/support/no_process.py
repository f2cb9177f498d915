"""A watch over tests that start no process: one that does fails by its name, and belongs into tests/whole."""

from __future__ import annotations

import multiprocessing.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn
from unittest import mock

_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system"}
_started: list[str] = []
_watching = False


def _watch(event: str, args: tuple[object, ...]) -> None:
    if _watching and event in _EVENTS:
        _refuse(event, *args)


def _refuse(*what: object) -> NoReturn:
    _started.append(" ".join(map(str, what)))
    raise RuntimeError("this test starts a process: its place is tests/whole")


sys.addaudithook(_watch)  # there is no way to take it off again, so it is only switched


@contextmanager
def no_process() -> Iterator[None]:
    """Fail at the end when somebody, in whatever thread, tried to start a process."""
    global _watching  # noqa: PLW0603 - the hook lives as long as the interpreter
    _started.clear()
    _watching = True
    try:
        with mock.patch.object(multiprocessing.util, "spawnv_passfds", _refuse):  # `spawn` raises no audit event
            yield
    finally:
        _watching = False
    assert _started == []
