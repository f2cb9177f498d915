"""The completion window, expiry of files, and deletes: hours pass in a moment through the injected clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from proxy_plugin.engine import housekeeping
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import code_of
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, lane
from tests.whole.lanes.world import DAY, World, opened

LINES = chat_lines(20)


pytestmark = pytest.mark.sandbox(options={"openai": {"run_seconds": 10 * DAY, "window_seconds": 30 * DAY}})


@pytest.fixture
async def world(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[World]:
    key = lane(sandbox, max_lines_per_job=10, max_jobs_in_flight=1)
    async with opened(tmp_path / "data", sandbox, key) as made:
        yield made


async def codes_of(world: World, file_id: str | None) -> list[str]:
    return [code_of(row) for row in await world.rows(file_id)]


async def test_at_the_end_of_the_window_unsent_parts_expire_and_running_jobs_are_cancelled_once(world: World) -> None:
    batch = await world.create(LINES)
    await world.until_true(world.running)
    await world.pass_time(DAY + 5)
    ended = await world.until(batch.id, ENDS)
    assert ended.status == "expired"
    assert ended.expired_at is not None
    codes = await codes_of(world, ended.output_file_id) + await codes_of(world, ended.error_file_id)
    assert len(codes) == len(LINES)
    assert set(codes) <= {"200", "batch_expired"}
    assert codes.count("batch_expired") >= 10  # max_jobs_in_flight is 1: the second part was never sent
    assert len(await world.sandbox.log()) == 1
    cancels = [entry for entry in await world.sandbox.requests() if entry["op"] == "batches.cancel"]
    assert len(cancels) == 1


async def test_rows_done_before_the_window_ended_are_kept(world: World) -> None:
    await world.sandbox.options("openai", run_seconds=2 * DAY)
    batch = await world.create(LINES)
    await world.until_true(world.running)
    await world.pass_time(DAY + 60)
    ended = await world.until(batch.id, ENDS)
    assert ended.status == "expired"
    codes = await codes_of(world, ended.output_file_id)
    assert codes
    assert set(codes) == {"200"}


async def test_a_file_deleted_right_after_the_create_serves_its_batch_to_the_end(world: World) -> None:
    await world.sandbox.options("openai", run_seconds=0.1)
    batch = await world.create(LINES)
    assert (await world.client.files.delete(batch.input_file_id)).deleted
    for call in (world.client.files.retrieve, world.client.files.content, world.client.files.delete):
        with pytest.raises(openai.NotFoundError):
            await call(batch.input_file_id)
    with pytest.raises(openai.NotFoundError, match="No file of purpose 'batch' found"):
        await world.client.batches.create(
            input_file_id=batch.input_file_id, endpoint=batch.endpoint, completion_window="24h", metadata={"a": "new"}
        )
    assert world.gateway.blobs.path(batch.input_file_id).exists()
    ended = await world.until(batch.id, ENDS)
    assert (ended.status, ended.input_file_id) == ("completed", batch.input_file_id)
    assert len(await codes_of(world, ended.output_file_id)) == len(LINES)
    await housekeeping.remove_unneeded(world.gateway)
    assert not world.gateway.blobs.path(batch.input_file_id).exists()


async def test_deleted_result_files_are_gone_at_once_and_the_batch_is_as_it_was(world: World) -> None:
    await world.sandbox.options("openai", run_seconds=0.1)
    batch = await world.create(LINES)
    ended = await world.until(batch.id, ENDS)
    assert (await world.client.files.delete(ended.output_file_id)).deleted
    with pytest.raises(openai.NotFoundError):
        await world.client.files.content(ended.output_file_id)
    assert await world.client.batches.retrieve(batch.id) == ended
    assert ended.output_file_id not in [file.id async for file in world.client.files.list()]


async def test_an_expired_file_hides_its_name_while_a_running_batch_still_reads_it(world: World) -> None:
    file = await world.client.files.create(
        file=("a.jsonl", jsonl(LINES)), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    batch = await world.client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    await world.until_true(world.running)
    await world.pass_time(3700)
    with pytest.raises(openai.NotFoundError):
        await world.client.files.retrieve(file.id)
    assert world.gateway.blobs.path(file.id).exists()
    await world.client.batches.cancel(batch.id)
    ended = await world.until(batch.id, ENDS)
    assert ended.request_counts.completed + ended.request_counts.failed == len(LINES)


async def test_output_files_expire_when_asked_to(world: World) -> None:
    await world.sandbox.options("openai", run_seconds=0.1)
    file = await world.client.files.create(file=("a.jsonl", jsonl(LINES)), purpose="batch")
    batch = await world.client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    ended = await world.until(batch.id, ENDS)
    assert ended.status == "completed"
    await world.client.files.retrieve(ended.output_file_id)
    await world.pass_time(3601)
    with pytest.raises(openai.NotFoundError):
        await world.client.files.content(ended.output_file_id)


async def test_a_lost_create_is_still_looked_for_after_days_in_which_nobody_could_look(world: World) -> None:
    await world.sandbox.options("openai", run_seconds=0.1)
    down = {"on": "batches.list", "kind": "status", "status": 503, "times": None, "skip": 1}
    await world.sandbox.faults([{"on": "batches.create", "kind": "drop_after", "times": 1}, down])
    batch = await world.create(LINES)
    await world.until_true(lambda: accepted(world))
    await world.pass_time(3 * DAY)
    await world.sandbox.faults([])
    ended = await world.until(batch.id, ENDS)
    codes = await codes_of(world, ended.output_file_id) + await codes_of(world, ended.error_file_id)
    assert codes.count("200") == 10
    assert codes.count("batch_expired") == 10  # the second part was never sent: the window was over


async def accepted(world: World) -> bool:
    return bool(await world.sandbox.log())
