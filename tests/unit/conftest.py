"""Unit tests start no process: one that does fails by its name, and belongs into tests/whole."""

from __future__ import annotations

import multiprocessing.util
import sys
from collections.abc import Iterator
from typing import NoReturn

import pytest

_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system"}
_watching = False
_started: list[str] = []


def _watch(event: str, args: tuple[object, ...]) -> None:
    if _watching and event in _EVENTS:
        _refuse(event, *args)


def _refuse(*what: object) -> NoReturn:
    _started.append(" ".join(map(str, what)))
    raise RuntimeError("a unit test starts no process")


sys.addaudithook(_watch)  # there is no way to take it off again, so it is only switched


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test when it tries to start a process, in whatever thread."""
    global _watching  # noqa: PLW0603 - the hook lives as long as the interpreter
    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", _refuse)  # of `spawn`, which raises no audit event
    _started.clear()
    _watching = True
    yield
    _watching = False
    assert _started == []
