"""One file over eight targets of two providers: one batch, jobs at every account, one output in input order."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers, check_paid_once, code_of
from tests.support.lines import jsonl
from tests.support.stack import Gateway

COUNT = 12_000
ACCOUNTS = ("red", "green", "blue", "yellow", "north", "south", "east")
NANO, MINI, HAIKU, SONNET = "gpt-4.1-nano", "gpt-4.1-mini", "claude-haiku-4-5", "claude-sonnet-4-5"
TARGETS: Sequence[tuple[str, str, str]] = (  # what the line says, the slug and the model that it comes to
    (f"@red/{NANO}", "red", NANO),
    (f"@red/{MINI}", "red", MINI),
    (f"@green/{NANO}", "green", NANO),
    ("cheap", "model-cheap", MINI),
    (f"@north/{HAIKU}", "north", HAIKU),
    (f"@north/{SONNET}", "north", SONNET),
    (f"@south/{HAIKU}", "south", HAIKU),
    ("house/claude-haiku-4-5", "model-house-any", HAIKU),
)


class ManyAccounts(Gateway):
    """A gateway with an account of its own for every slug of TARGETS."""

    def start_batch(
        self,
        lines: Sequence[Mapping[str, Any]],
        headers: Mapping[str, str],
        endpoint: object = "/v1/chat/completions",
    ) -> str:
        """Upload and create a batch with these headers and no virtual key; return its id."""
        asked = {"x-portkey-virtual-key": "", **headers}
        body = {"input_file_id": self.upload(jsonl(lines)), "endpoint": endpoint}
        return str(self.call("POST", "/batches", body, headers=asked)["id"])

    def ledger(self, batch_id: str) -> list[dict[str, Any]]:
        content = self.call("GET", f"/batches/{batch_id}/lines")
        return [json.loads(line) for line in content.splitlines()]


pytestmark = pytest.mark.sandbox(
    keys=[f"{account}=sk-{account}" for account in ACCOUNTS],
    options={name: {"answers": "echo", "run_seconds": 0.1} for name in ("openai", "anthropic")},
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[ManyAccounts]:
    def account(provider: str, name: str) -> dict[str, Any]:
        host = sandbox.url(provider)
        return {"provider": provider, "api_key": f"sk-{name}", "custom_host": host, "settle_seconds": 0.5}

    def model(name: str, model: str, account: str, provider: str) -> dict[str, Any]:
        params = {"model": model, "api_key": f"sk-{account}", "api_base": sandbox.url(provider), "rpm": 10}
        return {"model_name": name, "litellm_params": params}

    keys = {name: account("openai", name) for name in ("red", "green")}
    keys |= {name: account("anthropic", name) for name in ("north", "south")}
    models = [
        model("cheap", f"openai/{MINI}", "blue", "openai"),
        model("house/*", "anthropic/*", "east", "anthropic"),
        {"model_name": "local", "litellm_params": {"model": "no-such-service/llama3"}},
    ]
    made = ManyAccounts(tmp_path_factory.mktemp("many"), keys, litellm={"model_list": models})
    made.start()
    yield made
    made.close()


def lines_for(count: int) -> list[dict[str, Any]]:
    """Return lines that take turns at the targets, in an order with no simple period."""
    return [
        {
            "custom_id": f"é/{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": TARGETS[turn(n)][0],
                "messages": [{"role": "user", "content": f"Say {n}"}],
                "max_tokens": 100,
            },
        }
        for n in range(count)
    ]


def turn(n: int) -> int:
    return (n * 7 + n // 5) % 8


def goes_to(n: int) -> tuple[str, str]:
    return TARGETS[turn(n)][1:]


def undated(model: str) -> str:
    """Return what was asked for, of a model that answers with its full name."""
    return re.sub(r"-20\d{6}$", "", model)


def test_one_file_over_eight_targets_is_one_batch(gateway: ManyAccounts, sandbox: Sandbox) -> None:
    lines = lines_for(COUNT)
    batch_id = gateway.start_batch(lines, {})
    batch = gateway.until(batch_id)
    assert batch["status"] == "completed"
    check_answers(gateway, batch, lines, style="echo")
    check_paid_once(sandbox, lines)
    jobs = Counter(job["account"] for job in sandbox.control.jobs())
    assert jobs == {"red": 2, "green": 1, "blue": 1, "north": 1, "south": 1, "east": 1}
    ledger = gateway.ledger(batch_id)
    assert [(row["virtual_key"], undated(row["model"])) for row in ledger] == [goes_to(n) for n in range(COUNT)]
    rows = gateway.rows(batch["output_file_id"])
    assert [undated(row["response"]["body"]["model"]) for row in rows] == [goes_to(n)[1] for n in range(COUNT)]
    spent = [row["response"]["body"]["usage"] for row in rows]
    assert batch["usage"]["input_tokens"] == sum(each["prompt_tokens"] for each in spent)
    assert batch["usage"]["output_tokens"] == sum(each["completion_tokens"] for each in spent)
    assert batch["usage"]["input_tokens"] >= COUNT


def test_an_account_that_refuses_everything_takes_nothing_from_the_others(
    gateway: ManyAccounts, sandbox: Sandbox
) -> None:
    refusal = {"status": 400, "code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached."}
    sandbox.control.faults([{"kind": "status", "on": "batches.create", "account": "green", "times": None, **refusal}])
    lines = lines_for(COUNT)
    refused = [n for n in range(COUNT) if goes_to(n)[0] == "green"]
    batch_id = gateway.start_batch(lines, {})
    batch = gateway.until(batch_id)
    counts = {"total": COUNT, "completed": COUNT - len(refused), "failed": len(refused)}
    assert (batch["status"], batch["request_counts"]) == ("completed", counts)
    errors = gateway.rows(batch["error_file_id"])
    assert [row["custom_id"] for row in errors] == [f"é/{n}" for n in refused]
    reasons = {json.dumps(row["response"]["body"]["error"], sort_keys=True) for row in errors}
    [reason] = map(json.loads, reasons)
    assert (reason["code"], reason["message"]) == (refusal["code"], refusal["message"])
    rows = gateway.rows(batch["output_file_id"])
    assert [row["custom_id"] for row in rows] == [f"é/{n}" for n in range(COUNT) if goes_to(n)[0] != "green"]
    assert Counter(row["outcome"] for row in gateway.ledger(batch_id)) == {
        "succeeded": COUNT - len(refused),
        "refused": len(refused),
    }


def test_lines_that_name_nothing_usable_are_errors_by_name_and_the_rest_runs(
    gateway: ManyAccounts, sandbox: Sandbox
) -> None:
    wrong = {
        "local": "no_batch_lane",
        "@nobody/gpt-4.1-nano": "invalid_virtual_key",
        "gpt-4.1-nano": "model_not_found",
        "@model-cheap/gpt-5": "model_not_allowed",
    }
    lines = lines_for(8)
    for line, model in zip(lines, wrong, strict=False):
        line["body"]["model"] = model
    batch_id = gateway.start_batch(lines, {})
    batch = gateway.until(batch_id)
    assert batch["request_counts"] == {"total": 8, "completed": 4, "failed": 4}
    found = [code_of(row) for row in gateway.rows(batch["error_file_id"])]
    assert found == list(wrong.values())
    told = [(row["outcome"], row.get("code"), row["provider"]) for row in gateway.ledger(batch_id)[:4]]
    providers = ["no-such-service", "", "", "openai"]
    assert told == [("rejected", code, name) for code, name in zip(wrong.values(), providers, strict=True)]
    assert "nobody" not in gateway.log.read_text()


def test_a_config_shares_out_a_file_and_changes_its_bodies(gateway: ManyAccounts, sandbox: Sandbox) -> None:
    config = {
        "strategy": {"mode": "loadbalance"},
        "override_params": {"max_tokens": 7},
        "targets": [
            {"virtual_key": "red", "weight": 3, "override_params": {"model": MINI}},
            {"provider": f"@south/{HAIKU}", "weight": 1},
        ],
    }
    lines = lines_for(400)
    for line in lines:
        line["body"]["messages"][0]["content"] += " [[sandbox:length=400]]"
    batch_id = gateway.start_batch(lines, {"x-portkey-config": json.dumps(config)})
    batch = gateway.until(batch_id)
    assert batch["request_counts"] == {"total": 400, "completed": 400, "failed": 0}
    shares = Counter((row["virtual_key"], undated(row["model"])) for row in gateway.ledger(batch_id))
    assert shares.keys() == {("red", MINI), ("south", HAIKU)}
    assert abs(shares["red", MINI] - 300) <= 2
    rows = gateway.rows(batch["output_file_id"])
    assert [row["custom_id"] for row in rows] == [line["custom_id"] for line in lines]
    answers = [row["response"]["body"] for row in rows]
    assert {each["choices"][0]["finish_reason"] for each in answers} == {"length"}
    assert {each["usage"]["completion_tokens"] for each in answers} == {7}


def test_a_strict_route_fails_the_batch_and_sends_nothing(gateway: ManyAccounts, sandbox: Sandbox) -> None:
    config = {"strict": True, "strategy": {"mode": "single"}, "targets": [{"virtual_key": "north"}]}
    lines = lines_for(300)
    for n, line in enumerate(lines):
        line["body"] |= {"model": HAIKU, **({"logit_bias": {"5": n}} if n % 2 else {})}
    batch = gateway.until(gateway.start_batch(lines, {"x-portkey-config": json.dumps(config)}))
    faults = batch["errors"]["data"]
    assert (batch["status"], len(faults)) == ("failed", 100)
    assert [fault["line"] for fault in faults] == list(range(2, 202, 2))
    assert {(fault["code"], fault["param"]) for fault in faults} == {("unsupported_parameter", "logit_bias")}
    assert sandbox.control.log() == []


def embedding(n: int) -> dict[str, Any]:
    body = {"model": "@red/text-embedding-3-small", "input": f"text {n}"}
    return {"custom_id": f"embedding {n}", "method": "POST", "url": "/v1/embeddings", "body": body}


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [("auto", "auto"), (["/v1/chat/completions", "/v1/embeddings"], "/v1/chat/completions,/v1/embeddings")],
)
def test_one_file_may_mix_endpoints(gateway: ManyAccounts, sandbox: Sandbox, endpoint: object, shown: str) -> None:
    lines = [line if n % 3 else embedding(n) for n, line in enumerate(lines_for(30))]
    batch_id = gateway.start_batch(lines, {}, endpoint=endpoint)
    batch = gateway.until(batch_id)
    assert (batch["endpoint"], batch["status"]) == (shown, "completed")
    assert batch["request_counts"] == {"total": 30, "completed": 30, "failed": 0}
    rows = gateway.rows(batch["output_file_id"])
    kinds = ["list" if n % 3 == 0 else "chat.completion" for n in range(30)]
    assert [row["response"]["body"]["object"] for row in rows] == kinds
    jobs = gateway.call("GET", f"/batches/{batch_id}?include=jobs")["jobs"]
    assert Counter(job["endpoint"] for job in jobs)["/v1/embeddings"] == 1
    assert {job["endpoint"] for job in jobs} == {"/v1/chat/completions", "/v1/embeddings"}


def test_a_line_of_another_endpoint_is_a_fault_of_the_file(gateway: ManyAccounts) -> None:
    lines = [*lines_for(2), embedding(2), {**embedding(3), "url": "/v1/audio/speech"}]
    for endpoint, wrong in (("/v1/chat/completions", [3, 4]), ("auto", [4])):
        batch = gateway.until(gateway.start_batch(lines, {}, endpoint=endpoint))
        assert batch["status"] == "failed"
        assert [(fault["code"], fault["line"]) for fault in batch["errors"]["data"]] == [
            ("invalid_url", line) for line in wrong
        ]
