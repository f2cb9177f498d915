"""Batches that are answered by ordinary calls: windows, limits, refusals, stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import code_of
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, lane
from tests.support.waiting import answered
from tests.whole.direct.witness import CHAT, calls_in, too_early
from tests.whole.lanes.world import World, opened

LINES = chat_lines(60)
CONCURRENCY = 8
TOO_MANY = {"kind": "status", "on": CHAT, "status": 429}


@pytest.fixture
async def world(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[World]:
    key = lane(sandbox, direct_limits={"concurrency": CONCURRENCY, "retries": 2, "timeout_seconds": 20})
    async with opened(tmp_path / "data", sandbox, key) as made:
        yield made


async def create(world: World, lines: list[dict[str, Any]], window: str = "immediate", endpoint: str = "auto") -> Any:
    file = await world.client.files.create(file=("a.jsonl", jsonl(lines)), purpose="batch")
    body: dict[str, Any] = {"input_file_id": file.id, "endpoint": endpoint, "completion_window": window}
    return await world.client.batches.create(**body)


async def codes(world: World, batch: Any) -> Counter[str]:
    rows = await world.rows(batch.output_file_id) + await world.rows(batch.error_file_id)
    assert len({row["custom_id"] for row in rows}) == len(rows)
    return Counter(map(code_of, rows))


async def test_an_hour_and_no_job(world: World) -> None:
    batch = await create(world, LINES, "1h")
    assert (batch.completion_window, batch.expires_at - batch.created_at) == ("1h", 3600)
    ended = await world.until(batch.id, ENDS)
    assert (ended.status, ended.request_counts.completed) == ("completed", len(LINES))
    assert await world.sandbox.log() == []
    assert Counter(each["id"].strip() for each in await world.calls(CHAT)) == Counter(f"Say {n}" for n in range(60))


async def test_a_key_is_on_no_disk(world: World, tmp_path: Path) -> None:
    await world.sandbox.options("openai", delay_seconds=0.3)
    await create(world, LINES)
    await answered(lambda: _some(world, CONCURRENCY + 1))
    found = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and b"sk-sandbox" in path.read_bytes()]
    assert found == []
    assert list((tmp_path / "data" / "batches").rglob("answers.jsonl"))


async def test_endpoints_have_their_own_calls(world: World) -> None:
    bodies = {
        "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        "/v1/responses": {"model": "m", "input": "hi"},
        "/v1/completions": {"model": "m", "prompt": "hi"},
        "/v1/embeddings": {"model": "m", "input": "hi"},
        "/v1/moderations": {"input": "hi", "model": "m"},
    }
    lines = [{"custom_id": url, "method": "POST", "url": url, "body": body} for url, body in bodies.items()]
    ended = await world.until((await create(world, lines)).id, ENDS)
    assert (ended.status, await codes(world, ended)) == ("completed", {"200": 5})
    rows = {row["custom_id"]: row["response"]["body"] for row in await world.rows(ended.output_file_id)}
    assert rows["/v1/embeddings"]["object"] == "list"
    assert rows["/v1/responses"]["object"] == "response"


async def test_what_a_provider_says_of_a_line_is_its_row(world: World) -> None:
    lines = chat_lines(4, marker={1: "[[sandbox:error=400]]", 2: "[[sandbox:error=500]]"})
    ended = await world.until((await create(world, lines)).id, ENDS)
    assert await codes(world, ended) == {"200": 2, "400": 1, "500": 1}
    made = Counter(each["id"].split()[1] for each in await world.calls(CHAT))
    assert made == {"0": 1, "1": 1, "2": 3, "3": 1}  # retries: 2


@pytest.mark.parametrize("seconds", [1.0, pytest.param(30.0, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
async def test_a_storm_of_429_loses_no_line_and_no_call_is_too_early(world: World, seconds: float) -> None:
    await world.sandbox.faults([{**TOO_MANY, "retry_after": seconds, "every": 9, "times": 4}])
    batch = await create(world, LINES)
    await answered(lambda: _ended(world, batch.id), seconds=300)
    ended = await world.until(batch.id, ENDS)
    assert (ended.status, await codes(world, ended)) == ("completed", {"200": len(LINES)})
    calls = calls_in(await world.sandbox.requests())
    assert len(calls) == len(LINES) + 4
    assert too_early(calls, seconds) == []


async def test_a_pause_is_kept_by_who_makes_the_next_calls_without_the_notes_of_this_one(
    world: World, tmp_path: Path
) -> None:
    await world.sandbox.faults([{**TOO_MANY, "retry_after": 1000, "times": None}])
    first = await create(world, LINES[:1])
    await answered(lambda: _waits(world, first.id))
    await world.client.batches.cancel(first.id)
    await world.until(first.id, ENDS)
    for notes in (tmp_path / "data" / "direct").iterdir():
        notes.unlink()  # those of another replica are on another machine
    made = len(await world.calls(CHAT))
    second = await create(world, LINES)
    await answered(lambda: _waits(world, second.id))
    assert len(await world.calls(CHAT)) == made


async def test_calls_that_break_are_made_again_and_lost_ones_once(world: World) -> None:
    rules = [
        {"kind": "drop", "on": CHAT, "skip": 5, "times": 3},
        {"kind": "status", "on": CHAT, "status": 503, "skip": 20, "times": 3},
    ]
    await world.sandbox.faults(rules)
    ended = await world.until((await create(world, LINES)).id, ENDS)
    assert (ended.status, await codes(world, ended)) == ("completed", {"200": len(LINES)})
    assert len(await world.calls(CHAT)) == len(LINES) + 6


async def test_a_wrong_key_fails_the_batch_with_the_providers_words(world: World) -> None:
    await world.sandbox.keys(["sk-another"])
    ended = await world.until((await create(world, LINES)).id, ENDS)
    assert ended.status == "failed"
    assert ended.errors is not None
    assert [(each.code, each.message) for each in ended.errors.data or ()] == [
        ("invalid_api_key", "Incorrect API key provided.")
    ]
    assert len(await world.calls(CHAT)) <= CONCURRENCY


async def test_answers_before_a_refusal_are_kept(world: World) -> None:
    await world.sandbox.faults([{**TOO_MANY, "status": 401, "code": "gone", "skip": 20, "times": None}])
    ended = await world.until((await create(world, LINES)).id, ENDS)
    found = await codes(world, ended)
    assert (ended.status, found["200"]) == ("completed", 20)
    assert found == {"200": 20, "gone": 40}


async def test_a_cancel_waits_for_the_calls_that_run_and_makes_no_more(world: World) -> None:
    await world.sandbox.options("openai", delay_seconds=0.4)
    batch = await create(world, LINES)
    await answered(lambda: _some(world, 2 * CONCURRENCY))
    await world.client.batches.cancel(batch.id)
    ended = await world.until(batch.id, ENDS)
    found = await codes(world, ended)
    assert ended.status == "cancelled"
    assert found["200"] == len(await world.calls(CHAT)) >= 2 * CONCURRENCY
    assert found["batch_cancelled"] == len(LINES) - found["200"] > 0


async def test_at_the_end_of_the_hour_what_is_not_answered_expires(world: World) -> None:
    await world.sandbox.options("openai", delay_seconds=0.4)
    batch = await create(world, LINES, "1h")
    await answered(lambda: _some(world, CONCURRENCY + 1))
    await world.pass_time(3605)
    ended = await world.until(batch.id, ENDS)
    found = await codes(world, ended)
    assert ended.status == "expired"
    assert found["200"] == len(await world.calls(CHAT))
    assert found["batch_expired"] == len(LINES) - found["200"] > 0


async def test_a_plan_counts_calls_at_full_price(world: World) -> None:
    file = await world.client.files.create(file=("a.jsonl", jsonl(LINES)), purpose="batch")
    plans = {}
    for window in ("24h", "1h"):
        body = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": window}
        plans[window] = await world.client.post("/batches/plan", body=body, cast_to=dict[str, Any])
    job, calls = plans["24h"], plans["1h"]
    assert (job["jobs"], calls["jobs"]) == (1, 0)
    assert calls["targets"][0]["way"] == "direct"
    assert calls["estimated_cost"] == pytest.approx(2 * job["estimated_cost"])
    assert any("direct_limits.concurrency" in each and "full price" in each for each in calls["caveats"])
    assert await world.calls(CHAT) == []


async def _ended(world: World, batch_id: str) -> bool:
    return (await world.client.batches.retrieve(batch_id)).status in ENDS


async def _waits(world: World, batch_id: str) -> bool:
    shown = (await world.client.batches.retrieve(batch_id)).to_dict()
    return shown.get("x_status", {}).get("waiting_for") == "rate_limited"  # type: ignore[attr-defined, no-any-return]


async def _some(world: World, count: int) -> bool:
    return len(await world.calls(CHAT)) >= count


async def test_answers_of_calls_are_kept_and_no_line_is_called_twice(sandbox: Sandbox, tmp_path: Path) -> None:
    route = {"virtual_key": "lane", "cache": {"mode": "simple"}}
    lines = [*LINES[:20], *({**LINES[0], "custom_id": f"equal {n}"} for n in range(3))]
    async with opened(tmp_path / "data", sandbox, lane(sandbox), route=route) as world:
        first = await world.until((await create(world, lines)).id, ENDS)
        called = len(await world.calls(CHAT))
        again = await world.until((await create(world, lines)).id, ENDS)
        assert called == len(await world.calls(CHAT)) == len(lines)
        assert await world.rows(again.output_file_id) == await world.rows(first.output_file_id)
        assert (again.request_counts.completed, again.usage.total_tokens) == (len(lines), 0)
