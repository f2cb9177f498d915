"""`POST /batches/plan`: what it tells, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.folders import below
from tests.support.lines import jsonl
from tests.support.stack import GatewayGone, lane
from tests.whole.plan.planning import CHAT, HAIKU, LINES, NANO, OTHER_KEY, Planning, line, sandbox, started

MINI = "gpt-4o-mini"  # $0.075 and $0.3 a million tokens in a batch
LANE = {"x-portkey-virtual-key": "lane"}
FOUR_HUNDRED = "word " * 80


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planning]:
    made = started(tmp_path_factory.mktemp("plan"), box)
    yield made
    made.close()


def config(**fields: Any) -> dict[str, str]:
    return LINES | {"x-portkey-config": json.dumps(fields)}


def traces(gateway: Planning, box: Sandbox) -> tuple[Any, ...]:
    """Return everything that a plan could have left: batches, folders, temporary files, calls of a provider."""
    folders = below(gateway.data / "batches", gateway.data / "tmp")
    return gateway.call("GET", "/batches")["data"], folders, box.control.requests()


def test_inline_requests_are_planned_like_the_same_lines_in_a_file(gateway: Planning, box: Sandbox) -> None:
    lines = [line(n, f"@lane/{MINI}", FOUR_HUNDRED) for n in range(7)]
    lines += [line(n + 7, f"@north/{HAIKU}", FOUR_HUNDRED, {"logit_bias": {"5": 1}}) for n in range(3)]
    of_a_file, before = gateway.planned(lines), traces(gateway, box)
    files = gateway.call("GET", "/files")["data"]
    assert gateway.plan_inline(lines) == of_a_file
    assert (traces(gateway, box), gateway.call("GET", "/files")["data"]) == (before, files)
    status, error = gateway.refused({"requests": lines, "input_file_id": "file-1", "endpoint": CHAT})
    assert (status, error["param"]) == (400, "input_file_id")


def test_targets_jobs_and_cost_of_a_file_over_two_lanes(gateway: Planning, box: Sandbox) -> None:
    lines = [line(n, f"@lane/{MINI}", FOUR_HUNDRED) for n in range(7)]
    lines += [line(n + 7, f"@north/{HAIKU}", FOUR_HUNDRED, {"max_tokens": 1_000}) for n in range(3)]
    before = traces(gateway, box)
    plan = gateway.planned(lines)
    assert traces(gateway, box) == before
    assert (plan["object"], plan["endpoint"], plan["would_fail"]) == ("batch.plan", CHAT, False)
    assert plan["request_counts"] == {"total": 10, "valid": 10, "rejected": 0}
    assert (plan["errors"], plan["refused"], plan["dropped"]) == ({"object": "list", "data": []}, [], [])
    mini, haiku = plan["targets"]
    assert mini.pop("bytes") > 7 * 400
    assert haiku.pop("bytes") > 3 * 400
    assert mini.pop("estimated_cost") == pytest.approx((700 * 0.075 + 70 * 0.3) / 1e6)
    assert haiku.pop("estimated_cost") == pytest.approx((300 * 0.5 + 3_000 * 2.5) / 1e6)
    assert mini == {
        "virtual_key": "lane",
        "provider": "openai",
        "model": MINI,
        "endpoint": CHAT,
        "lines": 7,
        "jobs": 3,
        "estimated_usage": {"input_tokens": 700, "output_tokens": 70},
    }
    assert (haiku["virtual_key"], haiku["provider"], haiku["model"]) == ("north", "anthropic", HAIKU)
    assert (haiku["lines"], haiku["jobs"]) == (3, 2)
    assert plan["jobs"] == 5
    assert plan["estimated_cost"] == pytest.approx(73.5e-6 + 7650e-6)
    assert any("29 days" in caveat for caveat in plan["caveats"])


def test_refused_and_dropped_parameters_are_told_by_line_and_in_sum(gateway: Planning) -> None:
    lines = [line(n, f"@north/{HAIKU}", more={"logit_bias": {"5": n}} if n % 2 else {}) for n in range(6)]
    plan = gateway.planned(lines)
    assert [(each["line"], each["code"], each["param"]) for each in plan["errors"]["data"]] == [
        (n, "unsupported_parameter", "logit_bias") for n in (2, 4, 6)
    ]
    assert plan["refused"] == [{"code": "unsupported_parameter", "param": "logit_bias", "lines": 3}]
    assert plan["request_counts"] == {"total": 6, "valid": 3, "rejected": 3}
    assert plan["would_fail"] is False
    allowed = gateway.planned(lines, config(drop_params=True))
    assert (allowed["dropped"], allowed["refused"]) == ([{"param": "logit_bias", "lines": 3}], [])
    assert allowed["request_counts"] == {"total": 6, "valid": 6, "rejected": 0}
    assert allowed["jobs"] == 3


def test_targets_in_order_are_told_with_what_they_cost_at_worst(gateway: Planning) -> None:
    lines = [line(n, MINI, FOUR_HUNDRED, {"logit_bias": {"5": 1}} if n == 3 else {}) for n in range(4)]
    first = {"provider": "@north", "override_params": {"model": HAIKU}}
    second = {"provider": "@lane", "override_params": {"model": MINI}, "direct": True}
    rescue = {"direct_before": "90m", "on_status_codes": [429, 500]}
    order = config(strategy={"mode": "fallback"}, targets=[first, second], rescue=rescue)
    plan = gateway.planned(lines, order)
    assert [(each["virtual_key"], each["lines"]) for each in plan["targets"]] == [("north", 3), ("lane", 1)]
    assert plan["request_counts"] == {"total": 4, "valid": 4, "rejected": 0}
    [further] = plan["rescue"].pop("targets")
    assert plan["rescue"] == {"attempts": 2, "direct_before": 5_400}
    assert (further["virtual_key"], further["way"]) == ("lane", "direct")
    assert plan["worst_case_cost"] == pytest.approx(plan["estimated_cost"] + further["estimated_cost"])


def test_a_strict_route_says_that_the_batch_would_fail(gateway: Planning) -> None:
    lines = [line(n, f"@north/{HAIKU}", more={"logit_bias": {"5": n}} if n == 3 else {}) for n in range(5)]
    plan = gateway.planned(lines, config(strict=True))
    assert plan["would_fail"] is True
    assert [each["line"] for each in plan["errors"]["data"]] == [4]
    assert any("strict" in caveat for caveat in plan["caveats"])


def test_faults_of_the_file_are_those_that_would_fail_the_batch(gateway: Planning) -> None:
    written = [json.dumps(line(n, f"@lane/{MINI}")).encode() for n in range(8)]
    written[2] = b"{broken"
    written[4] = written[0]
    written[6] = written[6].replace(b"chat/completions", b"embeddings")
    file_id = gateway.upload(b"\n".join(written))
    plan = gateway.plan(file_id)
    batch = gateway.run(file_id, LINES)
    assert batch["status"] == "failed"
    assert plan["errors"] == batch["errors"]
    assert [each["line"] for each in plan["errors"]["data"]] == [3, 5, 7]
    assert plan["would_fail"] is True
    assert plan["request_counts"] == {"total": 8, "valid": 5, "rejected": 3}
    assert [(target["lines"], target["jobs"]) for target in plan["targets"]] == [(5, 2)]


def test_what_is_too_much_to_tell_is_counted_and_said(gateway: Planning) -> None:
    refused = [line(n, f"@north/{HAIKU}", more={"logit_bias": {"5": 1}}) for n in range(1_100)]
    broken = [line(0, f"@lane/{MINI}") | {"custom_id": "the same"} for _ in range(151)]
    plan = gateway.planned([*refused, *broken, line(5_000, f"@lane/{MINI}")])
    codes = [each["code"] for each in plan["errors"]["data"]]
    assert (codes.count("unsupported_parameter"), codes.count("duplicate_custom_id")) == (1_000, 100)
    assert plan["errors"]["truncated"] is True
    assert plan["refused"] == [{"code": "unsupported_parameter", "param": "logit_bias", "lines": 1_100}]
    assert plan["request_counts"] == {"total": 1_252, "valid": 2, "rejected": 1_250}
    assert any("still 50 lines that repeat" in caveat for caveat in plan["caveats"])


def test_an_empty_file_would_fail(gateway: Planning) -> None:
    plan = gateway.plan(gateway.upload(b"\n \n"))
    assert [each["code"] for each in plan["errors"]["data"]] == ["empty_file"]
    assert (plan["would_fail"], plan["jobs"], plan["targets"]) == (True, 0, [])
    assert plan["request_counts"] == {"total": 0, "valid": 0, "rejected": 0}


def test_an_endpoint_that_no_target_has_would_fail_the_batch(gateway: Planning) -> None:
    body = {"model": "m", "input": "x"}
    lines = [{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body}]
    north = {"x-portkey-virtual-key": "north"}
    plan = gateway.plan(gateway.upload(jsonl(lines)), north, endpoint="/v1/embeddings")
    assert [each["code"] for each in plan["errors"]["data"]] == ["unsupported_endpoint"]
    assert (plan["would_fail"], plan["request_counts"]["rejected"], plan["jobs"]) == (True, 1, 0)
    assert "estimated_cost" not in plan


def test_what_has_no_price_or_no_limit_is_said_and_not_guessed(gateway: Planning) -> None:
    lines = [line(0, "@lane/made-up"), line(1, f"@lane/{MINI}", FOUR_HUNDRED)]
    del lines[1]["body"]["max_tokens"]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4_000}}
    lines[1]["body"]["messages"][0]["content"] = [{"type": "text", "text": FOUR_HUNDRED}, image]
    plan = gateway.planned(lines)
    unpriced, priced = plan["targets"]
    assert "estimated_cost" not in unpriced
    assert priced["estimated_usage"] == {"input_tokens": 100, "output_tokens": 0}
    assert plan["estimated_cost"] == priced["estimated_cost"] == pytest.approx(100 * 0.075e-6)
    assert {"made-up", "1 lines set no limit", "1 lines hold images"} == {
        words
        for words in ("made-up", "1 lines set no limit", "1 lines hold images")
        if any(words in caveat for caveat in plan["caveats"])
    }


def test_a_file_is_planned_while_it_is_still_being_checked(gateway: Planning) -> None:
    lines = [line(n, f"@south/{HAIKU}") for n in range(30_000)]
    file_id = gateway.upload(jsonl(lines))
    assert gateway.call("GET", f"/files/{file_id}")["status"] == "uploaded"
    plan = gateway.plan(file_id)
    assert plan["request_counts"] == {"total": 30_000, "valid": 30_000, "rejected": 0}
    assert plan["targets"][0]["model"] == HAIKU


def test_refusals_are_those_of_a_create(gateway: Planning) -> None:
    file_id = gateway.upload(jsonl([line(0, NANO)]))
    body = {"input_file_id": file_id, "endpoint": CHAT}
    asked: list[tuple[object, dict[str, str], int, str]] = [
        ({}, {}, 400, "input_file_id"),
        (body | {"endpoint": "/v1/none"}, {}, 400, "endpoint"),
        (body | {"completion_window": "1h"}, {}, 400, "completion_window"),
        (body | {"metadata": {"a": 1}}, {}, 400, "metadata.a"),
        (body | {"input_file_id": "file-unknown"}, {}, 404, "input_file_id"),
        (body, {"x_portkey_api_key": OTHER_KEY}, 404, "input_file_id"),
        (body, {"x_portkey_api_key": "wrong"}, 401, "invalid_api_key"),
        (body, {"x_portkey_virtual_key": "nobody"}, 400, "x-portkey-virtual-key"),
        (body, {"x_portkey_config": "{"}, 400, "x-portkey-config"),
        (body, {"idempotency_key": "\xff"}, 400, "Idempotency-Key"),
    ]
    for sent, headers, status, name in asked:
        found, error = gateway.refused(sent, **headers)
        assert (found, error["param"] or error["code"]) == (status, name)
        assert (found, error) == gateway.refused(sent, path="/batches", **headers)
    assert gateway.plan(file_id, LANE)["jobs"] == 1


def test_a_plan_is_posted_only(gateway: Planning) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        gateway.call("GET", "/batches/plan")
    assert (refusal.value.code, refusal.value.headers["allow"]) == (405, "POST")
    refusal.value.close()


@pytest.mark.parametrize("fail", ["plan.row:3", "plan.row:3:stop"])
def test_a_plan_that_dies_or_is_given_up_leaves_nothing_and_nobody_waiting(
    box: Sandbox, tmp_path_factory: pytest.TempPathFactory, fail: str
) -> None:
    made = Planning(tmp_path_factory.mktemp("dying"), {"lane": lane(box)}, engine={"workers": 1})
    try:
        made.start(fail=fail)
        file_id = made.upload(jsonl([line(n, NANO) for n in range(5)]))
        before = traces(made, box)
        if fail.endswith("stop"):
            given_up(made, file_id)
        else:
            status, error = made.refused({"input_file_id": file_id, "endpoint": CHAT})
            assert (status, error["code"], "died" in error["message"]) == (500, "internal_error", True)
        assert traces(made, box) == before
        assert made.run(file_id, LANE)["request_counts"]["completed"] == 5  # by the only worker there is
    finally:
        made.close()


def given_up(gateway: Planning, file_id: str) -> None:
    """Ask for a plan and hang up while its worker stands still."""
    with pytest.raises(GatewayGone, match="timed out"):
        gateway.call("POST", "/batches/plan", {"input_file_id": file_id, "endpoint": CHAT}, timeout=2)
    gateway.until_event(lambda log: "/v1/batches/plan" in log)  # a request is logged when it ends


def test_every_parameter_of_a_line_that_would_not_be_honoured_is_named(gateway: Planning) -> None:
    more = {"logit_bias": {"5": 1}, "presence_penalty": 0.5, "n": 2, "temperature": 7}
    plan = gateway.planned(
        [line(0, f"@north/{HAIKU}", "", more), line(1, f"@north/{HAIKU}", "", {"n": 3}), line(2, f"@lane/{NANO}")]
    )
    first, second = plan["errors"]["data"]
    assert (first["line"], second["line"], second["param"]) == (1, 2, "n")
    assert all(name in first["message"] for name in more)
    assert {each["param"]: (each["code"], each["lines"]) for each in plan["refused"]} == {
        "logit_bias": ("unsupported_parameter", 1),
        "presence_penalty": ("unsupported_parameter", 1),
        "n": ("unsupported_parameter", 2),
        "temperature": ("invalid_value", 1),
    }
    assert plan["request_counts"] == {"total": 3, "valid": 1, "rejected": 2}


def test_lines_that_may_go_where_their_writer_does_not_think_are_warned_of(gateway: Planning) -> None:
    """One warning a kind and model, with the first line and how many there are."""
    shared = {
        "strategy": {"mode": "loadbalance"},
        "targets": [{"virtual_key": "lane"}, {"virtual_key": "picky", "weight": 0.001}],
    }
    models = [NANO, HAIKU, HAIKU, f"anthropic/{HAIKU}", f"vertex_ai/{NANO}", f"openai/{NANO}", f"@north/{NANO}"]
    lines = [line(n, model) for n, model in enumerate(models)]
    plan = gateway.planned(lines, config(**shared))
    assert [(each["code"], each["model"], each["line"], each["lines"]) for each in plan["warnings"]] == [
        ("model_of_another_provider", HAIKU, 2, 2),
        ("prefix_of_another_provider", f"anthropic/{HAIKU}", 4, 1),
        ("prefix_of_another_provider", f"vertex_ai/{NANO}", 5, 1),
        ("virtual_key_overruled", NANO, 7, 1),
    ]
    assert "Anthropic" in plan["warnings"][0]["message"]
    assert "north" in plan["warnings"][3]["message"]
    assert plan["request_counts"]["valid"] == len(lines)
    assert gateway.planned([line(0, f"openai/{NANO}")], LANE)["targets"][0]["model"] == NANO


def test_an_account_in_a_line_against_that_of_the_headers_is_refused(gateway: Planning) -> None:
    plan = gateway.planned([line(0, NANO), line(1, f"@north/{HAIKU}"), line(2, f"@lane/{NANO}")], LANE)
    assert [(each["line"], each["code"]) for each in plan["errors"]["data"]] == [(2, "virtual_key_conflict")]
    assert (plan["would_fail"], plan["warnings"]) == (False, [])


@pytest.mark.parametrize(
    ("models", "headers", "codes"),
    [
        (["gpt-5", "nothing"], LINES, {"model_not_found"}),
        (["@nobody/gpt-5"], LINES, {"invalid_virtual_key"}),
        ([f"@picky/{MINI}", "nothing"], LINES, {"model_not_allowed", "model_not_found"}),
        ([f"@north/{HAIKU}"] * 3, LANE, {"virtual_key_conflict"}),
        (["nothing"] * 150, LINES, {"model_not_found"}),
    ],
)
def test_a_file_without_a_routable_line_fails_the_batch_as_its_plan_says(
    models: list[str], headers: dict[str, str], codes: set[str], gateway: Planning
) -> None:
    file_id = gateway.upload(jsonl(line(n, model) for n, model in enumerate(models)))
    plan, batch = gateway.plan(file_id, headers), gateway.run(file_id, headers)
    assert (plan["would_fail"], batch["status"], batch["output_file_id"], batch["error_file_id"]) == (
        *(True, "failed", None, None),
    )
    assert batch["errors"]["data"] == plan["errors"]["data"][:100]
    assert {each["code"] for each in batch["errors"]["data"]} == codes
    assert [each["line"] for each in batch["errors"]["data"]] == list(range(1, min(len(models), 100) + 1))
    assert all(each["param"] == "body.model" for each in batch["errors"]["data"])


def test_one_line_that_has_a_target_is_enough_for_the_batch(gateway: Planning) -> None:
    file_id = gateway.upload(jsonl([line(0, "nothing"), line(1, f"@north/{HAIKU}", "", {"n": 2})]))
    plan, batch = gateway.plan(file_id, LINES), gateway.run(file_id, LINES)
    assert (plan["would_fail"], batch["status"], batch["request_counts"]["failed"]) == (False, "completed", 2)
