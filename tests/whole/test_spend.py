"""What batches cost keys of LiteLLM's: told once, whatever is killed, and refused before anything is sent.

The real LiteLLM is in `tests/litellm`.
"""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import ask
from tests.support.lines import chat_lines, jsonl
from tests.support.litellm import MASTER, VIRTUAL, LiteLLM, litellm
from tests.support.stack import HEADERS, Gateway, lane
from tests.support.stand_ins import QUICK
from tests.support.waiting import until

HASH = hashlib.sha256(VIRTUAL.encode()).hexdigest()
OURS = {**HEADERS, "x-portkey-api-key": VIRTUAL}
NANO = (0.05, 0.20)  # US dollars for a million tokens in and out, in batches of gpt-4.1-nano


@pytest.fixture
def behind() -> Iterator[LiteLLM]:
    with litellm() as it:
        it.keys[HASH] = {"spend": 0.0, "max_budget": None, "metadata": {}}
        yield it


@pytest.fixture
def gateway(sandbox: Sandbox, behind: LiteLLM, tmp_path: Path) -> Iterator[Gateway]:
    it = Gateway(
        tmp_path,
        {"lane": lane(sandbox)},
        server={"upstream": behind.url},
        litellm={"general_settings": {"master_key": MASTER}},
        api_keys=[{"name": "virtual", "key": VIRTUAL, "forward": True}],
        asks=OURS,
    )
    try:
        yield it
    finally:
        it.close()


def test_a_batch_is_told_once_with_what_it_cost(gateway: Gateway, behind: LiteLLM, sandbox: Sandbox) -> None:
    """The gateway is killed between LiteLLM's answer and its own note of it: the same report comes again, no other."""
    gateway.start(fail="spend.acted:1")
    batch_id = gateway.create(gateway.upload(jsonl(chat_lines(5, marker={2: "[[sandbox:error=400]]"}))))["id"]
    until(lambda: not gateway.alive(), gateway.tail)
    gateway.start()
    batch = gateway.until(batch_id)
    until(lambda: len(behind.reports) == 2, gateway.tail)
    first, again = behind.reports
    assert again == first
    gateway.until_event(lambda log: "spend_told" in log)
    usage = batch["usage"]
    cost = (usage["input_tokens"] * NANO[0] + usage["output_tokens"] * NANO[1]) / 1e6
    assert first["cost"] == pytest.approx(cost)
    told = {name: first[name] for name in ("id", "key_hash", "status", "input_tokens", "output_tokens", "providers")}
    assert told == {
        "id": batch_id,
        "key_hash": HASH,
        "status": "completed",
        "input_tokens": usage["input_tokens"],
        "output_tokens": usage["output_tokens"],
        "providers": ["openai"],
    }
    assert (first["lines"], first["completed"], first["failed"]) == (5, 4, 1)


def test_a_batch_over_a_limit_is_refused_before_it_is_sent(gateway: Gateway, behind: LiteLLM, sandbox: Sandbox) -> None:
    gateway.start()
    file_id = gateway.upload(jsonl([limited(4000)]))
    behind.keys[HASH] |= {"team_id": "team-a", "metadata": {"batch_enqueued_token_limit": 4000}}
    behind.teams["team-a"] = {"spend": 9.9999, "max_budget": 10.0, "team_alias": "Alpha", "metadata": {}}
    refused = gateway.until(gateway.create(file_id)["id"])
    assert (refused["status"], refused["output_file_id"]) == ("failed", None)
    tokens, budget = refused["errors"]["data"]
    assert tokens["code"] == "token_limit_exceeded"
    assert "Limit: 4,000 enqueued tokens" in tokens["message"]
    assert "estimated to need 4,0" in tokens["message"]
    assert budget["code"] == "budget_exceeded"
    assert "for team Alpha. Max budget: $10.00; $9.9999 are spent" in budget["message"]
    assert ask(gateway, "SELECT COUNT(*) FROM submissions") == [(0,)]


def test_batches_go_on_while_litellm_is_gone_and_it_is_told_when_it_is_back(
    gateway: Gateway, behind: LiteLLM, sandbox: Sandbox
) -> None:
    """The limits of the create hold then. What open batches and untold costs hold counts, and a cancel frees it."""
    behind.keys[HASH]["metadata"] = {"batch_enqueued_token_limit": 3000}
    gateway.start()
    assert ask_behind(gateway)["object"] == "chat.completion"
    sandbox.control.options("openai", run_seconds=600)
    file_id = gateway.upload(jsonl([limited(2000)]))
    first = gateway.create(file_id)["id"]
    gateway.until(first, {"in_progress"})
    [error] = gateway.until(gateway.create(file_id, metadata={"n": "2"})["id"])["errors"]["data"]
    assert error["code"] == "token_limit_exceeded"
    assert "in 1 open batches, and this batch is estimated to need 2,0" in error["message"]
    gateway.call("POST", f"/batches/{first}/cancel")
    assert gateway.until(first)["status"] == "cancelled"
    sandbox.control.options("openai", **QUICK["openai"])

    behind.kill()
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask_behind(gateway)
    assert refused.value.code == 502
    assert json.load(refused.value)["error"] == {
        "message": "The upstream of this gateway did not answer.",
        "type": "server_error",
        "param": None,
        "code": "upstream_failed",
    }
    second = gateway.create(file_id, metadata={"n": "3"})["id"]
    assert gateway.until(second)["status"] == "completed"
    behind.start()
    assert ask_behind(gateway)["object"] == "chat.completion"
    until(lambda: [each["id"] for each in behind.reports] == [second], gateway.tail)
    gateway.until_event(lambda log: "spend_told" in log)
    assert ask(gateway, "SELECT batch_id, state FROM charges ORDER BY rowid") == [(first, "nothing"), (second, "told")]


def ask_behind(gateway: Gateway) -> dict[str, Any]:
    """Ask for a chat of LiteLLM's: a call that names no account of ours."""
    body, headers = b'{"model": "gpt", "messages": []}', {"x-portkey-api-key": VIRTUAL}
    asked = urllib.request.Request(f"{gateway.url}/chat/completions", body, headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def limited(tokens: int) -> dict[str, Any]:
    """Return a line whose answer may have so many tokens."""
    [line] = chat_lines(1)
    line["body"]["max_tokens"] = tokens
    return line
