"""A database that is slow to answer: others have their turn around every read, and nothing is sent or counted twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.storage.sqlite import SqliteRegistry
from tests.support.accounting import code_of
from tests.support.lines import chat_lines
from tests.support.stack import ENDS, lane
from tests.whole.lanes.world import World, opened

BATCHES, PARTS = 4, 3
LINES = chat_lines(10 * PARTS)
SLOWEST = 0.02  # seconds before a read, and again behind it


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    quick, dice = SqliteRegistry.read, random.Random(7)

    async def slow(self: SqliteRegistry, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(dice.random() * SLOWEST)
        found = await quick(self, work, *args, **kwargs)
        await asyncio.sleep(dice.random() * SLOWEST)
        return found

    monkeypatch.setattr(SqliteRegistry, "read", slow)
    async with (
        Sandbox(options={"openai": {"run_seconds": 0.3}}) as sandbox,
        opened(tmp_path / "data", sandbox, lane(sandbox, max_lines_per_job=10, max_jobs_in_flight=5)) as made,
    ):
        yield made


async def codes_of(world: World, batch: Any) -> Counter[str]:
    rows = await world.rows(batch.output_file_id) + await world.rows(batch.error_file_id)
    assert len({row["custom_id"] for row in rows}) == len(rows) == len(LINES)
    return Counter(map(code_of, rows))


async def test_every_part_is_sent_once_although_replies_are_lost(world: World) -> None:
    await world.sandbox.faults([{"on": "batches.create", "kind": "drop_after", "times": BATCHES}])
    batches = await asyncio.gather(*(world.create(LINES) for _ in range(BATCHES)))
    for batch in await asyncio.gather(*(world.until(batch.id, ENDS) for batch in batches)):
        assert batch.status == "completed"
        assert await codes_of(world, batch) == {"200": len(LINES)}
    assert len(await world.sandbox.log()) == BATCHES * PARTS


async def test_cancels_that_come_at_any_moment_are_told_once_to_every_job(world: World) -> None:
    await world.sandbox.options("openai", run_seconds=60)
    batches = [await world.create(LINES) for _ in range(BATCHES)]
    await world.until_true(world.running)
    for number, batch in enumerate(batches):
        await asyncio.sleep(0.1 * number)
        await world.client.batches.cancel(batch.id)
    for batch in await asyncio.gather(*(world.until(batch.id, ENDS) for batch in batches)):
        assert batch.status == "cancelled"
        assert sum((await codes_of(world, batch)).values()) == len(LINES)
    cancelled = Counter(entry["id"] for entry in await world.calls("batches.cancel"))
    assert set(cancelled.values()) == {1}
    assert len(cancelled) == len(await world.sandbox.log())
