"""How message batches live and end: counters, cancel, expiry, archive, markers, strangers, size."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.support.waiting import until

Make = Callable[..., Any]
HEADERS = {"x-api-key": DEFAULT_KEY, "anthropic-version": "2023-06-01"}


def kinds(claude: Anthropic, batch: Any) -> Counter[str]:
    return Counter(row.result.type for row in claude.messages.batches.results(batch.id))


def counts(batch: Any) -> dict[str, int]:
    """The counters that are not zero."""
    return {name: count for name, count in batch.request_counts.to_dict().items() if count}


def test_results_may_be_later_than_the_end_and_counts_wrong(
    claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make
) -> None:
    sandbox.control.options("anthropic", results_late=2, told_counts={"succeeded": 10**30})
    batch = ended(claude.messages.batches.create(requests=[ask("0", "hi")]))
    assert (batch.processing_status, batch.request_counts.succeeded) == ("ended", 10**30)
    for _ in range(2):
        with pytest.raises(anthropic.NotFoundError, match="no available results"):
            claude.messages.batches.results(batch.id)
    assert kinds(claude, batch) == {"succeeded": 1}


def test_nothing_but_processing_is_counted_until_the_end(
    claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make
) -> None:
    sandbox.control.options("anthropic", run_seconds=1000)
    made = claude.messages.batches.create(
        requests=[ask(f"{n}", "[[sandbox:error=529]]" if n < 4 else "hi") for n in range(10)]
    )
    sandbox.control.advance(999)
    batch = claude.messages.batches.retrieve(made.id)
    assert (batch.processing_status, counts(batch), batch.results_url) == ("in_progress", {"processing": 10}, None)
    sandbox.control.advance(1)
    batch = ended(batch)
    assert counts(batch) == {"succeeded": 6, "errored": 4}
    assert batch.ended_at - batch.created_at == timedelta(seconds=1000)
    errors = {
        row.result.error.error.type for row in claude.messages.batches.results(batch.id) if row.result.type == "errored"
    }
    assert errors == {"overloaded_error"}


def test_paid_lines_show_before_the_end_to_tests_only(claude: Anthropic, sandbox: Sandbox, ask: Make) -> None:
    sandbox.control.options("anthropic", run_seconds=1000)
    claude.messages.batches.create(requests=[ask(f"{n}") for n in range(10)])
    sandbox.control.advance(550)
    until(lambda: sandbox.control.jobs()[0]["lines_run"] == 5)
    assert sandbox.control.jobs()[0]["counts"]["succeeded"] == 0


def test_a_cancel_keeps_what_is_done(claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make) -> None:
    sandbox.control.options("anthropic", run_seconds=1000, cancel_seconds=500)
    batch = claude.messages.batches.create(requests=[ask(f"{n}") for n in range(10)])
    sandbox.control.advance(350)
    batch = claude.messages.batches.cancel(batch.id)
    assert (batch.processing_status, counts(batch), batch.ended_at) == ("canceling", {"processing": 10}, None)
    assert batch.cancel_initiated_at
    assert claude.messages.batches.cancel(batch.id).cancel_initiated_at == batch.cancel_initiated_at
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.batches.delete(batch.id)
    sandbox.control.advance(500)
    batch = ended(batch)
    assert batch.ended_at - batch.cancel_initiated_at == timedelta(seconds=500)
    assert counts(batch) == {"succeeded": 3, "canceled": 7}
    assert kinds(claude, batch) == {"succeeded": 3, "canceled": 7}
    assert sandbox.control.jobs()[0]["lines_run"] == 3
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.batches.cancel(batch.id)


def test_a_cancel_may_come_too_late_for_every_request(
    claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make
) -> None:
    sandbox.control.options("anthropic", run_seconds=1000, cancel_interrupts=False)
    batch = claude.messages.batches.create(requests=[ask(f"{n}") for n in range(4)])
    batch = ended(claude.messages.batches.cancel(batch.id))
    assert batch.cancel_initiated_at is not None
    assert counts(batch) == {"succeeded": 4}
    assert kinds(claude, batch) == {"succeeded": 4}
    assert sandbox.control.jobs()[0]["lines_run"] == 4


def test_after_24_hours_the_rest_expires(claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make) -> None:
    sandbox.control.options("anthropic", run_seconds=2 * 86400)
    batch = claude.messages.batches.create(requests=[ask(f"{n}") for n in range(9)])
    sandbox.control.advance(86390)
    assert claude.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    sandbox.control.advance(10)
    batch = ended(batch)
    assert batch.ended_at == batch.expires_at == batch.created_at + timedelta(days=1)
    assert counts(batch) == {"succeeded": 4, "expired": 5}
    assert kinds(claude, batch) == {"succeeded": 4, "expired": 5}
    assert sandbox.control.jobs()[0]["lines_run"] == 4


def test_results_are_gone_29_days_after_the_creation(
    claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make
) -> None:
    sandbox.control.options("anthropic", run_seconds=3600)
    batch = claude.messages.batches.create(requests=[ask("a")])
    sandbox.control.advance(3600)
    batch = ended(batch)
    sandbox.control.advance(29 * 86400 - 3600 - 60)
    assert kinds(claude, batch) == {"succeeded": 1}
    sandbox.control.advance(60)
    batch = claude.messages.batches.retrieve(batch.id)
    assert batch.archived_at == batch.created_at + timedelta(days=29)
    assert (batch.results_url, counts(batch)) == (None, {"succeeded": 1})
    with pytest.raises(anthropic.NotFoundError, match="has no available results"):
        claude.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)
    assert [each.id for each in claude.messages.batches.list()] == [batch.id]


def test_markers_choose_the_result(claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make) -> None:
    texts = {
        "plain": "hi",
        "empty": "[[sandbox:error=0]]",
        "missing": "[[sandbox:missing]]",
        "twice": "[[sandbox:duplicate]]",
        "foreign": "[[sandbox:foreign=nobody]]",
        "expire": "[[sandbox:expire]]",
        "timeout": "[[sandbox:timeout]]",
        "limited": "[[sandbox:error=429]]",
        "broke": "[[sandbox:error=402]]",
    }
    batch = ended(claude.messages.batches.create(requests=[ask(name, text) for name, text in texts.items()]))
    assert counts(batch) == {"succeeded": 5, "errored": 3, "expired": 1}
    rows = list(claude.messages.batches.results(batch.id))
    assert Counter(row.custom_id for row in rows) == {
        **dict.fromkeys(set(texts) - {"missing"}, 1),
        "twice": 2,
        "nobody": 1,
    }
    errors = {row.custom_id: row.result.error.error.type for row in rows if row.result.type == "errored"}
    assert errors == {"timeout": "timeout_error", "limited": "rate_limit_error", "broke": "billing_error"}
    assert {row.custom_id for row in rows if row.result.type == "expired"} == {"expire"}
    (empty,) = [row.result for row in rows if row.custom_id == "empty"]
    assert (empty.type, empty.type == "succeeded" and empty.message.content) == ("succeeded", [])
    assert sandbox.control.jobs()[0]["lines_run"] == 5


def test_the_log_tells_mark_and_lines_of_accepted_creates(claude: Anthropic, sandbox: Sandbox, ask: Make) -> None:
    marked = claude.messages.batches.create(requests=[ask(f"k3j9x0a2bq{n:08}") for n in range(3)])
    mixed = claude.messages.batches.create(requests=[ask("k3j9x0a2bq1"), ask("k3j9x0a2bp2")])
    short = claude.messages.batches.create(requests=[ask("k3j9x0a2b")])
    log = sandbox.control.log()
    assert [(one["batch_id"], one["mark"], one["lines"]) for one in log] == [
        (marked.id, "k3j9x0a2bq", 3),
        (mixed.id, None, 2),
        (short.id, None, 1),
    ]
    assert [set(one) for one in log] == [{"at", "provider", "account", "batch_id", "mark", "lines"}] * 3
    assert [job["mark"] for job in sandbox.control.jobs()] == ["k3j9x0a2bq", None, None]


def test_strangers_show_in_the_account_but_not_in_the_log(
    claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make
) -> None:
    mine = claude.messages.batches.create(requests=[ask("a")])
    made = sandbox.control.strangers("anthropic", batches=2, lines=3)
    assert [batch.id for batch in claude.messages.batches.list()] == [*made["batches"][::-1], mine.id]
    theirs = ended(claude.messages.batches.retrieve(made["batches"][0]))
    assert kinds(claude, theirs) == {"succeeded": 3}
    assert [entry["batch_id"] for entry in sandbox.control.log()] == [mine.id]
    assert [job["stranger"] for job in sandbox.control.jobs()] == [False, True, True]


def test_the_queue_of_an_account_is_limited(claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make) -> None:
    sandbox.control.options("anthropic", max_queued=3, run_seconds=1000)
    first = claude.messages.batches.create(requests=[ask("a"), ask("b")])
    with pytest.raises(anthropic.RateLimitError) as limited:
        claude.messages.batches.create(requests=[ask("a"), ask("b")])
    assert (limited.value.type, limited.value.response.headers["retry-after"]) == ("rate_limit_error", "10")
    with Anthropic(base_url=claude.base_url, api_key="sk-other", max_retries=0) as other:
        other.messages.batches.create(requests=[ask("a"), ask("b")])
    sandbox.control.advance(1001)
    ended(first)
    claude.messages.batches.create(requests=[ask("a"), ask("b")])
    assert len(sandbox.control.log()) == 3


def test_polls_can_name_the_time_of_the_next(claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make) -> None:
    sandbox.control.options("anthropic", run_seconds=100, poll_retry_after=10)
    batch = claude.messages.batches.create(requests=[ask("a")])
    raw = claude.messages.batches.with_raw_response
    assert raw.retrieve(batch.id).headers["retry-after"] == "10"
    sandbox.control.advance(100)
    ended(batch)
    assert "retry-after" not in raw.retrieve(batch.id).headers


def test_one_seed_gives_one_order(claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make) -> None:
    def order(seed: int) -> list[str]:
        sandbox.control.reset()
        sandbox.control.options("anthropic", seed=seed)
        batch = ended(claude.messages.batches.create(requests=[ask(f"{n}") for n in range(30)]))
        return [row.custom_id for row in claude.messages.batches.results(batch.id)]

    assert order(1) == order(1) != order(2)


def test_the_same_line_gets_the_same_echo_from_both_providers(
    sandbox: Sandbox, chat: Make, run: Make, by_id: Make, ask: Make, answered: Make
) -> None:
    for provider in ("openai", "anthropic"):
        sandbox.control.options(provider, answers="echo")
    texts = {f"r{n}": text for n, text in enumerate(["hi", "🙂 é\u2028", "x" * 3000, "[[sandbox:length=99]]"])}
    texts["no"] = "[[sandbox:refusal]]"
    output, _ = by_id(run([chat(custom_id, text, temperature=1.5) for custom_id, text in texts.items()]))
    found = answered([ask(custom_id, text, system="be terse") for custom_id, text in texts.items()])
    for custom_id, text in texts.items():
        chosen = output[custom_id]["response"]["body"]["choices"][0]["message"]
        message = found[custom_id]["message"]
        said = message["content"][0]["text"] if message["content"] else message["stop_details"]["explanation"]
        assert said == (chosen["content"] or chosen["refusal"])
        body = {"messages": [{"role": "user", "content": text}]}
        assert (
            said == expected_text("/v1/messages", body, "echo") == expected_text("/v1/chat/completions", body, "echo")
        )
    assert found["r0"]["message"]["content"][0]["text"] == "echo: hi"


def test_an_echo_repeats_the_user_and_not_the_tool(sandbox: Sandbox, ask: Make, answered: Make) -> None:
    sandbox.control.options("anthropic", answers="echo")
    uses = {"type": "tool_use", "id": "t_1", "name": "f", "input": {}}
    gives = {"type": "tool_result", "tool_use_id": "t_1", "content": "42"}
    request = ask("a")
    request["params"]["messages"] = [
        {"role": "user", "content": [{"type": "text", "text": "what"}, {"type": "text", "text": "is it?"}]},
        {"role": "assistant", "content": [uses]},
        {"role": "user", "content": [gives]},
    ]
    assert answered([request])["a"]["message"]["content"][0]["text"] == "echo: what\nis it?"


def envelope(count: int, padding: str) -> Iterator[bytes]:
    """A create body in pieces that cut requests anywhere."""
    pending, dice = b'{"requests": [', random.Random(7)
    for number in range(count):
        turn = {"role": "user", "content": f"{number} {padding}"}
        params = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [turn]}
        pending += b"," * (number > 0) + json.dumps({"custom_id": f"c{number}", "params": params}).encode()
        while len(pending) > 300_000:
            cut = dice.randrange(1, 200_000)
            yield pending[:cut]
            pending = pending[cut:]
    yield pending + b"]}"


def test_a_large_envelope_is_streamed_both_ways(claude: Anthropic, sandbox: Sandbox, ended: Make) -> None:
    count, padding = 5000, 'é"\\' * 400
    size = sum(map(len, envelope(count, padding)))
    assert size > 20_000_000
    url = f"{sandbox.url('anthropic')}/messages/batches"
    headers = {**HEADERS, "content-type": "application/json"}
    made = httpx2.post(url, content=envelope(count, padding), headers=headers, timeout=60, trust_env=False)
    assert made.json()["request_counts"]["processing"] == count
    batch = ended(claude.messages.batches.retrieve(made.json()["id"]))
    assert counts(batch) == {"succeeded": count}
    found: dict[str, str] = {}
    with httpx2.stream("GET", batch.results_url, headers=HEADERS, trust_env=False) as answer:
        for line in answer.iter_lines():
            row = json.loads(line)
            found[row["custom_id"]] = row["result"]["message"]["content"][0]["text"]
    assert set(found) == {f"c{number}" for number in range(count)}
    assert all(f"] {custom_id[1:]} é" in text for custom_id, text in found.items())
