"""Two engines on one registry: no row is in two steps at once, both work, and what a dead one had is taken over."""

from __future__ import annotations

from collections import Counter
from itertools import cycle
from pathlib import Path

import pytest

from proxy_plugin.engine.desk import Key
from proxy_plugin.engine.reconciler import Engine
from proxy_plugin.engine.replicas.claims import LIFE, RowClaims
from proxy_plugin.gateway import Wakes
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.whole.claims.world import ask, opened
from tests.whole.lanes.rig import chats

BATCHES = 12


async def test_two_engines_share_the_rows_and_one_that_dies_leaves_them_to_the_other(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.control.reset()
    driven, now = Counter[str](), set[Key]()
    drive = Engine._drive

    async def watched(self: Engine, key: Key) -> None:
        assert key not in now, f"{key} is in two steps"
        now.add(key)
        driven[str(self._desk.claims.sender)] += 1
        try:
            await drive(self, key)
        finally:
            now.discard(key)

    monkeypatch.setattr(Engine, "_drive", watched)
    async with opened(tmp_path, sandbox, "openai", monkeypatch) as world:
        claims = RowClaims(world.gateway.registry, world.gateway.clock, "two")
        other = Engine(world.gateway, claims)
        await other.start()
        world.gateway.engine = _InTurns(world.gateway.engine, other)
        made = [await world.create(chats(2, str(n))) for n in range(BATCHES)]

        async def is_at_work() -> bool:
            return len(other._state.slots) > 0

        await world.until_true(is_at_work)
        await claims.take([("part", "of a batch that it had when it died", 0)])
        _die(other)
        await world.pass_time(LIFE + 1)
        for batch in made:
            ended = await world.until(batch.id)
            assert (ended.status, ended.request_counts.completed) == ("completed", 2)
    assert driven.keys() == {"one", "two"}
    assert len([job for job in await sandbox.jobs() if not job["stranger"]]) == BATCHES
    assert ask(tmp_path, "SELECT COUNT(*) FROM submissions WHERE state = 'accepted'")[0][0] == BATCHES


class _InTurns:
    """Wakes one engine, then the other: in one process the first that is woken would have everything."""

    def __init__(self, *engines: Wakes) -> None:
        self._engines = cycle(engines)

    def wake(self) -> None:
        """Look for due rows now."""
        next(self._engines).wake()

    def leave(self) -> None:
        """Leave what has not begun to others."""
        next(self._engines).leave()


def _die(engine: Engine) -> None:
    """End an engine as a kill does: nothing of it goes on, and nothing is given back."""
    tasks = [engine._state.task, engine._state.reports, *engine._state.running]
    for task in tasks:
        if task is not None:
            task.cancel()
