"""The completion window on both lanes: at its end nothing more is sent, what runs is cancelled once and collected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.storage.connection import Connection
from tests.whole.lanes.rig import CANCELLED, EXPIRED, MISSING, Stand, chats, check_rows, read_ledger
from tests.whole.lanes.world import DAY, World, opened

LINES = chats(20)
LOST = chats(20, "[[sandbox:missing]]")  # what of these has run is in no results


@pytest.fixture
async def world(stand: Stand, tmp_path: Path) -> AsyncIterator[World]:
    """A gateway whose parts hold ten lines and go one by one; the provider's own window is far longer."""
    stand.options(window_seconds=30 * DAY)
    key = stand.key(max_lines_per_job=10, max_jobs_in_flight=1)
    async with opened(tmp_path / "data", stand.sandbox, key) as made:
        yield made


async def ends(world: World, batch: Any, lines: list[dict[str, Any]]) -> dict[str, int]:
    """Return how the lines of an ended batch came out, after checking files, counts and ledger."""
    output, error = await world.rows(batch.output_file_id), await world.rows(batch.error_file_id)
    found = check_rows(lines, output, error, read_ledger(world.gateway.data_dir, batch.id))
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (len(lines), len(output), len(error))
    return found


def _rests_have_rows(stand: Stand) -> None:
    if not stand.stand_in.rests:
        pytest.skip("lines that did not run have no rows, so nobody knows which of the others ran")


async def test_unsent_parts_expire_and_the_running_job_is_cancelled_once(stand: Stand, world: World) -> None:
    stand.options(run_seconds=10 * DAY)
    batch = await world.create(LINES)
    await world.until_true(world.running)
    await world.pass_time(2 * DAY + 60)
    ended = await world.until(batch.id)
    assert (ended.status, await ends(world, ended, LINES)) == ("expired", stand.kept(2, 18, EXPIRED))
    assert ended.expired_at >= ended.expires_at
    assert ended.cancelling_at is None
    (job,) = await world.sandbox.jobs()
    assert [entry["id"] for entry in await world.calls("batches.cancel")] == [job["id"]]


async def test_a_job_that_outruns_its_cancel_completes_the_batch(stand: Stand, world: World) -> None:
    stand.options(run_seconds=2 * DAY)
    lines = LINES[:10]
    batch = await world.create(lines)
    await world.until_true(world.running)
    await world.sandbox.faults([{"kind": "status", "on": "batches.cancel", "status": 503, "times": None}])
    await world.pass_time(DAY + 60)
    await world.until_true(lambda: world.calls("batches.cancel"))
    await world.pass_time(DAY)
    ended = await world.until(batch.id)
    assert (ended.status, await ends(world, ended, lines)) == ("completed", {"ok": 10})


async def test_on_deadline_wait_lets_everything_finish(stand: Stand, world: World) -> None:
    stand.options(run_seconds=3 * DAY)
    batch = await world.create(LINES)
    await world.until_true(world.running)
    await world.gateway.registry.write(lambda conn: _wait(conn, batch.id))
    await world.pass_time(DAY + 60)
    await world.until_true(lambda: _rests_beyond(world, batch))
    assert (await world.client.batches.retrieve(batch.id)).status == "in_progress"
    await world.pass_time(3 * DAY)
    await world.until_true(lambda: _second_runs(world))
    await world.pass_time(3 * DAY)
    ended = await world.until(batch.id)
    assert (ended.status, await ends(world, ended, LINES)) == ("completed", {"ok": 20})
    assert await world.calls("batches.cancel") == []


def _wait(conn: Connection, batch_id: str) -> None:
    (route,) = conn.execute("SELECT route FROM batches WHERE id = ?", (batch_id,)).fetchone()
    changed = json.dumps(json.loads(route) | {"on_deadline": "wait"})
    conn.execute("UPDATE batches SET route = ?, due_at = 0 WHERE id = ?", (changed, batch_id))


async def _rests_beyond(world: World, batch: Any) -> bool:
    """Tell whether the engine has seen that the window is over: it looks again only after that."""
    query = "SELECT due_at FROM batches WHERE id = ?"
    (due_at,) = await world.gateway.registry.read(lambda conn: conn.execute(query, (batch.id,)).fetchone())
    return bool(due_at > world.clock.now() > batch.expires_at)


async def _second_runs(world: World) -> bool:
    return len(await world.sandbox.log()) == 2 and await world.running()


async def test_answers_that_a_cancelled_job_counts_and_leaves_out_are_missing(stand: Stand, world: World) -> None:
    _rests_have_rows(stand)
    stand.options(run_seconds=1000)
    batch = await world.create(LOST)
    await world.until_true(world.running)
    await world.pass_time(510)
    await world.client.batches.cancel(batch.id)
    ended = await world.until(batch.id)
    assert (ended.status, await ends(world, ended, LOST)) == ("cancelled", {CANCELLED: 15, MISSING: 5})
    await _check_words(world, ended, 5)


async def _check_words(world: World, ended: Any, count: int) -> None:
    """So many of the rows say that the provider reported an answer; of the others it is known that they did not run."""
    told = [row["error"]["message"] for row in await world.rows(ended.error_file_id)]
    assert sum("reported an answer for this line" in text for text in told) == count
    assert sum("was not executed" in text or "could not be executed" in text for text in told) == len(told) - count


async def test_answers_that_a_job_counts_and_leaves_out_at_the_deadline_are_missing(stand: Stand, world: World) -> None:
    _rests_have_rows(stand)
    stand.options(run_seconds=2 * DAY)
    batch = await world.create(LOST)
    await world.until_true(world.running)
    await world.pass_time(DAY + 900)
    ended = await world.until(batch.id)
    assert (ended.status, await ends(world, ended, LOST)) == ("expired", {EXPIRED: 15, MISSING: 5})
    await _check_words(world, ended, 5)


async def test_answers_that_an_expired_job_counts_and_leaves_out_are_missing(stand: Stand, world: World) -> None:
    """The provider's own window is over before ours."""
    if stand.stand_in.expires_empty:
        pytest.skip("an expired job counts nothing and gives nothing")
    _rests_have_rows(stand)
    stand.options(run_seconds=2000, window_seconds=1010)
    lines = LOST[:10]
    batch = await world.create(lines)
    await world.until_true(world.running)
    await world.pass_time(1020)
    ended = await world.until(batch.id)
    assert (ended.status, await ends(world, ended, lines)) == ("expired", {EXPIRED: 5, MISSING: 5})
    await _check_words(world, ended, 5)
    assert await world.calls("batches.cancel") == []


async def test_what_a_job_that_somebody_else_cancelled_leaves_out_is_missing(stand: Stand, world: World) -> None:
    """Another client of the account cancelled it: what the lane says of a line is handed on, and nothing is guessed."""
    _rests_have_rows(stand)
    stand.options(run_seconds=1000)
    lines = LOST[:10]
    batch = await world.create(lines)
    await world.until_true(world.running)
    await world.pass_time(510)
    await asyncio.to_thread(stand.cancel_there)
    ended = await world.until(batch.id)
    assert (ended.status, await ends(world, ended, lines)) == ("completed", {CANCELLED: 5, MISSING: 5})


async def test_what_a_job_that_nobody_stopped_leaves_out_is_missing(stand: Stand, world: World) -> None:
    lines = [*LINES[:9], LOST[9]]
    batch = await world.create(lines)
    ended = await world.until(batch.id)
    assert (ended.status, await ends(world, ended, lines)) == ("completed", {"ok": 9, MISSING: 1})
