"""Lines that ask for several answers, on lanes that give one: each is paid once, and one row has them all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.stack import ENDS
from tests.whole.contract.client import Client
from tests.whole.lanes.rig import MODEL, ROOM, Line, Stand, read_ledger

COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
CONFIG = {"x-portkey-config": json.dumps({"fan_out": True})}
LANES = ("anthropic", "google")
PROMPTS: list[Any] = [
    ["Say 0", "Say 1", "Say 2"],
    "Say 3",
    ["Say 4", "Say 5 [[sandbox:missing]]"],
    ["Say 6 [[sandbox:error=400]]", "Say 7"],
    ["Say 8 [[sandbox:duplicate]]", "Say 9"],
    ["Say 10 [[sandbox:foreign]]", "Say 11"],
]


def completion(number: int, prompt: Any, **more: Any) -> Line:
    body = {"model": MODEL, "prompt": prompt, **more}
    return {"custom_id": f"r {number}", "method": "POST", "url": COMPLETIONS, "body": body}


def upload(gateway: Client, lines: list[Line]) -> str:
    return gateway.upload(b"".join(json.dumps(each).encode() + b"\n" for each in lines))


def texts(row: dict[str, Any]) -> list[tuple[int, str]]:
    return [(each["index"], each["text"]) for each in row["response"]["body"]["choices"]]


@pytest.mark.parametrize("provider", LANES)
def test_every_answer_is_asked_for_once_and_a_line_is_one_row(provider: str, gateway: Client, sandbox: Sandbox) -> None:
    sandbox.control.reset()
    sandbox.control.options(provider, run_seconds=0.3)
    stand = Stand(sandbox, find(provider))
    lines = [completion(0, PROMPTS[0], n=2), *(completion(n, prompt) for n, prompt in enumerate(PROMPTS) if n)]
    order = gateway.order(upload(gateway, lines), f"{provider}-narrow", CONFIG, endpoint=COMPLETIONS)
    gateway.until_event(lambda log: log.count('"event": "part_accepted"') >= 2)
    gateway.again()
    batch = gateway.until(order["id"])
    output, error = gateway.rows(batch["output_file_id"]), gateway.rows(batch["error_file_id"])
    assert batch["request_counts"] == {"total": 6, "completed": len(output), "failed": len(error)}
    assert {row["custom_id"]: texts(row) for row in output} == {
        "r 0": list(enumerate(f"echo: Say {n // 2}" for n in range(6))),
        "r 1": [(0, "echo: Say 3")],
        "r 4": list(enumerate(["echo: Say 8 [[sandbox:duplicate]]", "echo: Say 9"])),
        "r 5": list(enumerate(["echo: Say 10 [[sandbox:foreign]]", "echo: Say 11"])),
    }
    silent, refused = error
    assert silent["error"]["code"] == "result_missing"
    for message in (silent["error"]["message"], refused["response"]["body"]["error"]["message"]):
        assert message.startswith("1 of the 2 requests of this line were answered. Request ")
    ledger = read_ledger(gateway.data, batch["id"])
    assert [entry.get("requests") for entry in ledger] == [6, None, 2, 2, 2, 2]
    assert [entry["outcome"] for entry in ledger] == ["succeeded", "succeeded", "missing", "failed", *["succeeded"] * 2]
    jobs = stand.jobs()
    assert sum(job["lines"] for job in jobs) == 15, "each request is in one job"
    assert max(job["lines"] for job in jobs) <= ROOM
    assert sandbox.control.violations() == []


@pytest.mark.parametrize("provider", LANES)
def test_a_plan_counts_requests(provider: str, gateway: Client) -> None:
    lines = [completion(0, ["a", "b"], n=2, max_tokens=5), completion(1, "c", max_tokens=5)]
    body = {"input_file_id": upload(gateway, lines), "endpoint": COMPLETIONS, "completion_window": "24h"}
    asked = {"x-portkey-virtual-key": provider}
    plan = gateway.call("POST", "/batches/plan", body, headers=asked | CONFIG)
    (target,) = plan["targets"]
    assert (target["lines"], target["requests"], target["estimated_usage"]["output_tokens"]) == (2, 5, 25)
    plan = gateway.call("POST", "/batches/plan", body, headers=asked)
    assert "requests" not in plan["targets"][0]
    assert "fan_out" in plan["errors"]["data"][0]["message"]


def test_a_line_that_is_refused_is_found_among_lines_of_several_requests(gateway: Client, sandbox: Sandbox) -> None:
    sandbox.control.reset()
    lines = [completion(n, [f"Say {n}", f"And {n}" + "[[sandbox:poison]]" * (n == 3)]) for n in range(6)]
    order = gateway.order(upload(gateway, lines), "anthropic", CONFIG, endpoint=COMPLETIONS)
    batch = gateway.until(order["id"])
    assert batch["status"] in ENDS
    (refused,) = gateway.rows(batch["error_file_id"])
    assert refused["custom_id"] == "r 3"
    assert [row["custom_id"] for row in gateway.rows(batch["output_file_id"])] == [f"r {n}" for n in (0, 1, 2, 4, 5)]
    assert sum(job["lines_run"] for job in Stand(sandbox, find("anthropic")).jobs()) == 10


def test_inputs_are_embedded_by_themselves(gateway: Client, sandbox: Sandbox) -> None:
    sandbox.control.reset()
    body = {"model": "gemini-embedding-001", "input": ["one", "two", "three"], "dimensions": 3}
    lines = [{"custom_id": f"r {n}", "method": "POST", "url": EMBEDDINGS, "body": body} for n in range(2)]
    batch = gateway.until(gateway.order(upload(gateway, lines), "google", CONFIG, endpoint=EMBEDDINGS)["id"])
    rows = gateway.rows(batch["output_file_id"])
    assert [[each["index"] for each in row["response"]["body"]["data"]] for row in rows] == [[0, 1, 2]] * 2
    assert sandbox.control.violations() == []
