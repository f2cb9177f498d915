"""What batches cost, by line, job, batch, workspace and virtual key: each answered line once, whatever is killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.costs.tally import MODELS_KEPT, OTHERS, Tally, total
from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import ask
from tests.support.cli_batch import Cli
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, MAY_READ_METRICS, Gateway, GatewayGone
from tests.support.stand_ins import QUICK
from tests.support.waiting import until

SECOND = "key-of-a-second-workspace"
NANO, MINI, HAIKU, SONNET = "gpt-4.1-nano", "gpt-4.1-mini", "claude-haiku-4-5-20251001", "claude-sonnet-4-5"
ALIAS = "claude-haiku-4-5"  # HAIKU answers it
UNLISTED = "gpt-of-nobody"
MILLION = 1_000_000
PRICES = {  # US dollars for a million tokens in and out, half of the list prices of OpenAI and Anthropic, 2026-11
    NANO: (0.05, 0.20),
    MINI: (0.20, 0.80),
    HAIKU: (0.50, 2.50),
    SONNET: (1.50, 7.50),
}
OF_OPENAI = {"id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window", "status"} | {
    *("output_file_id", "error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at"),
    *("failed_at", "expired_at", "cancelling_at", "cancelled_at", "request_counts", "usage", "metadata"),
}


class Accounts(Gateway):
    """A gateway whose batches name their account themselves, and which is asked what they cost."""

    def run(self, lines: list[dict[str, Any]], **headers: str) -> dict[str, Any]:
        """Run a batch to its end and return it with its jobs."""
        asked = {"x-portkey-virtual-key": ""} | {name.replace("_", "-"): text for name, text in headers.items()}
        body = {"input_file_id": self.upload_as(jsonl(lines), asked), "endpoint": "/v1/chat/completions"}
        batch_id = self.call("POST", "/batches", body, headers=asked)["id"]
        return self.ended(batch_id, asked)

    def upload_as(self, content: bytes, headers: Mapping[str, str]) -> str:
        head = '--e\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--e\r\nContent-Disposition: '
        data = head.encode() + b'form-data; name="file"; filename="f"\r\n\r\n' + content + b"\r\n--e--\r\n"
        kind = {"content-type": "multipart/form-data; boundary=e"}
        return str(self.call("POST", "/files", data, headers=dict(headers) | kind)["id"])

    def ended(self, batch_id: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            batch = self.call("GET", f"/batches/{batch_id}?include=jobs", headers=headers)
            return dict(batch) if batch["status"] in ENDS else None

        return until(ended, self.tail) or {}

    def counter(self, name: str) -> dict[tuple[str, str], float]:
        """Return a counter of /metrics by workspace and virtual key. It is up to two seconds old."""
        lines = self.call("GET", "/metrics", root=True, headers=MAY_READ_METRICS).decode().splitlines()
        head = f'proxy_plugin_{name}{{workspace="'
        found = [line.removeprefix(head).split('"') for line in lines if line.startswith(head)]
        return {(parts[0], parts[2]): float(parts[3].removeprefix("} ")) for parts in found}

    def until_counter(self, name: str, values: Mapping[tuple[str, str], float]) -> None:
        until(lambda: self.counter(name) == pytest.approx(values), lambda: self.counter(name))


@pytest.fixture
def gateway(sandbox: Sandbox, tmp_path: Path) -> Iterator[Accounts]:
    def account(provider: str) -> dict[str, Any]:
        host = sandbox.url(provider)
        return {"provider": provider, "api_key": "sk-sandbox", "custom_host": host, "settle_seconds": 0.5}

    keys, second = {"oa": account("openai"), "cl": account("anthropic")}, {"key": SECOND, "workspace": "second"}
    hosts = {"custom_hosts": ["127.0.0.1"]}
    made = Accounts(tmp_path, keys, api_keys=[{"name": "others", **second}], server=hosts)
    made.start()
    yield made
    made.close()


def lines_of(slug: str, model: str, *texts: str) -> list[dict[str, Any]]:
    lines = chat_lines(len(texts), tag=f"{slug} {model}", marker=dict(enumerate(texts)), model=f"@{slug}/{model}")
    for line in lines:
        line["body"]["max_tokens"] = 100
    return lines


def price_of(row: Mapping[str, Any]) -> float:
    """Return what an output row cost, from what its client can read in it."""
    body = row["response"]["body"]
    price_in, price_out = PRICES[body["model"]]
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    return float(body["usage"]["prompt_tokens"] * price_in + body["usage"]["completion_tokens"] * price_out) / MILLION


def rows_by_model(gateway: Gateway, batch: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in gateway.rows(batch["output_file_id"]):
        found.setdefault(row["response"]["body"]["model"], []).append(row)
    return found


def tokens(rows: list[dict[str, Any]]) -> tuple[int, int]:
    used = [row["response"]["body"]["usage"] for row in rows]
    return sum(each["prompt_tokens"] for each in used), sum(each["completion_tokens"] for each in used)


def shown(usage: Mapping[str, int]) -> tuple[int, int]:
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    return usage["input_tokens"], usage["output_tokens"]


TWICE, WRONG, NEVER = "[[sandbox:duplicate]]", "[[sandbox:error=400]]", "[[sandbox:missing]]"
MIXED = [
    *lines_of("oa", NANO, "", TWICE, WRONG, NEVER, "x" * 900),
    *lines_of("oa", MINI, TWICE, ""),
    *lines_of("oa", UNLISTED, "", ""),
    *lines_of("cl", ALIAS, "", TWICE, WRONG),
    *lines_of("cl", SONNET, "", NEVER),
]


def test_jobs_batch_and_lines_cost_what_their_answers_cost_each_once(gateway: Accounts) -> None:
    batch = gateway.run(MIXED)
    rows = rows_by_model(gateway, batch)
    assert {model: len(found) for model, found in rows.items()} == {NANO: 3, MINI: 2, UNLISTED: 2, HAIKU: 2, SONNET: 1}
    cost = {model: sum(map(price_of, found)) for model, found in rows.items() if model != UNLISTED}
    jobs = {job.get("model", "claudes"): job for job in batch["jobs"]}
    assert jobs.keys() == {NANO, MINI, UNLISTED, "claudes"}
    for model in (NANO, MINI):
        assert jobs[model]["cost"] == pytest.approx(cost[model])
        assert "cost_unknown_lines" not in jobs[model]
        assert "models" not in jobs[model]
    assert jobs[NANO]["request_counts"] == {"total": 5, "completed": 3, "failed": 2}
    assert ("cost" in jobs[UNLISTED], jobs[UNLISTED]["cost_unknown_lines"]) == (False, 2)
    assert jobs["claudes"]["cost"] == pytest.approx(cost[HAIKU] + cost[SONNET])
    assert [
        (each["model"], each["completed"], each["cost"], shown(each["usage"])) for each in jobs["claudes"]["models"]
    ] == [(model, len(rows[model]), pytest.approx(cost[model]), tokens(rows[model])) for model in (HAIKU, SONNET)]
    assert (batch["cost"], batch["cost_unknown_lines"]) == (pytest.approx(sum(cost.values())), 2)
    every = [row for found in rows.values() for row in found]
    assert shown(batch["usage"]) == tokens(every)
    assert shown(batch["usage"]) == tuple(map(sum, zip(*(shown(job["usage"]) for job in batch["jobs"]), strict=True)))
    plain = gateway.batch(batch["id"])
    assert plain.keys() <= OF_OPENAI
    assert plain["usage"] == batch["usage"]
    ledger = {line["custom_id"]: line.get("cost") for line in map(json.loads, lines(gateway, batch))}
    priced = [row for row in every if row["response"]["body"]["model"] != UNLISTED]
    assert {key: value for key, value in ledger.items() if value is not None} == {
        row["custom_id"]: pytest.approx(price_of(row)) for row in priced
    }
    assert len(ledger) == len(MIXED)


def lines(gateway: Gateway, batch: Mapping[str, Any]) -> list[bytes]:
    content = gateway.call("GET", f"/batches/{batch['id']}/lines")
    assert isinstance(content, bytes)
    return content.splitlines()


def test_tokens_of_an_answer_that_came_twice_are_not_shown_twice_before_the_end(
    gateway: Accounts, sandbox: Sandbox
) -> None:
    sandbox.control.options("anthropic", run_seconds=600.0)
    file_id = gateway.upload(jsonl([*lines_of("oa", NANO, TWICE, ""), *lines_of("cl", ALIAS, "")]))
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}
    batch_id = gateway.call("POST", "/batches", body, headers={"x-portkey-virtual-key": ""})["id"]
    path = f"/batches/{batch_id}?include=jobs"
    until(lambda: '"usage"' in json.dumps(gateway.call("GET", path)), gateway.tail)
    early = gateway.call("GET", path)
    assert "cost" not in early
    sandbox.control.options("anthropic", **QUICK["anthropic"])
    sandbox.control.advance(601)
    batch = gateway.ended(batch_id)
    assert shown(early["jobs"][0]["usage"]) == tokens(rows_by_model(gateway, batch)[NANO])


def test_a_batch_without_an_answer_costs_nothing_that_is_known(gateway: Accounts) -> None:
    batch = gateway.run(lines_of("oa", NANO, WRONG, NEVER))
    assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
    for shown_object in (batch, *batch["jobs"]):
        assert {"cost", "cost_unknown_lines"}.isdisjoint(shown_object)


def test_counters_add_up_by_workspace_and_virtual_key_and_never_fall(gateway: Accounts) -> None:
    first = gateway.run(MIXED)
    second = gateway.run(lines_of("cl", ALIAS, "", TWICE))
    other = gateway.run(lines_of("oa", NANO, "", ""), x_portkey_api_key=SECOND)
    claudes = next(job for job in first["jobs"] if job["virtual_key"] == "cl")
    cost = {
        ("default", "oa"): first["cost"] - claudes["cost"],
        ("default", "cl"): claudes["cost"] + second["cost"],
        ("second", "oa"): other["cost"],
    }
    gateway.until_counter("cost_usd_total", cost)
    assert gateway.counter("cost_unknown_lines_total")["default", "oa"] == 2
    assert gateway.counter("answered_lines_total") == {
        ("default", "oa"): 7,
        ("default", "cl"): 5,
        ("second", "oa"): 2,
    }
    assert gateway.counter("output_tokens_total")["second", "oa"] == other["usage"]["output_tokens"]
    sent = gateway.counter("input_tokens_total")
    assert sent["default", "oa"] + sent["default", "cl"] == sum(
        each["usage"]["input_tokens"] for each in (first, second)
    )
    for name in ("output_file_id", "error_file_id", "input_file_id"):
        gateway.call("DELETE", f"/files/{first[name]}")
    gateway.kill()
    gateway.start()
    assert gateway.counter("cost_usd_total") == pytest.approx(cost)


def test_a_key_that_a_caller_brought_is_no_label(gateway: Accounts, sandbox: Sandbox) -> None:
    batch = gateway.run(
        [line | {"body": line["body"] | {"model": NANO}} for line in lines_of("oa", NANO, "", "")],
        x_portkey_provider="openai",
        x_portkey_custom_host=sandbox.url("openai"),
        Authorization="Bearer sk-sandbox",
    )
    assert batch["jobs"][0]["virtual_key"] not in ("oa", "cl")
    gateway.until_counter("cost_usd_total", {("default", "(other)"): batch["cost"]})


@pytest.mark.parametrize("point", ["merge.acted", "merge.published", "merge.after"])
def test_a_kill_around_the_commit_counts_costs_once(gateway: Accounts, point: str) -> None:
    gateway.kill()
    gateway.start(fail=f"{point}:1")
    with suppress(GatewayGone):  # one that dies after the commit may be seen to have ended
        gateway.run([*lines_of("oa", NANO, "", TWICE), *lines_of("cl", ALIAS, "")])
    assert gateway.process is not None
    assert gateway.process.wait(20) == -signal.SIGKILL
    committed = ask(gateway, "SELECT COUNT(*) FROM spending")[0][0]
    assert committed == (2 if point == "merge.after" else 0)
    gateway.start()
    batch = gateway.ended(ask(gateway, "SELECT id FROM batches")[0][0])
    rows = rows_by_model(gateway, batch)
    cost = {model: sum(map(price_of, found)) for model, found in rows.items()}
    assert (len(rows[NANO]), len(rows[HAIKU]), batch["cost"]) == (2, 1, pytest.approx(sum(cost.values())))
    gateway.until_counter("cost_usd_total", {("default", "oa"): cost[NANO], ("default", "cl"): cost[HAIKU]})
    assert gateway.counter("answered_lines_total") == {("default", "oa"): 2, ("default", "cl"): 1}


def test_the_command_shows_tokens_and_cost_of_each_job(gateway: Accounts) -> None:
    batch = gateway.run([*lines_of("oa", MINI, "x" * 4000), *lines_of("oa", UNLISTED, "", "")])
    done = Cli(gateway.url).run("status", batch["id"])
    assert done.returncode == 0, done
    mini = next(line for line in done.stdout.splitlines() if MINI in line).split("\t")
    job = batch["jobs"][0]
    assert {str(job["usage"]["input_tokens"]), str(job["usage"]["output_tokens"]), str(job["cost"])} <= {*mini}
    assert job["cost"] > 0.0001
    assert {f"cost\t{batch['cost']}", "lines without a price\t2"} <= {*done.stdout.splitlines()}
    assert next(line for line in done.stdout.splitlines() if UNLISTED in line).endswith("\t")
    assert Cli(gateway.url).json("status", batch["id"]) == batch


# ---- counting ----


def test_a_dated_name_that_is_not_listed_has_the_price_of_the_model_that_was_asked_for() -> None:
    tally = Tally()
    tokens = Usage(input_tokens=MILLION, output_tokens=MILLION)
    assert tally.add(0, "openai", NANO, f"{NANO}-2099-01-01", tokens) == pytest.approx(0.25)
    assert tally.add(0, "openai", NANO, MINI, tokens) == pytest.approx(
        1.0
    )  # the one that answered is the one that is billed
    assert tally.add(0, "openai", None, f"{NANO}-2099-01-01x", tokens) is None
    assert tally.add(0, "not-registered", NANO, NANO, tokens) is None
    assert total(tally.spent()).cost == pytest.approx(1.25)


def test_lines_without_usage_or_with_nonsense_have_no_price_and_fit_into_the_registry() -> None:
    tally = Tally()
    assert tally.add(0, "openai", NANO, NANO, None) is None
    assert tally.add(1, "openai", NANO, NANO, Usage(input_tokens=10**400)) is None
    assert tally.add(2, "openai", NANO, NANO, Usage(input_tokens=1, cached_tokens=MILLION)) == pytest.approx(0.0125)
    none, nonsense, odd = tally.spent()
    assert [(each.lines, each.unpriced, each.cost) for each in (none, nonsense)] == [(1, 1, None)] * 2
    assert (none.input_tokens, nonsense.input_tokens < 2**63, odd.unpriced) == (0, True, 0)


def test_models_beyond_the_first_of_a_part_are_summed_up_under_no_name() -> None:
    tally = Tally()
    for n in range(10_000):
        tally.add(0, "openai", None, f"model-{n}", Usage(input_tokens=1))
    assert tally.add(0, "openai", None, NANO, Usage(input_tokens=MILLION)) == pytest.approx(0.05)
    found = tally.spent()
    assert len(found) == MODELS_KEPT + 1
    others = next(each for each in found if each.model == OTHERS)
    assert (others.lines, others.unpriced) == (10_001 - MODELS_KEPT, 10_000 - MODELS_KEPT)
    assert others.cost == pytest.approx(0.05)
    assert total(found).lines == 10_001
