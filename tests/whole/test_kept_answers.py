"""A file that is asked a second time, with the cache on: the same bytes, no job, nothing to pay; whatever is killed."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import Gateway, GatewayGone, lane
from tests.support.waiting import until

SECOND = "key-of-another-workspace"
KEPT = {"x-portkey-config": "pc-kept", "x-portkey-virtual-key": ""}
UNSAID = {"x-portkey-config": ""}  # the route of the batch that is tried again
EQUAL = [line | {"custom_id": f"equal {n}"} for n, line in enumerate(chat_lines(1, tag="equal") * 5)]


@pytest.fixture
def gateway(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    configs = {"pc-kept": {"virtual_key": "lane", "cache": {"mode": "simple", "max_age": 3600}}}
    other = {"name": "second", "key": SECOND, "workspace": "other"}
    made = Gateway(tmp_path, {"lane": lane(sandbox)}, configs=configs, api_keys=[other], asks=KEPT)
    made.start()
    yield made
    made.close()


def run(gateway: Gateway, lines: list[dict[str, Any]], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    asks, gateway.asks = gateway.asks, gateway.asks | dict(headers or {})
    try:
        return gateway.until(gateway.create(gateway.upload(jsonl(lines)))["id"])
    finally:
        gateway.asks = asks


def output(gateway: Gateway, batch: Mapping[str, Any]) -> bytes:
    return bytes(gateway.call("GET", f"/files/{batch['output_file_id']}/content"))


def ledger(gateway: Gateway, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.call("GET", f"/batches/{batch['id']}/lines").splitlines()]


def made_by(sandbox: Sandbox) -> int:
    return len(sandbox.control.jobs())


def test_the_second_time_there_is_no_job_the_same_bytes_and_nothing_to_pay(gateway: Gateway, sandbox: Sandbox) -> None:
    lines = [*chat_lines(7, tag=gateway.home.name), *EQUAL]
    first, jobs = run(gateway, lines), made_by(sandbox)
    check_answers(gateway, first, lines)
    assert len({row["response"]["body"]["id"] for row in gateway.rows(first["output_file_id"])}) == len(lines)
    wanted = {"input_file_id": gateway.upload(jsonl(lines)), "endpoint": gateway.endpoint, "completion_window": "24h"}
    plan = gateway.call("POST", "/batches/plan", wanted)
    assert (plan["cached"], plan["jobs"], plan["targets"], plan["estimated_cost"]) == (12, 0, [], 0.0)
    assert plan["request_counts"] == {"total": 12, "valid": 12, "rejected": 0}
    again = run(gateway, lines)
    assert output(gateway, again) == output(gateway, first)
    assert made_by(sandbox) == jobs
    assert (again["status"], again["request_counts"]) == ("completed", {"total": 12, "completed": 12, "failed": 0})
    assert again["usage"]["total_tokens"] == 0
    told = gateway.call("GET", f"/batches/{again['id']}?include=jobs")
    assert told["jobs"] == []
    assert {(row["cached"], row["cost"], row["outcome"]) for row in ledger(gateway, again)} == {
        (True, 0.0, "succeeded")
    }
    until(lambda: cache_counts(gateway).get("cache_hits_total") == 12, "the counts")
    counted = cache_counts(gateway)
    assert counted["cache_misses_total"] == 12
    assert counted["cache_hit_bytes_total"] > 1_000


def cache_counts(gateway: Gateway) -> dict[str, int]:
    found = {name: value for name, value in gateway.samples().items() if "cache_" in name}
    return {name.partition("{")[0].removeprefix("proxy_plugin_"): value for name, value in found.items()}


def test_a_retry_of_one_of_equal_lines_has_its_own_answer_or_a_new_one(gateway: Gateway, sandbox: Sandbox) -> None:
    lines = [line | {"body": line["body"] | {"user": gateway.home.name}} for line in EQUAL]
    first, jobs = run(gateway, lines), made_by(sandbox)
    body = {"lines": [2, 4]}
    again = gateway.until(gateway.call("POST", f"/batches/{first['id']}/retry", body, headers=UNSAID)["id"])
    assert made_by(sandbox) == jobs
    answers = {row["custom_id"]: row["response"] for row in gateway.rows(first["output_file_id"])}
    given = {row["custom_id"]: row["response"] for row in gateway.rows(again["output_file_id"])}
    assert given == {name: answers[name] for name in ("equal 1", "equal 3")}
    fresh = UNSAID | {"x-portkey-cache-force-refresh": "true"}
    anew = gateway.until(gateway.call("POST", f"/batches/{first['id']}/retry", body, headers=fresh)["id"])
    assert made_by(sandbox) == jobs + 1
    assert not {row["response"]["request_id"] for row in gateway.rows(anew["output_file_id"])} & {
        row["request_id"] for row in answers.values()
    }


def test_a_kill_of_a_retry_leaves_nothing_and_the_next_one_counts_on(gateway: Gateway, sandbox: Sandbox) -> None:
    lines = [line | {"body": line["body"] | {"user": gateway.home.name}} for line in EQUAL]
    first, jobs = run(gateway, lines), made_by(sandbox)
    gateway.close()
    gateway.start(fail="retry.adopted")
    with suppress(GatewayGone):
        gateway.call("POST", f"/batches/{first['id']}/retry", {"lines": [5]}, headers=UNSAID)
    until(lambda: not gateway.alive(), "the end of the gateway")
    assert len(list((gateway.data / "batches").iterdir())) == 2
    gateway.start()
    assert [each.name for each in (gateway.data / "batches").iterdir()] == [first["id"]]
    again = gateway.until(gateway.call("POST", f"/batches/{first['id']}/retry", {"lines": [5]}, headers=UNSAID)["id"])
    (row,) = gateway.rows(again["output_file_id"])
    assert row["response"] == gateway.rows(first["output_file_id"])[4]["response"]
    assert made_by(sandbox) == jobs


def test_headers_part_and_refresh_and_no_other_workspace_sees_it(gateway: Gateway, sandbox: Sandbox) -> None:
    lines = chat_lines(3, tag=gateway.home.name)
    first = run(gateway, lines)

    def asked_again(headers: Mapping[str, str]) -> tuple[bool, bool]:
        before = made_by(sandbox)
        batch = run(gateway, lines, headers)
        asked = gateway.call("GET", f"/files/{batch['output_file_id']}/content", headers=headers)
        return made_by(sandbox) > before, asked == output(gateway, first)

    assert asked_again({}) == (False, True)
    assert asked_again({"x-portkey-cache-namespace": "mine"}) == (True, False)
    assert asked_again({"x-portkey-config": '{"virtual_key": "lane"}'}) == (True, False)
    assert asked_again({"x-portkey-api-key": SECOND}) == (True, False)
    assert asked_again({}) == (False, True)
    assert asked_again({"x-portkey-cache-force-refresh": "true"}) == (True, False)
    assert asked_again({}) == (False, False), "what came anew has taken the place of the old"


def test_failed_lines_are_asked_again_beside_kept_ones(gateway: Gateway, sandbox: Sandbox) -> None:
    lines = chat_lines(5, tag=gateway.home.name, marker={1: "[[sandbox:error=400]]", 3: "[[sandbox:missing]]"})
    assert run(gateway, lines)["request_counts"]["failed"] == 2
    again = run(gateway, lines)
    assert again["request_counts"] == {"total": 5, "completed": 3, "failed": 2}
    assert [row.get("cached", False) for row in ledger(gateway, again)] == [True, False, True, False, True]
    check_answers(gateway, again, lines)


@pytest.mark.parametrize("damage", [lambda data: data[:5_000], lambda _: b"", lambda _: b"foreign " * 999])
def test_a_cut_or_foreign_cache_is_a_miss(gateway: Gateway, sandbox: Sandbox, damage: Any) -> None:
    lines = chat_lines(3, tag=gateway.home.name)
    run(gateway, lines)
    folder = gateway.data / "cache" / "answers"
    for beside in folder.glob("cache.db-*"):
        beside.unlink()
    (folder / "cache.db").write_bytes(damage((folder / "cache.db").read_bytes()))
    jobs = made_by(sandbox)
    check_answers(gateway, run(gateway, lines), lines)
    assert made_by(sandbox) == jobs + 1
    run(gateway, lines)
    assert run(gateway, lines)["usage"]["total_tokens"] == 0, "it was made anew"
    assert {path.stat().st_mode & 0o077 for path in (gateway.data / "cache").rglob("*")} == {0}


@pytest.mark.parametrize("point", ["split.acted", "merge.acted"])
def test_a_kill_loses_no_kept_answer_and_asks_for_none_twice(gateway: Gateway, sandbox: Sandbox, point: str) -> None:
    lines = [*chat_lines(4, tag=gateway.home.name), *EQUAL]
    first, jobs = run(gateway, lines), made_by(sandbox)
    gateway.close()
    gateway.start(fail=point)
    with suppress(GatewayGone, urllib.error.URLError):
        run(gateway, lines)
    until(lambda: not gateway.alive(), "the end of the gateway")
    gateway.start()
    (latest, *_) = gateway.call("GET", "/batches?limit=1")["data"]
    assert output(gateway, gateway.until(latest["id"])) == output(gateway, first)
    assert made_by(sandbox) == jobs


def test_two_gateways_do_not_share_a_cache(sandbox: Sandbox, tmp_path: Path) -> None:
    sections, homes = {"cache": {"dir": str(tmp_path / "shared")}}, (tmp_path / "one", tmp_path / "two")
    for home in homes:
        home.mkdir()
    first, second = (Gateway(home, {"lane": lane(sandbox)}, sections=sections) for home in homes)
    first.start()
    try:
        second.start(wait=False)
        until(lambda: not second.alive(), "the end of the second")
        assert "in use by another gateway" in second.log.read_text()
    finally:
        first.close()
        second.close()
