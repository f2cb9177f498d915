"""Shares by weight, end to end: 10,000 lines over two accounts, and the same shares on a second run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_paid_once
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway

COUNT = 10_000
MODELS = {"red": "gpt-4.1-nano", "north": "claude-haiku-4-5"}
CONFIG = {
    "strategy": {"mode": "loadbalance"},
    "targets": [
        {"virtual_key": "red", "weight": 0.7},
        {"virtual_key": "north", "weight": 0.3, "override_params": {"model": MODELS["north"]}},
    ],
}
PROVIDERS = {"red": "openai", "north": "anthropic"}


pytestmark = pytest.mark.sandbox(
    keys=[f"{slug}=sk-{slug}" for slug in PROVIDERS],
    options={name: {"answers": "echo", "run_seconds": 0.1} for name in PROVIDERS.values()},
)


@pytest.fixture
def gateway(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    keys = {
        slug: {"provider": name, "api_key": f"sk-{slug}", "custom_host": sandbox.url(name), "settle_seconds": 0.5}
        for slug, name in PROVIDERS.items()
    }
    made = Gateway(tmp_path, keys)
    made.start()
    yield made
    made.close()


def run(gateway: Gateway, file_id: str) -> dict[str, Any]:
    """Create a batch of a file with the config of this module and return it when it has ended."""
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    headers = {"x-portkey-virtual-key": "", "x-portkey-config": json.dumps(CONFIG)}
    return gateway.until(gateway.call("POST", "/batches", body, headers=headers)["id"])


def places(gateway: Gateway, batch: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the id of each line and where it went, as the ledger has them."""
    ledger = map(json.loads, gateway.call("GET", f"/batches/{batch['id']}/lines").splitlines())
    return [(row["custom_id"], row["virtual_key"]) for row in ledger]


def ran(sandbox: Sandbox) -> Counter[str]:
    """Return how many lines each account has run, by the stand-ins' own records."""
    counts = Counter[str]()
    for job in sandbox.control.jobs():
        counts[job["account"]] += job["lines_run"]
    return counts


def test_a_file_is_shared_out_by_weight_and_again_in_the_same_way(gateway: Gateway, sandbox: Sandbox) -> None:
    lines = chat_lines(COUNT, model=MODELS["red"])
    file_id = gateway.upload(jsonl(lines))
    first = run(gateway, file_id)
    assert first["request_counts"] == {"total": COUNT, "completed": COUNT, "failed": 0}
    where = places(gateway, first)
    assert [custom_id for custom_id, _ in where] == [line["custom_id"] for line in lines]
    shares = Counter(slug for _, slug in where)
    assert abs(shares["red"] - 0.7 * COUNT) <= 0.01 * COUNT
    assert shares["red"] + shares["north"] == COUNT
    assert ran(sandbox) == shares
    check_paid_once(sandbox, lines)
    rows = gateway.rows(first["output_file_id"])
    answered = [row["response"]["body"]["model"] for row in rows]
    assert all(model.startswith(MODELS[slug]) for model, (_, slug) in zip(answered, where, strict=True))
    assert places(gateway, run(gateway, file_id)) == where
    assert ran(sandbox) == shares + shares
