"""Run one function in a spawned process, as the gateway's workers are, with failpoints in force."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

A = TypeVar("A")
SECONDS = 30


def run_spawned(function: Callable[[A], object], job: A, fail: str = "") -> object:
    """Return what `function` returns or raises there, or the exit code (minus the signal) of a process that died."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    before = os.environ.get("PROXY_PLUGIN_FAIL")
    os.environ["PROXY_PLUGIN_FAIL"] = fail
    try:
        process = spawn.Process(target=_work, args=(there, function, job))
        process.start()
    finally:
        del os.environ["PROXY_PLUGIN_FAIL"]
        if before is not None:
            os.environ["PROXY_PLUGIN_FAIL"] = before
    there.close()
    try:
        assert here.poll(SECONDS), "the spawned process says nothing"
        answer: object = here.recv()
    except EOFError:
        process.join(SECONDS)
        assert process.exitcode is not None
        return process.exitcode
    process.join(SECONDS)
    return answer


def _work(to: Connection, function: Callable[[A], object], job: A) -> None:
    try:
        answer = function(job)
    except Exception as error:  # noqa: BLE001 - the border of a process: the test looks at it
        answer = error
    to.send(answer)
