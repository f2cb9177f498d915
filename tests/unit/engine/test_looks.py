"""When the engine looks for due rows again without being told to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.engine.reconciler import Engine
from proxy_plugin.engine.replicas.claims import NoClaims
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground.observing.timings import Timings
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.tables import due


class Claims(NoClaims):
    """Finds nothing that is due, and gives rows back behind the first `given` looks."""

    def __init__(self, given: int) -> None:
        self.looks, self._given = 0, given

    def due(self, *_: object) -> dict[str, Any]:
        self.looks += 1
        return {}

    def gave_back(self) -> bool:
        return self.looks <= self._given


@pytest.mark.parametrize("given", [0, 1, 3])
async def test_who_has_given_rows_back_looks_before_it_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int
) -> None:
    """Else a row that became due behind its look, and was passed over by all others, would wait for half a minute."""

    async def read(work: Any, *given: Any) -> Any:
        return work(None, *given)

    async def rests(*_: object) -> None:
        engine._stopping = True

    async def nothing(*_: object) -> None:
        pass

    for name in ("_resume", "_recover"):
        monkeypatch.setattr(Engine, name, nothing)
    monkeypatch.setattr(Engine, "_housekeep", lambda _: None)
    monkeypatch.setattr(due, "next_after", lambda *_: None)
    clock = SimpleNamespace(monotonic=lambda: 0.0, now=lambda: 0.0, wait=rests)
    gateway = SimpleNamespace(data_dir=tmp_path, registry=SimpleNamespace(read=read, full=False), clock=clock)
    gateway.folders, gateway.hooks, gateway.timings = BatchFolders(tmp_path), asyncio.Event(), Timings()
    claims = Claims(given)
    engine = Engine(cast("Gateway", gateway), claims)
    await engine._run()
    assert claims.looks == given + 1
