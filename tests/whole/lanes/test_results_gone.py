"""Results that expired at the provider before they were collected here: every line says so, and the batch ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from proxy_plugin.ground.clock import SystemClock
from tests.support.waiting import until
from tests.whole.lanes.rig import Stand, chats, check_rows, read_ledger
from tests.whole.lanes.world import World, opened

HOUR = 3600
LINES = chats(20)


def _lose_results(stand: Stand) -> None:
    """Let the job end and its results go, as the provider does it."""
    stand.sandbox.control.advance(2 * HOUR)
    if not stand.stand_in.results.startswith("files."):  # results are no file of their own: archived by age
        return
    until(lambda: stand.jobs()[0]["status"] == "completed", "a job with results")
    stand.ask("DELETE", f"{stand.stand_in.files}/{stand.jobs()[0]['output_file_id']}")


async def _refused_results(world: World, stand: Stand, since: int) -> bool:
    ops = {"batches.results", "files.retrieve", "datasets.retrieve", "datasets.download_link"}
    return any(entry["op"] in ops and entry["status"] == 404 for entry in (await stand.sandbox.requests())[since:])


async def test_results_that_went_while_the_gateway_was_down(stand: Stand, tmp_path: Path) -> None:
    stand.options(run_seconds=HOUR)
    if not stand.stand_in.uploads:
        stand.options(archive_after_seconds=1.5 * HOUR)
    key, clock = stand.key(), SystemClock()
    async with opened(tmp_path / "data", stand.sandbox, key, clock) as world:
        batch = await world.create(LINES)
        await world.until_true(world.running)
    await asyncio.to_thread(_lose_results, stand)
    clock.offset += 2 * HOUR
    seen = len(await stand.sandbox.requests())
    async with opened(tmp_path / "data", stand.sandbox, key, clock) as world:
        await world.until_true(lambda: _refused_results(world, stand, seen))
        assert (await world.client.batches.retrieve(batch.id)).status == "in_progress"  # a 404 may pass
        await world.pass_time(HOUR + 60)
        ended = await world.until(batch.id)
        await _check(world, ended)


async def _check(world: World, ended: Any) -> None:
    error = await world.rows(ended.error_file_id)
    assert (ended.status, ended.output_file_id) == ("completed", None)
    counts = ended.request_counts
    assert (counts.total, counts.completed, counts.failed) == (20, 0, 20)
    assert check_rows(LINES, [], error, read_ledger(world.gateway.data_dir, ended.id)) == {"results_expired": 20}
    assert "no longer has the results" in error[0]["error"]["message"]
    assert len(await world.sandbox.log()) == 1, "a part whose results are gone has run and was paid for"
