"""Whoever waits is told for what, since when, in whose words, and when the next try is; and no longer than need be."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.stack import MAY_READ_METRICS
from tests.whole.lanes.rig import Stand, chats
from tests.whole.lanes.world import World, opened

HOUR = 3600
QUOTA = "You exceeded your current quota, please check your plan and billing details."
LINES = chats(4)
OUT_OF_QUOTA = [  # a file with two lines for a create that is answered 429 insufficient_quota for ever
    {
        "custom_id": f"iq-{n}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"x{n}"}], "max_tokens": 5},
    }
    for n in range(2)
]


def always(on: str, status: int = 500, code: str | None = None, message: str = "", **more: Any) -> dict[str, Any]:
    """Return a fault that meets every call of one kind."""
    answer = {"kind": "status", "status": status, "code": code, "message": message or f"said of {on}"}
    return {"on": on, "times": None, **answer, **more}


class Case(NamedTuple):
    """What goes wrong at which provider, and what is said of it."""

    provider: str
    faults: list[dict[str, Any]]
    reason: str
    code: str | None
    words: str
    calls: str = "batches.create"  # that are made again and again
    options: Mapping[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.provider}-{self.reason}-{self.code}-{self.calls}"


BILLING = [
    Case("openai", [always("batches.create", 429, code, QUOTA)], "billing", code, QUOTA)
    for code in ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
]
BILLING += [
    Case(
        "openai",
        [always("files.create", 429, "insufficient_quota")],
        "billing",
        "insufficient_quota",
        "said of",
        "files.create",
    ),
    Case(
        "openai",
        [always("batches.list", 403, "billing_not_active")],
        "billing",
        "billing_not_active",
        "said of",
        "batches.list",
    ),
    Case("anthropic", [always("batches.create", 402)], "billing", "billing_error", "said of"),
    Case("anthropic", [always("batches.list", 402)], "billing", "billing_error", "said of", "batches.list"),
    Case(
        "openai",
        [],
        "billing",
        "billing_hard_limit_reached",
        "Billing hard limit has been reached.",
        options={"no_credit": True},
    ),
]
PASSING = [
    Case(
        "openai",
        [always("batches.create", 429, "rate_limit_exceeded")],
        "rate_limited",
        "rate_limit_exceeded",
        "said of",
    ),
    Case("anthropic", [always("batches.create", 429)], "rate_limited", "rate_limit_error", "said of"),
    Case("openai", [always("files.create", 503)], "provider_unreachable", "server_error", "said of", "files.create"),
    Case("openai", [always("batches.list", 500)], "provider_unreachable", None, "said of", "batches.list"),
    Case("anthropic", [always("batches.list", kind="drop")], "provider_unreachable", None, "GET /", "batches.list"),
    Case("openai", [always("files.create", kind="drop")], "provider_unreachable", None, "POST /files", "files.create"),
    Case(
        "anthropic",
        [always("batches.create", 529), always("batches.list", 500, skip=1)],
        "outcome_unknown",
        None,
        "was lost",
        "batches.list",
    ),
    Case(
        "openai",
        [always("batches.create", 500), always("batches.list", 503, skip=1)],
        "outcome_unknown",
        None,
        "was lost",
        "batches.list",
    ),
    Case("openai", [always("batches.retrieve", 502)], "provider_unreachable", None, "said of", "batches.retrieve"),
    Case("openai", [always("batches.retrieve", 404)], "job_unreadable", None, "said of", "batches.retrieve"),
    Case("anthropic", [always("batches.results", 404)], "job_unreadable", None, "said of", "batches.results"),
    Case("openai", [], "results_late", None, "has yet to show all", "batches.retrieve", options={"output_late": 10**9}),
    Case(
        "openai",
        [],
        "provider_quota",
        "token_limit_exceeded",
        "Enqueued token limit",
        options={"enqueued_token_cap": 1},
    ),
]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "proxy_plugin.engine")
    return caplog


def warnings(log: pytest.LogCaptureFixture, reason: str) -> list[dict[str, Any]]:
    found = [record for record in log.records if record.getMessage() == "waiting"]
    assert all(record.levelno == logging.WARNING for record in found)
    return [fields for record in found if (fields := record.__dict__["proxy_plugin_fields"])["reason"] == reason]


def world_of(case: Case, sandbox: Sandbox, data: Path, **key: Any) -> AbstractAsyncContextManager[World]:
    """Return a gateway in front of the case's provider, which has forgotten everything and does what the case says."""
    stand = Stand(sandbox, find(case.provider))
    sandbox.control.reset()
    stand.options(**{**stand.stand_in.quick, "answers": "echo", **case.options})
    stand.faults(*case.faults)
    return opened(data, sandbox, stand.key(**key))


async def shown(world: World, batch_id: str) -> dict[str, Any]:
    return dict(await world.client.get(f"/batches/{batch_id}?include=jobs", cast_to=dict[str, Any]))


async def waiting(world: World, batch_id: str, reason: str) -> dict[str, Any]:
    """Return the batch when it waits for this."""
    found: dict[str, Any] = {}

    async def there() -> bool:
        found.update(await shown(world, batch_id))
        return bool(found.get("x_status", {}).get("waiting_for") == reason)

    await world.until_true(there)
    return found


async def tried_again(world: World, op: str, times: int) -> None:
    async def seen() -> bool:
        return len(await world.calls(op)) >= times

    await world.until_true(seen)


async def samples(world: World) -> str:
    return str(await world.client.get("../metrics", cast_to=str, options={"headers": MAY_READ_METRICS}))


@pytest.mark.parametrize("case", [*BILLING, *PASSING], ids=str)
async def test_a_wait_explains_itself(
    case: Case, sandbox: Sandbox, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    lines = LINES if case.provider == "anthropic" else OUT_OF_QUOTA
    async with world_of(case, sandbox, tmp_path / "data", settle_seconds=600) as world:
        batch = await world.create(lines)
        found = await waiting(world, batch.id, case.reason)
        (job,) = found["jobs"]
        status = found["x_status"]
        assert job["x_status"].keys() == status.keys()
        assert case.words in status["message"]
        assert status["virtual_key"] == "lane"
        assert case.code in (None, status.get("code"))
        assert batch.created_at <= status["since"] <= status["next_try_at"]
        assert ("gives_up_at" in status) == (case.reason == "billing")
        await tried_again(world, case.calls, 4)
        later = (await waiting(world, batch.id, case.reason))["x_status"]
        assert (later["since"], later["next_try_at"] >= status["next_try_at"]) == (status["since"], True)
        told = warnings(log, case.reason)
        assert len(told) == 1, "once, not with every try"
        assert (told[0]["batch"], told[0]["virtual_key"]) == (batch.id, "lane")
        await told_in_metrics(world, case, later)  # the code is that of the newest refusal


async def told_in_metrics(world: World, case: Case, status: Mapping[str, Any]) -> None:
    labels = f'{{virtual_key="lane",reason="{case.reason}",code="{status.get("code", "")}"}}'
    text = ""

    async def there() -> bool:
        nonlocal text
        text = await samples(world)
        return f"proxy_plugin_waiting{labels} 1" in text

    await world.until_true(there)
    for name in ("waiting_since_seconds", "waiting_next_try_seconds"):
        assert f"proxy_plugin_{name}{labels}" in text


@pytest.mark.parametrize("case", BILLING, ids=str)
async def test_after_an_hour_of_billing_refusals_the_lines_are_error_rows_and_can_be_retried(
    case: Case, sandbox: Sandbox, tmp_path: Path
) -> None:
    lines = LINES if case.provider == "anthropic" else OUT_OF_QUOTA
    async with world_of(case, sandbox, tmp_path / "data") as world:
        batch = await world.create(lines)
        status = (await waiting(world, batch.id, "billing"))["x_status"]
        assert status["gives_up_at"] - status["since"] == HOUR
        await world.pass_time(HOUR - 60)
        await tried_again(world, case.calls, len(await world.calls(case.calls)) + 2)
        assert (await waiting(world, batch.id, "billing"))["x_status"]["since"] == status["since"]
        await world.pass_time(120)
        ended = await world.until(batch.id)
        assert (ended.status, ended.errors.data[0].code) == ("failed", case.code)
        assert "x_status" not in (ended.model_extra or {})
        rows = await world.rows(ended.error_file_id)
        assert len(rows) == len(lines)
        for row in rows:
            error = row["error"] or row["response"]["body"]["error"]
            assert (error["code"], case.words in error["message"]) == (case.code, True)
        await world.sandbox.faults([])
        await world.sandbox.options(case.provider, **dict.fromkeys(case.options, False))
        again = dict(await world.client.post(f"/batches/{batch.id}/retry", cast_to=dict[str, Any]))
        done = await world.until(again["id"])
        assert (done.status, done.request_counts.completed) == ("completed", len(lines))


async def test_a_refusal_of_the_request_itself_is_final_whatever_its_code(sandbox: Sandbox, tmp_path: Path) -> None:
    case = Case("openai", [always("batches.create", 400, "billing_hard_limit_reached")], "", None, "")
    async with world_of(case, sandbox, tmp_path / "data") as world:
        ended = await world.until((await world.create(OUT_OF_QUOTA)).id)
        assert (ended.status, ended.errors.data[0].code) == ("failed", "billing_hard_limit_reached")
        assert len(await world.calls("batches.create")) == 1


async def test_what_comes_between_does_not_make_a_billing_refusal_younger(sandbox: Sandbox, tmp_path: Path) -> None:
    case = BILLING[0]
    async with world_of(case, sandbox, tmp_path / "data") as world:
        batch = await world.create(OUT_OF_QUOTA)
        since = (await waiting(world, batch.id, "billing"))["x_status"]["since"]
        await world.sandbox.faults([*case.faults, always("batches.list", 503)])  # no create may pass before time does
        await world.pass_time(11 * 60)  # for ten minutes the fence of the refused create will do
        await tried_again(world, "batches.list", len(await world.calls("batches.list")) + 3)
        found = await shown(world, batch.id)
        assert (found["x_status"]["waiting_for"], found["x_status"]["since"]) == ("billing", since)
        await world.sandbox.faults(case.faults)
        await world.pass_time(HOUR + 60)
        assert (await world.until(batch.id)).status == "failed"


async def test_an_unreachable_provider_ends_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    case = Case("openai", [always("files.create", 503)], "provider_unreachable", None, "")
    async with world_of(case, sandbox, tmp_path / "data") as world:
        batch = await world.create(OUT_OF_QUOTA)
        await waiting(world, batch.id, case.reason)
        await world.pass_time(5 * HOUR)
        await tried_again(world, "files.create", len(await world.calls("files.create")) + 2)
        await waiting(world, batch.id, case.reason)
        await world.sandbox.faults([])
        ended = await world.until(batch.id)
        assert (ended.status, "x_status" in (ended.model_extra or {})) == ("completed", False)


async def test_no_host_at_all_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    key = find("openai").virtual_key("http://127.0.0.1:9")
    async with opened(tmp_path / "data", sandbox, key) as world:
        batch = await world.create(LINES)
        status = (await waiting(world, batch.id, "provider_unreachable"))["x_status"]
        assert "no connection was made" in status["message"]


async def test_parts_without_room_say_so_once_for_all_of_them(
    sandbox: Sandbox, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    case = Case("openai", [], "no_room", None, "max_jobs_in_flight", options={"run_seconds": 10 * HOUR})
    async with world_of(case, sandbox, tmp_path / "data", max_lines_per_job=1, max_jobs_in_flight=1) as world:
        batch = await world.create(LINES)
        found = await waiting(world, batch.id, "no_room")
        assert case.words in found["x_status"]["message"]

        async def all_wait() -> bool:
            jobs = (await shown(world, batch.id))["jobs"]
            return [job.get("x_status", {}).get("waiting_for") for job in jobs].count("no_room") == 3

        await world.until_true(all_wait)
        assert len(warnings(log, "no_room")) == 1
        await world.client.batches.cancel(batch.id)
        await world.until(batch.id)
        assert "proxy_plugin_waiting{" not in await fresh(world)


async def fresh(world: World) -> str:
    """Return metrics that are not of before."""
    world.clock.offset += 5
    return await samples(world)


async def test_a_part_without_a_turn_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    faults = [always("batches.create", kind="drop", times=1), always("batches.list", 500, skip=1)]
    async with world_of(
        Case("anthropic", faults, "", None, ""), sandbox, tmp_path / "data", settle_seconds=600
    ) as world:
        first = await world.create(LINES)
        await waiting(world, first.id, "outcome_unknown")
        second = await world.create(chats(3, "of the second"))
        status = (await waiting(world, second.id, "no_turn"))["x_status"]
        assert "in doubt" in status["message"]


async def test_a_missing_virtual_key_is_said_until_it_is_back(sandbox: Sandbox, tmp_path: Path) -> None:
    async with world_of(PASSING[2], sandbox, tmp_path / "data") as world:
        batch = await world.create(OUT_OF_QUOTA)
        await waiting(world, batch.id, PASSING[2].reason)
        keys = cast("dict[str, Any]", world.gateway.config.virtual_keys)
        kept = keys.pop("lane")
        status = (await waiting(world, batch.id, "key_missing"))["x_status"]
        assert "virtual key lane is not configured" in status["message"]
        keys["lane"] = kept
        await world.sandbox.faults([])
        await world.pass_time(120)
        assert (await world.until(batch.id)).status == "completed"


async def test_waits_outlive_a_restart_and_are_no_news_after_it(
    sandbox: Sandbox, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    case = BILLING[0]
    async with world_of(case, sandbox, tmp_path / "data") as world:
        batch = await world.create(OUT_OF_QUOTA)
        since = (await waiting(world, batch.id, "billing"))["x_status"]["since"]
    stand = Stand(sandbox, find(case.provider))
    async with opened(tmp_path / "data", sandbox, stand.key()) as world:
        await tried_again(world, case.calls, len(await world.calls(case.calls)) + 3)
        assert (await waiting(world, batch.id, "billing"))["x_status"]["since"] == since
    assert len(warnings(log, "billing")) == 1


async def test_the_providers_words_hold_no_secret(
    sandbox: Sandbox, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    stand = Stand(sandbox, find("openai"))
    secret = str(stand.key()["api_key"])
    words = f"Incorrect API key provided: {secret} of Bearer {secret}, see https://x.test/?sig=abcdef"
    case = Case("openai", [always("batches.create", 429, "insufficient_quota", words)], "billing", None, "")
    async with world_of(case, sandbox, tmp_path / "data") as world:
        batch = await world.create(OUT_OF_QUOTA)
        found = await waiting(world, batch.id, "billing")
        assert secret not in json.dumps(found) + json.dumps(warnings(log, "billing"))
        assert "abcdef" not in json.dumps(found)
        assert "Incorrect API key" in found["x_status"]["message"]
        assert "Incorrect API key" not in await fresh(world)


async def test_what_a_failing_provider_says_is_in_no_log(
    sandbox: Sandbox, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    """An answer to what was sent may quote it: the caller sees it, the log does not."""
    case = Case("openai", [always("files.create", 500, message="cannot read 'the users words'")], "", None, "")
    async with world_of(case, sandbox, tmp_path / "data") as world:
        batch = await world.create(OUT_OF_QUOTA)
        found = await waiting(world, batch.id, "provider_unreachable")
        assert "the users words" in found["x_status"]["message"]
        assert "the users words" not in json.dumps(
            [record.__dict__.get("proxy_plugin_fields") for record in log.records]
        )


async def test_reading_a_wait_calls_no_provider(sandbox: Sandbox, tmp_path: Path) -> None:
    case = Case("openai", [always("files.create", 429, retry_after=3600)], "rate_limited", None, "")
    async with world_of(case, sandbox, tmp_path / "data") as world:
        batch = await world.create(OUT_OF_QUOTA)
        await waiting(world, batch.id, "rate_limited")
        before = len(await world.sandbox.requests())
        for _ in range(20):
            await shown(world, batch.id)
            await world.client.batches.list()
        assert len(await world.sandbox.requests()) == before
