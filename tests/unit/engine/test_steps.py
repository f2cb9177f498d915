"""The table of steps: no state is forgotten, and every step stands between its two failpoints."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy_plugin.engine import reconciler
from proxy_plugin.engine.desk import Desk, Key
from proxy_plugin.engine.reconciler import ELSEWHERE, Engine, _After
from proxy_plugin.engine.replicas.claims import ClaimLost, Elsewhere
from proxy_plugin.engine.steps import STEPS, TABLE, Step
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import failpoints
from proxy_plugin.ground.observing.timings import Timings
from proxy_plugin.storage import states
from proxy_plugin.storage.batch_folders import BatchFolders

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
    registry = SimpleNamespace(full=False)
    gateway = SimpleNamespace(
        data_dir=tmp_path, registry=registry, clock=clock, hooks=asyncio.Event(), timings=Timings()
    )
    gateway.folders, gateway.blobs = BatchFolders(tmp_path), SimpleNamespace(held=nullcontext)
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


@pytest.mark.parametrize(
    ("after", "left", "looks"),
    [
        (_After(goes_on=False, until=60.0), False, False),  # a poll that found nothing new, and is due behind the look
        (_After(goes_on=False, until=40.0), False, True),
        (_After(goes_on=False, until=60.0), True, True),  # another row waits for the place
        (_After(goes_on=False), False, True),  # other rows may have been changed
        (_After(goes_on=True), False, True),
    ],
)
def test_a_poll_that_found_nothing_new_costs_no_look(engine: Engine, after: _After, left: bool, looks: bool) -> None:
    engine._state.looks_at, engine._state.left = 50.0, left
    engine._look_if_needed(after)
    assert engine._state.wake.is_set() is looks


async def test_only_the_time_of_the_next_look_lets_a_row_rest(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def rests(_desk: Desk, _row: Any) -> float:
        return 60.0

    async def moves(_desk: Desk, _row: Any) -> None:
        return None

    monkeypatch.setattr(failpoints, "passing", lambda _name: None)
    row, key = SimpleNamespace(slug="key"), Key("part", "id")
    assert await engine._take(replace(STEPS["poll"], run=rests), row, key) == _After(goes_on=False, until=60.0)
    assert await engine._take(replace(STEPS["poll"], run=moves), row, key) == _After(goes_on=True)


async def test_a_row_that_another_replica_is_to_work_on_rests_here_and_nothing_is_said_of_a_defect(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def elsewhere(_desk: Desk, _row: Any) -> None:
        raise Elsewhere

    monkeypatch.setattr(failpoints, "passing", lambda _name: None)
    key = Key("part", "id")
    after = await engine._take(replace(STEPS["answer"], run=elsewhere), SimpleNamespace(slug="key"), key)
    assert after == _After(goes_on=False)
    assert engine._state.held == {key: ELSEWHERE}
    assert caplog.messages == []


async def test_a_claim_that_is_lost_ends_the_drive_and_no_row_is_touched_for_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def lost(_desk: Desk, _row: Any) -> None:
        raise ClaimLost

    async def found(_desk: Desk, _key: Key) -> tuple[Step, Any]:
        return replace(STEPS["poll"], run=lost), SimpleNamespace(slug="key", state="running")

    monkeypatch.setattr(failpoints, "passing", lambda _name: None)
    monkeypatch.setattr(reconciler, "next_step", found)
    key = Key("file", "id")  # one without a trace id to be read
    engine._state.slots.begin("one", key)
    await engine._drive(key)
    assert caplog.messages == ["claim_lost"]
    assert key not in engine._state.slots
    assert engine._state.held == {}, "whoever has it now says when it is looked at"
