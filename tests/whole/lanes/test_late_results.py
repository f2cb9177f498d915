"""Results that come after the word that a job is over, or never: an hour they are waited for, and then it is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from proxy_plugin.storage.tables import parts
from proxy_plugin.storage.tables.parts import results_of
from tests.support.stack import ENDS
from tests.support.waiting import until
from tests.whole.lanes.rig import CANCELLED, EXPIRED, MISSING, Line, Stand, chats, check_rows, read_ledger
from tests.whole.lanes.world import World, opened

HOUR, NEVER = 3600, 10**9
LINES = [*chats(9), *chats(12, "[[sandbox:error=400]]")[9:]]
OPENAI = find("openai")


async def ends(world: World, batch: Any, lines: list[Line]) -> dict[str, int]:
    """Return how the lines of an ended batch came out, after checking files, counts and ledger."""
    output, error = await world.rows(batch.output_file_id), await world.rows(batch.error_file_id)
    found = check_rows(lines, output, error, read_ledger(world.gateway.data_dir, batch.id))
    assert (batch.request_counts.completed, batch.request_counts.failed) == (len(output), len(error))
    return found


def waits(world: World, batch: Any, op: str) -> Callable[[], Awaitable[bool]]:
    """Return a check that the ended job of a batch is looked at, again and again."""

    async def seen() -> bool:
        found = await world.gateway.registry.read(parts.of_batch, batch.id)
        over = any(part.state == "ended" and results_of(part).ended_at is not None for part in found)
        return over and len(await world.calls(op)) >= 6

    return seen


@pytest.fixture
def openai(sandbox: Sandbox) -> Stand:
    """OpenAI's stand-in, which has forgotten everything."""
    sandbox.control.reset()
    return Stand(sandbox, OPENAI)


@pytest.mark.parametrize(("output", "error"), [(0, 0), (4, 4), (4, 0), (0, 4), (2, 5), (5, 2), (7, 1), (1, 7)])
async def test_one_file_may_be_named_before_the_other(openai: Stand, tmp_path: Path, output: int, error: int) -> None:
    openai.options(output_late=output, error_late=error)
    async with opened(tmp_path / "data", openai.sandbox, openai.key()) as world:
        batch = await world.create(LINES)
        ended = await world.until(batch.id)
        assert (ended.status, await ends(world, ended, LINES)) == ("completed", {"ok": 9, "400": 3})
        contents = [call["id"] for call in await world.calls("files.content")]
        assert len(contents) == len(set(contents)) == 2, "each file is read once"


@pytest.mark.parametrize("word", ["expired", "cancelled", "failed"])
async def test_answers_of_a_job_that_did_not_complete_are_waited_for(openai: Stand, tmp_path: Path, word: str) -> None:
    lines = chats(10)
    openai.options(run_seconds=2000, output_late=3, error_late=2, window_seconds=1010 if word == "expired" else 10**6)
    async with opened(tmp_path / "data", openai.sandbox, openai.key()) as world:
        batch = await world.create(lines)
        await world.until_true(world.running)
        if word == "failed":
            await _call_it_failed(world, openai)
            await world.pass_time(2000)
        else:
            await world.pass_time(1015)
        if word == "cancelled":
            await world.client.batches.cancel(batch.id)
        ended = await world.until(batch.id)
        wanted = {"ok": 10} if word == "failed" else {"ok": 5, EXPIRED if word == "expired" else CANCELLED: 5}
        assert await ends(world, ended, lines) == wanted


async def _call_it_failed(world: World, stand: Stand) -> None:
    """Let the next looks at the job find it failed, with all its answers counted and nothing named."""
    (job,) = await asyncio.to_thread(stand.jobs)
    counts = {"total": 10, "completed": 10, "failed": 0}
    told = {"id": job["id"], "status": "failed", "metadata": job["metadata"], "request_counts": counts}
    await world.sandbox.faults(
        [{"kind": "status", "on": "batches.retrieve", "status": 200, "body": json.dumps(told), "times": 2}]
    )


async def test_results_that_never_come_are_waited_for_an_hour_and_announced(stand: Stand, tmp_path: Path) -> None:
    if not stand.stand_in.counted:
        pytest.skip("jobs tell no counts, so no result is announced")
    stand.options(**dict.fromkeys(stand.stand_in.late, NEVER))
    looks = "batches.retrieve" if stand.stand_in.uploads else "batches.results"
    async with opened(tmp_path / "data", stand.sandbox, stand.key()) as world:
        batch = await world.create(LINES)
        await world.until_true(waits(world, batch, looks))
        await world.pass_time(HOUR - 300)
        before = len(await world.calls(looks))
        await world.until_true(lambda: _more(world, looks, before))
        assert (await world.client.batches.retrieve(batch.id)).status not in ENDS
        await world.pass_time(600)
        ended = await world.until(batch.id)
        code = MISSING if stand.stand_in.uploads else "results_expired"
        assert (ended.status, await ends(world, ended, LINES)) == ("completed", {code: 12})
        for row in await world.rows(ended.error_file_id):
            assert "reported an answer for" in row["error"]["message"]
            assert "12" in row["error"]["message"]
        assert len(await world.sandbox.log()) == 1


EMPTY = {"kind": "status", "on": "batches.results", "status": 200, "body": "", "times": None}


@pytest.mark.parametrize(
    ("name", "options", "rules"), [("openai", {"output_late": NEVER}, []), ("anthropic", {}, [EMPTY])]
)
async def test_results_are_waited_for_since_the_job_is_over(
    sandbox: Sandbox, tmp_path: Path, name: str, options: dict[str, Any], rules: list[dict[str, Any]]
) -> None:
    """However often they are looked for meanwhile, and the batch says so all the time but for the looks themselves."""
    sandbox.control.reset()
    stand, since = Stand(sandbox, find(name)), set[int]()
    stand.options(**options)
    stand.faults(*rules)
    async with opened(tmp_path / "data", sandbox, stand.key()) as world:
        batch = await world.create(LINES)
        for _ in range(4):
            since.add((await _late(world, batch.id))["since"])
            await world.pass_time(10)
            await _looked(world)
        assert len(since) == 1


async def _looked(world: World) -> None:
    before = len(await world.calls("batches.retrieve"))
    await world.until_true(lambda: _more(world, "batches.retrieve", before - 1))


async def _late(world: World, batch_id: str) -> dict[str, Any]:
    found = list[dict[str, Any]]()

    async def told() -> bool:
        batch = await world.client.batches.retrieve(batch_id)
        found[:] = [batch.to_dict().get("x_status") or {}]  # type: ignore[list-item]
        return found[0].get("waiting_for") == "results_late"

    await world.until_true(told)
    return found[0]


async def _more(world: World, op: str, than: int) -> bool:
    return len(await world.calls(op)) > than + 1


async def test_a_restart_does_not_begin_the_hour_anew(openai: Stand, tmp_path: Path) -> None:
    openai.options(output_late=NEVER)
    key, clock, data = openai.key(), SystemClock(), tmp_path / "data"
    async with opened(data, openai.sandbox, key, clock) as world:
        batch = await world.create(LINES)
        await world.until_true(waits(world, batch, "batches.retrieve"))
        await world.pass_time(HOUR - 300)
    async with opened(data, openai.sandbox, key, clock) as world:
        before = len(await world.calls("batches.retrieve"))
        await world.until_true(lambda: _more(world, "batches.retrieve", before))
        assert (await world.client.batches.retrieve(batch.id)).status not in ENDS
        await world.pass_time(301)
        ended = await world.until(batch.id)
        assert await ends(world, ended, LINES) == {MISSING: 9, "400": 3}
        assert len(await world.calls("files.content")) == 1, "what was stored before the restart is not read again"


async def test_a_gateway_that_was_down_asks_once_more_however_late(openai: Stand, tmp_path: Path) -> None:
    """And a provider that cannot be reached then is asked until it answers."""
    openai.options(output_late=40)
    key, clock, data = openai.key(), SystemClock(), tmp_path / "data"
    async with opened(data, openai.sandbox, key, clock) as world:
        batch = await world.create(LINES)
        await world.until_true(waits(world, batch, "batches.retrieve"))
    clock.offset += 5 * HOUR
    await asyncio.to_thread(_until_named, openai)
    openai.faults({"kind": "status", "on": "batches.retrieve", "status": 503, "times": 3})
    async with opened(data, openai.sandbox, key, clock) as world:
        ended = await world.until(batch.id)
        assert await ends(world, ended, LINES) == {"ok": 9, "400": 3}


def _until_named(stand: Stand) -> None:
    (job,) = stand.jobs()
    until(lambda: stand.ask("GET", f"batches/{job['id']}")["output_file_id"], "the name")


async def test_what_is_stored_is_kept_when_the_rest_is_gone(openai: Stand, tmp_path: Path) -> None:
    """The error file is deleted there before it was read: the answers beside it are paid for, and stay."""
    openai.options(error_late=3)
    async with opened(tmp_path / "data", openai.sandbox, openai.key()) as world:
        gone = {"kind": "status", "on": "files.retrieve", "status": 404, "skip": 1, "times": None}
        await world.sandbox.faults([gone])
        batch = await world.create(LINES)
        await world.until_true(lambda: _refused(world))
        await world.pass_time(HOUR + 60)
        ended = await world.until(batch.id)
        assert await ends(world, ended, LINES) == {"ok": 9, "results_expired": 3}


async def _refused(world: World) -> bool:
    return any(call["status"] == 404 for call in await world.calls("files.retrieve"))


async def test_a_late_reading_that_is_cut_is_not_the_last(stand: Stand, tmp_path: Path) -> None:
    """The gateway was down for hours behind the end of the job: it reads the results a few times all the same."""
    stand.options(**dict.fromkeys(stand.stand_in.late, 1))
    key, clock, data = stand.key(), SystemClock(), tmp_path / "data"
    gone = {"kind": "status", "on": stand.stand_in.results, "status": 503, "times": None}
    stand.faults(gone)
    async with opened(data, stand.sandbox, key, clock) as world:
        batch = await world.create(LINES)
        await world.until_true(lambda: world.calls(stand.stand_in.results))
    clock.offset += 5 * HOUR
    stand.faults({"kind": "truncate_chunked", "on": stand.stand_in.results, "bytes": 0, "times": 2})
    async with opened(data, stand.sandbox, key, clock) as world:
        ended = await world.until(batch.id)
        assert await ends(world, ended, LINES) == {"ok": 9, "400": 3}
