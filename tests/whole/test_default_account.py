"""A caller who can send no header: its API key's default takes what the lines do not place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, lane

HAIKU, NANO = "claude-haiku-4-5", "gpt-4.1-nano"
CALLERS = {"to one": "key-of-one-account", "to two": "key-of-two-accounts"}
TWO = {
    "strategy": {
        "mode": "conditional",
        "conditions": [{"query": {"params.model": {"$regex": "^claude"}}, "then": "north"}],
        "default": "lane",
    },
    "targets": [{"name": "north", "virtual_key": "north"}, {"name": "lane", "virtual_key": "lane"}],
}


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = {"lane": lane(sandbox), "north": lane(sandbox, provider="anthropic")}
    callers = [
        {"name": name, "key": key, "default": default}
        for (name, key), default in zip(CALLERS.items(), ("lane", "pc-two"), strict=True)
    ]
    made = Gateway(tmp_path_factory.mktemp("default"), keys, api_keys=callers, configs={"pc-two": TWO})
    made.start()
    yield made
    made.close()


def run(gateway: Gateway, name: str, models: list[str], marker: dict[int, str] | None = None) -> dict[str, Any]:
    """Run a batch as a client that sends its key alone."""
    gateway.asks = {"x-portkey-api-key": CALLERS[name], "x-portkey-virtual-key": ""}
    lines = chat_lines(len(models), marker=marker or {})
    for line, model in zip(lines, models, strict=True):
        line["body"]["model"] = model
    order = {"input_file_id": gateway.upload(jsonl(lines)), "endpoint": "/v1/chat/completions"}
    return gateway.until(gateway.call("POST", "/batches", order)["id"])


def where(gateway: Gateway, batch: dict[str, Any]) -> list[tuple[str, str]]:
    jobs = gateway.call("GET", f"/batches/{batch['id']}?include=jobs")["jobs"]
    return sorted((job["virtual_key"], job["status"]) for job in jobs)


def test_lines_that_name_no_account_go_to_the_default_and_the_others_where_they_say(gateway: Gateway) -> None:
    batch = run(gateway, "to one", [NANO, f"@north/{HAIKU}", NANO])
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert where(gateway, batch) == [("lane", "collected"), ("north", "collected")]


def test_a_default_config_chooses_among_its_accounts(gateway: Gateway) -> None:
    batch = run(gateway, "to two", [NANO, HAIKU, HAIKU])
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert where(gateway, batch) == [("lane", "collected"), ("north", "collected")]


def test_what_failed_is_retried_at_the_default(gateway: Gateway) -> None:
    batch = run(gateway, "to one", [NANO] * 3, {1: "[[sandbox:error=429]]"})
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    again = gateway.until(gateway.call("POST", f"/batches/{batch['id']}/retry", {})["id"])
    assert (again["request_counts"]["total"], where(gateway, again)) == (1, [("lane", "collected")])
