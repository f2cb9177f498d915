"""A database that is away: what is worth money waits for it, and steps rest for seconds."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from proxy_plugin.engine import desk as desks
from proxy_plugin.engine.desk import Desk, Key
from proxy_plugin.engine.reconciler import DISK_PAUSE, Engine
from proxy_plugin.engine.steps import STEPS
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground.observing.timings import Timings
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import CommitInDoubt, DatabaseAway, RegistryFull

KEY = Key("batch", "batch_1")


class Registry:
    """Fails with these errors, then does as it is told."""

    full = False

    def __init__(self, *errors: Exception) -> None:
        self._errors = [*errors]
        self.tries = 0

    async def write(self, work: Any, *args: Any) -> Any:
        self.tries += 1
        if self._errors:
            raise self._errors.pop(0)
        return work(None, *args)


def gateway(registry: Registry, folder: Path) -> Gateway:
    clock = SimpleNamespace(monotonic=lambda: 0.0, now=lambda: 0.0)
    found = {"data_dir": folder, "registry": registry, "clock": clock, "hooks": asyncio.Event(), "timings": Timings()}
    found |= {"folders": BatchFolders(folder), "blobs": SimpleNamespace(held=nullcontext)}
    return cast("Gateway", SimpleNamespace(**found))


def accepted(conn: Connection, job: str) -> str:
    return job


async def test_the_id_of_a_job_waits_for_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "AWAY_PAUSE", 0.0)
    registry = Registry(DatabaseAway("gone"), RegistryFull("full"), DatabaseAway("gone"))
    desk = Desk(gateway(registry, tmp_path), BatchFolders(tmp_path))
    assert await desk.insist(accepted, "job_1") == "job_1"
    assert registry.tries == 4


async def test_what_may_have_happened_is_not_done_again(tmp_path: Path) -> None:
    registry = Registry(CommitInDoubt("whether it is there"))
    with pytest.raises(CommitInDoubt):
        await Desk(gateway(registry, tmp_path), BatchFolders(tmp_path)).insist(accepted, "job_1")
    assert registry.tries == 1


async def test_a_step_rests_for_seconds(tmp_path: Path) -> None:
    """A defect rests for a minute, and is told in the batch."""
    registry = Registry()
    engine = Engine(gateway(registry, tmp_path))

    async def refuse(*_: object) -> NoReturn:
        raise DatabaseAway("gone")

    engine._state.slots.begin("one", KEY)
    await engine._take(replace(STEPS["merge"], run=refuse), SimpleNamespace(), KEY)
    assert engine._state.held == {KEY: DISK_PAUSE}
    assert registry.tries == 0
