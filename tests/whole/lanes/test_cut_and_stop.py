"""A batch that stops while one of its refused jobs is taken apart: every line is told why, and nothing is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.ground.workers import WorkerDied, Workers
from proxy_plugin.lines.cut import cut_document
from proxy_plugin.storage.tables import batches, parts
from tests.whole.lanes.rig import CANCELLED, EXPIRED, Line, Stand, chat, check_rows, read_ledger
from tests.whole.lanes.world import DAY, World, opened

NAMED, SILENT = "[[sandbox:poison]]", "[[sandbox:poison=silent]]"
COUNT = 8
STOPS = {"cancel": ("cancelled", CANCELLED), "deadline": ("expired", EXPIRED)}


class Holding:
    """Holds the worker that cuts: on its way in, or with its documents written and nothing committed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, behind: bool) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        run = Workers.run

        async def held(workers: Workers, *args: Any) -> Any:
            if cut_document not in args:
                return await run(workers, *args)
            found = await run(workers, *args) if behind else None
            self.reached.set()
            await self.go.wait()
            return found if behind else await run(workers, *args)

        monkeypatch.setattr(Workers, "run", held)


def poisoned(marker: str, bad: int) -> list[Line]:
    return [chat(f"line {n}", f"Say {n} {marker if n == bad else ''}".strip()) for n in range(COUNT)]


async def stop(world: World, how: str, batch_id: str) -> None:
    if how == "cancel":
        await world.client.batches.cancel(batch_id)
    else:
        await world.pass_time(DAY + 60)
        await world.until(batch_id, ("expired", "finalizing", "in_progress"))


async def outcome(world: World, ended: Any, lines: list[Line]) -> dict[str, int]:
    output, error = await world.rows(ended.output_file_id), await world.rows(ended.error_file_id)
    assert (ended.request_counts.completed, ended.request_counts.failed) == (len(output), len(error))
    return check_rows(lines, output, error, read_ledger(world.gateway.data_dir, ended.id))


@pytest.mark.parametrize("how", STOPS)
@pytest.mark.parametrize("behind", [False, True], ids=["before the cut", "behind the cut"])
@pytest.mark.parametrize(("marker", "bad"), [(NAMED, 0), (NAMED, 5), (SILENT, 7)])
async def test_a_stop_while_a_refused_job_is_cut(
    how: str, behind: bool, marker: str, bad: int, stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, (status, code) = poisoned(marker, bad), STOPS[how]
    holding = Holding(monkeypatch, behind=behind)
    async with opened(tmp_path / "data", stand.sandbox, stand.key()) as world:
        batch = await world.create(lines)
        await asyncio.wait_for(holding.reached.wait(), 30)
        await stop(world, how, batch.id)
        await world.until_true(lambda: _stopping(world, batch.id))
        holding.go.set()
        ended = await world.until(batch.id)
        assert (ended.status, await outcome(world, ended, lines)) == (status, {code: COUNT})
        assert len(await world.calls(stand.stand_in.judges)) == 1
        assert not await world.running()


async def _stopping(world: World, batch_id: str) -> bool:
    found = await world.gateway.registry.read(batches.get, batch_id)
    return found is not None and found.stopping is not None


async def test_a_gateway_that_comes_back_behind_the_window_ends_what_was_being_cut(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, clock, data = poisoned(NAMED, 3), SystemClock(), tmp_path / "data"
    run, died = Workers.run, asyncio.Event()

    async def dying(workers: Workers, *args: Any) -> Any:
        if cut_document not in args:
            return await run(workers, *args)
        died.set()
        raise WorkerDied("cut")

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "run", dying)
        async with opened(data, stand.sandbox, stand.key(), clock) as world:
            batch = await world.create(lines)
            await asyncio.wait_for(died.wait(), 30)
    clock.offset += DAY + 60
    async with opened(data, stand.sandbox, stand.key(), clock) as world:
        ended = await world.until(batch.id)
        assert (ended.status, await outcome(world, ended, lines)) == ("expired", {EXPIRED: COUNT})


async def test_a_retry_of_what_was_stopped_remembers_what_was_refused_together(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = poisoned(SILENT, 2)
    with monkeypatch.context() as patch:
        holding = Holding(patch, behind=True)
        async with opened(tmp_path / "data", stand.sandbox, stand.key()) as world:
            batch = await world.create(lines)
            await asyncio.wait_for(holding.reached.wait(), 30)
            await stop(world, "cancel", batch.id)
            holding.go.set()
            await world.until(batch.id)
    async with opened(tmp_path / "data", stand.sandbox, stand.key()) as world:
        made = await world.client.post(f"/batches/{batch.id}/retry", cast_to=object, body={})
        assert isinstance(made, dict)
        ended = await world.until(made["id"])
        assert (ended.request_counts.completed, ended.request_counts.failed) == (COUNT - 1, 1)
        first = (await world.gateway.registry.read(parts.of_batch, ended.id))[0]
        assert (first.state, first.job) == ("replaced", None)
