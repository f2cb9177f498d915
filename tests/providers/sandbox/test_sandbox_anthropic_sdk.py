"""The Anthropic stand-in, driven by Anthropic's official SDK: batches, pages, results, error classes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types.messages import MessageBatch

from proxy_plugin.providers.sandbox.answers import expected_text, expected_usage
from proxy_plugin.providers.sandbox.process import Sandbox

Make = Callable[..., Any]
ENDPOINT = "/v1/messages"
ABSENT = "msgbatch_" + "0" * 24
WEATHER = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}


def test_a_batch_runs_from_create_to_results(claude: Anthropic, ask: Make, ended: Make) -> None:
    requests = [ask(f"r-{n}", f"say {n}") for n in range(30)]
    made = claude.messages.batches.create(requests=requests)
    assert (made.type, made.processing_status, made.ended_at, made.results_url) == (
        "message_batch",
        "in_progress",
        None,
        None,
    )
    assert made.request_counts.to_dict() == {
        "processing": 30,
        "succeeded": 0,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    assert made.expires_at - made.created_at == timedelta(hours=24)
    batch: MessageBatch = ended(made)
    assert batch.request_counts.succeeded == 30
    assert batch.request_counts.processing == 0
    assert batch.ended_at
    assert batch.ended_at > batch.created_at
    assert batch.cancel_initiated_at is batch.archived_at is None
    rows = list(claude.messages.batches.results(batch.id))
    assert [row.custom_id for row in rows] != [request["custom_id"] for request in requests]
    params = {request["custom_id"]: request["params"] for request in requests}
    assert {row.custom_id for row in rows} == set(params)
    for row in rows:
        assert row.result.type == "succeeded"
        message, asked = row.result.message, params[row.custom_id]
        assert [(block.type, getattr(block, "text", None)) for block in message.content] == [
            ("text", expected_text(ENDPOINT, asked))
        ]
        assert message.usage.to_dict() == expected_usage(ENDPOINT, asked)
        assert (message.role, message.stop_reason, message.model) == (
            "assistant",
            "end_turn",
            "claude-haiku-4-5-20251001",
        )
    assert len({row.result.message.id for row in rows if row.result.type == "succeeded"}) == 30


async def test_the_async_client_sees_the_same(async_claude: AsyncAnthropic, ask: Make) -> None:
    batches = async_claude.messages.batches
    batch = await batches.create(requests=[ask(f"r-{n}") for n in range(3)])
    async with asyncio.timeout(10):
        while batch.processing_status != "ended":
            await asyncio.sleep(0.01)
            batch = await batches.retrieve(batch.id)
    results = [row async for row in await batches.results(batch.id)]
    assert {row.custom_id for row in results} == {"r-0", "r-1", "r-2"}
    assert [each.id async for each in batches.list()] == [batch.id]
    deleted = await batches.delete(batch.id)
    assert deleted.to_dict() == {"id": batch.id, "type": "message_batch_deleted"}
    assert [each.id async for each in batches.list()] == []


def test_pages_are_newest_first_in_both_directions(claude: Anthropic, ask: Make) -> None:
    ids = [claude.messages.batches.create(requests=[ask("a")]).id for _ in range(5)][::-1]
    assert [batch.id for batch in claude.messages.batches.list()] == ids
    assert [batch.id for batch in claude.messages.batches.list(limit=2)] == ids
    page = claude.messages.batches.list(limit=2, after_id=ids[1])
    assert ([batch.id for batch in page.data], page.has_more) == (ids[2:4], True)
    assert (page.first_id, page.last_id) == (ids[2], ids[3])
    page = claude.messages.batches.list(limit=2, after_id=ids[2])
    assert ([batch.id for batch in page.data], page.has_more) == (ids[3:], False)
    page = claude.messages.batches.list(limit=2, before_id=ids[4])
    assert ([batch.id for batch in page.data], page.has_more) == (ids[2:4], True)
    assert [batch.id for batch in page] == [*ids[2:4], *ids[0:2]]
    empty = claude.messages.batches.list(before_id=ids[0])
    assert (empty.data, empty.has_more, empty.first_id, empty.last_id) == ([], False, None, None)


def test_only_an_ended_batch_can_be_deleted_and_then_it_is_gone(
    claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make
) -> None:
    sandbox.control.options("anthropic", run_seconds=100)
    batch = claude.messages.batches.create(requests=[ask("a")])
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.batches.delete(batch.id)
    sandbox.control.advance(101)
    ended(batch)
    assert claude.messages.batches.delete(batch.id).id == batch.id
    for call in (claude.messages.batches.retrieve, claude.messages.batches.cancel, claude.messages.batches.delete):
        with pytest.raises(anthropic.NotFoundError):
            call(batch.id)
    assert [(job["id"], job["deleted"], job["lines_run"]) for job in sandbox.control.jobs()] == [(batch.id, True, 1)]


def test_answers_take_the_forms_of_the_api(answered: Make, ask: Make) -> None:
    requests = [
        ask("tool", "[[sandbox:tool_call]]", tools=[WEATHER]),
        ask("forced", tools=[WEATHER], tool_choice={"type": "any", "disable_parallel_tool_use": True}),
        ask("named", tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"}),
        ask("offered", tools=[WEATHER], tool_choice={"type": "auto"}),
        ask("refusal", "[[sandbox:refusal]]"),
        ask("cut", "[[sandbox:length=500]]", max_tokens=10),
        ask("long", "[[sandbox:length=500]]"),
        ask("thinking", max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000}),
        ask("hidden", model="claude-opus-5", thinking={"type": "adaptive", "display": "omitted"}),
    ]
    found = answered(requests)
    params = {request["custom_id"]: request["params"] for request in requests}
    assert {result["type"] for result in found.values()} == {"succeeded"}
    messages = {name: result["message"] for name, result in found.items()}
    assert {name: message["stop_reason"] for name, message in messages.items()} == {
        **dict.fromkeys(("tool", "forced", "named"), "tool_use"),
        **dict.fromkeys(("offered", "long", "thinking", "hidden"), "end_turn"),
        "refusal": "refusal",
        "cut": "max_tokens",
    }
    for name in ("tool", "forced", "named"):
        (block,) = messages[name]["content"]
        assert (block["type"], block["name"], block["id"][:6]) == ("tool_use", "weather", "toolu_")
        assert block["input"] == json.loads(expected_text(ENDPOINT, params[name]))
        assert set(block["input"]) == {"city", "days"}
    assert messages["refusal"]["content"] == []
    explanation = messages["refusal"]["stop_details"]["explanation"]
    assert explanation == expected_text(ENDPOINT, params["refusal"])
    assert [len(messages[name]["content"][0]["text"]) for name in ("cut", "long")] == [40, 500]
    for name in ("thinking", "hidden"):
        thinking, text = messages[name]["content"]
        assert text["text"] == expected_text(ENDPOINT, params[name])
        assert thinking["signature"]
        assert (thinking["thinking"] == "") == (name == "hidden")
        spent = messages[name]["usage"]
        assert 0 < spent["output_tokens_details"]["thinking_tokens"] < spent["output_tokens"]


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_cache_breakpoints_show_in_the_usage(answered: Make, ask: Make, ttl: str) -> None:
    system = [{"type": "text", "text": "long " * 50, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    request = ask("a", system=system)
    spent = answered([request])["a"]["message"]["usage"]
    assert spent == expected_usage(ENDPOINT, request["params"])
    assert spent["cache_read_input_tokens"] > 0
    other = {"5m": "1h", "1h": "5m"}[ttl]
    written = spent["cache_creation_input_tokens"]
    assert spent["cache_creation"] == {f"ephemeral_{ttl}_input_tokens": written, f"ephemeral_{other}_input_tokens": 0}
    assert written > 0
    assert spent["service_tier"] == "batch"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_become_the_classes_of_the_sdk(claude: Anthropic, sandbox: Sandbox, status: int, kind: str) -> None:
    sandbox.control.faults([{"on": "batches.list", "kind": "status", "status": status, "code": "some_code"}])
    with pytest.raises(anthropic.APIStatusError) as error:
        claude.messages.batches.list()
    classes: dict[int, type[anthropic.APIStatusError]] = {
        400: anthropic.BadRequestError,
        401: anthropic.AuthenticationError,
        403: anthropic.PermissionDeniedError,
        404: anthropic.NotFoundError,
        429: anthropic.RateLimitError,
    }
    assert isinstance(error.value, classes.get(status, anthropic.APIStatusError))
    assert (error.value.status_code, error.value.type, error.value.error_code) == (status, kind, "some_code")
    assert isinstance(error.value.body, dict)
    assert error.value.body["request_id"] == error.value.request_id


def test_unknown_batches_and_those_of_others_are_not_found(claude: Anthropic, sandbox: Sandbox, ask: Make) -> None:
    mine = claude.messages.batches.create(requests=[ask("a")])
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.batches.retrieve(ABSENT)
    assert missing.value.type == "not_found_error"
    with Anthropic(base_url=claude.base_url, api_key="sk-other", max_retries=0) as other:
        assert list(other.messages.batches.list()) == []
        for call in (other.messages.batches.retrieve, other.messages.batches.cancel, other.messages.batches.delete):
            with pytest.raises(anthropic.NotFoundError):
                call(mine.id)


def test_results_are_not_there_before_the_end(claude: Anthropic, sandbox: Sandbox, ask: Make) -> None:
    sandbox.control.options("anthropic", run_seconds=100)
    batch = claude.messages.batches.create(requests=[ask("a")])
    with pytest.raises(anthropic.AnthropicError, match="in_progress"):
        claude.messages.batches.results(batch.id)
    with pytest.raises(anthropic.NotFoundError, match="has no available results"):
        claude.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)


def test_the_sdk_follows_a_results_url_to_another_host_with_its_key(
    claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make
) -> None:
    with Sandbox(providers=["anthropic"], keys=["sk-of-the-other-host"]) as elsewhere:
        sandbox.control.options("anthropic", results_url_host=elsewhere.control.url)
        batch = ended(claude.messages.batches.create(requests=[ask("a")]))
        assert batch.results_url == f"{elsewhere.url('anthropic')}/messages/batches/{batch.id}/results"
        with pytest.raises(anthropic.AuthenticationError):
            claude.messages.batches.results(batch.id)
        assert [one["op"] for one in elsewhere.control.requests()] == ["batches.results"]
