"""A claim that is lost at any place of a step: nothing is committed or sent behind it, and all ends well."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.engine.steps import TABLE
from proxy_plugin.ground import failpoints
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.lines import chat_lines
from tests.whole.claims.world import Theft, ask, opened
from tests.whole.direct.witness import CHAT
from tests.whole.lanes.rig import MODEL, Stand
from tests.whole.lanes.world import World

ORDINARY = (
    *("scan", "validate", "split", "admit", "stage", "intend"),
    *("send", "poll", "fetch", "collect", "follow", "merge"),
)
INSIDE = (
    *("scan.acted", "split.acted", "stage.noted", "stage.acted", "send.fenced", "send.sent", "send.acted"),
    *("fetch.acted", "collect.acted", "merge.acted", "merge.published"),
)
IN_DOUBT = ("doubt.before", "doubt.after", "look_up.before", "look_up.acted", "look_up.after")
STOPPED = ("cancel_job.before", "cancel_job.acted")
AROUND = [f"{name}.{side}" for side in ("before", "after") for name in ORDINARY]
POINTS = [*AROUND, *INSIDE, *IN_DOUBT, *STOPPED]
TOLD = {  # what a sender alone knows of its create is a fact of the submission, whoever has the row
    "send.sent": ("staged", "refused"),  # provably unsent
    "send.acted": ("running", "accepted"),
}
SIDES = ("before", "acted", "after")
IN_ORDER = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "lane"}, {"virtual_key": "second"}]}
NEVER = {"on": "batches.create", "provider": "anthropic", "kind": "drop", "times": 1}


@dataclass(frozen=True)
class Scene:
    """What makes a step happen that an ordinary batch has no need of, and what comes of the batch."""

    headers: Mapping[str, str] = field(default_factory=dict)  # of its create
    window: str = "24h"
    faults: tuple[Mapping[str, Any], ...] = ()
    marker: Mapping[int, str] = field(default_factory=dict)  # of the sandbox, by line
    completed: int = 3  # of three lines
    ran: int = 3  # lines in jobs
    then: str = "SELECT 1"  # a query about the batch which in the end returns something true


SCENES = {
    "answer": Scene(window="immediate", ran=0),
    "cut": Scene(marker={1: "[[sandbox:poison]]"}, completed=2, ran=2),
    "rescue": Scene(
        headers={"x-portkey-virtual-key": "", "x-portkey-config": json.dumps(IN_ORDER)},
        marker={1: "[[sandbox:error=400]]"},
        completed=2,
        ran=4,
    ),
    "audit": Scene(
        headers={"x-portkey-virtual-key": "guessing"},
        faults=(NEVER,),
        then="SELECT 1 FROM parts WHERE batch_id = ? AND tries > 1",  # looked twice
    ),
    "clear": Scene(
        headers={"x-portkey-virtual-key": "leaving"},
        then="SELECT NOT EXISTS (SELECT 1 FROM clearings WHERE batch_id = ?)",
    ),
}
OVER = {"cut.after", "rescue.after"}  # others have its lines by then, and they go on
SEEN = {side: [point for name in SCENES if (point := f"{name}.{side}") not in OVER] for side in SIDES}


def test_every_step_is_tried() -> None:
    tried = {point.partition(".")[0] for point in (*POINTS, *SEEN["acted"])}
    assert {step.name for step in TABLE} == tried - {"cancel_job"}


async def _lost_at(world: World, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sandbox.control.reset()
    if point in STOPPED:
        world.sandbox.control.options("openai", run_seconds=1000.0)
    thefts = [Theft(world, point, monkeypatch)]
    if point in IN_DOUBT:
        thefts.insert(0, Theft(world, "send.acted", monkeypatch, sender="gone"))
    monkeypatch.setattr(failpoints, "passing", thefts[0].passing)
    batch = await world.create(chat_lines(3))
    if point in STOPPED:
        await world.until_true(world.running)
        await world.client.batches.cancel(batch.id)
    for theft in thefts:
        await theft.over(TOLD.get(point) if len(thefts) == 1 else None)
        monkeypatch.setattr(failpoints, "passing", thefts[-1].passing)
        theft.undo()
    ended = await world.until(batch.id)
    if point in STOPPED:
        assert ended.status == "cancelled", point
        return
    assert (ended.status, ended.request_counts.completed) == ("completed", 3), point
    assert len({row["custom_id"] for row in await world.rows(ended.output_file_id)}) == 3, point
    jobs = [job for job in await world.sandbox.jobs() if not job["stranger"]]
    assert len(jobs) == 1, f"{point}: {len(jobs)} jobs"


async def test_a_claim_that_is_lost(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path, sandbox, "openai", monkeypatch) as world:
        for point in POINTS:
            await _lost_at(world, point, monkeypatch)


async def _lost_in(scene: Scene, world: World, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sandbox.control.reset()
    world.sandbox.control.faults(scene.faults)
    theft = Theft(world, point, monkeypatch)
    monkeypatch.setattr(failpoints, "passing", theft.passing)
    lines = chat_lines(3, marker=scene.marker, model=MODEL)
    batch = await world.create(lines, window=scene.window, headers=scene.headers)
    await theft.over()
    theft.undo()
    ended = await world.until(batch.id)
    counts = ended.request_counts
    assert (ended.status, counts.completed, counts.failed) == ("completed", scene.completed, 3 - scene.completed), point
    jobs = [job for job in await world.sandbox.jobs() if not job["stranger"]]
    assert sum(job["lines_run"] for job in jobs) == scene.ran, f"{point}: {jobs}"
    assert len(await world.calls(CHAT)) == (0 if scene.ran else 3), point

    async def is_over() -> bool:
        (found,) = ask(world.gateway.data_dir, scene.then, *[batch.id] * scene.then.count("?")) or [(0,)]
        return bool(found[0])

    await world.until_true(is_over)


@pytest.mark.parametrize("sides", [SIDES[:2], pytest.param(SIDES[2:], marks=pytest.mark.slow)], ids="-".join)
async def test_a_claim_that_is_lost_in_a_step_of_few(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, sides: Sequence[str]
) -> None:
    second, guessing, leaving = (Stand(sandbox, find(name)) for name in ("openai", "anthropic", "vertex-ai"))
    others = {"second": second.key(), "guessing": guessing.key(on_unknown="resend"), "leaving": leaving.key()}
    async with opened(tmp_path, sandbox, "openai", monkeypatch, others=others) as world:
        for point in (point for side in sides for point in SEEN[side]):
            await _lost_in(SCENES[point.partition(".")[0]], world, point, monkeypatch)
