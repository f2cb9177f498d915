"""The table of steps: no state is forgotten, and every step stands between its two failpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.engine.desk import Desk, Key
from proxy_plugin.engine.reconciler import Engine
from proxy_plugin.engine.steps import STEPS, TABLE, Step
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import failpoints
from proxy_plugin.storage import states

WAITING = {  # states that are no end and have no step: what moves them on
    ("part", "creating"): "its open submission",
    ("submission", "accepted"): "the polls of its part",
    ("clearing", "held"): "the end of its part, or of its batch",
}
AUDITED = ("part", "collected")  # an end, behind which a guess is looked into


@pytest.mark.parametrize("kind", states.TABLES)
def test_every_state_has_its_step_or_says_what_it_waits_for(kind: str) -> None:
    stepping = {(step.kind, step.state) for step in TABLE if step.kind == kind} - {AUDITED}
    waiting = {each for each in WAITING if each[0] == kind}
    assert stepping.isdisjoint(waiting)
    assert stepping | waiting == {(kind, state) for state, after in states.TABLES[kind].items() if after}


def test_a_name_and_a_state_have_one_step() -> None:
    assert len(STEPS) == len(TABLE) == len({(step.kind, step.state) for step in TABLE})


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    gateway = SimpleNamespace(data_dir=tmp_path, registry=SimpleNamespace(full=False), clock=clock)
    return Engine(cast("Gateway", gateway))


async def taken(engine: Engine, step: Step, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the failpoints that are passed while the step is taken, and between them the step itself."""
    passed = list[str]()

    async def run(desk: Desk, row: Any) -> None:
        passed.append("run")

    monkeypatch.setattr(failpoints, "passing", passed.append)
    engine._state.slots.begin("one", Key(step.kind, "id"))
    await engine._take(replace(step, run=run), SimpleNamespace(slug="key"), Key(step.kind, "id"))
    return passed


@pytest.mark.parametrize("step", TABLE, ids=lambda step: step.name)
async def test_every_step_is_between_its_failpoints(
    engine: Engine, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await taken(engine, step, monkeypatch) == [f"{step.name}.before", "run", f"{step.name}.after"]


@pytest.mark.parametrize("step", TABLE, ids=lambda step: step.name)
async def test_heavy_steps_leave_the_last_bytes_of_a_full_disk_to_the_others(
    engine: Engine, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine._gateway.registry.full = True
    assert ("run" in await taken(engine, step, monkeypatch)) is not step.heavy
