"""xAI's stand-in over plain HTTP (the SDK speaks gRPC): counters, pages, cancels, and what xAI cancels itself."""

from __future__ import annotations

from typing import Any

import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.providers.sandbox.plain_http import Plain, jsonl
from tests.support.waiting import until

CHAT = "/v1/chat/completions"
Json = dict[str, Any]


@pytest.fixture
def xai(sandbox: Sandbox) -> Plain:
    return Plain(sandbox.url("x-ai"))


def line(number: int, text: str = "", **more: Any) -> Json:
    body = {"model": "grok-4.3", "messages": [{"role": "user", "content": text or f"say {number}"}]}
    return {"custom_id": f"r-{number:03}", "method": "POST", "url": CHAT, "body": body | more}


def batch(xai: Plain, lines: list[Json]) -> str:
    status, file = xai.upload(jsonl(lines), ("expires_after", "3600"))
    assert (status, file["purpose"], file["expires_at"] - file["created_at"]) == (200, "", 3600)
    status, made = xai.ask("POST", "batches", {"name": "a name", "input_file_id": file["id"]})
    assert (status, made["state"]["num_requests"]) == (200, 0)
    return str(made["batch_id"])


def counts(xai: Plain, job: str) -> list[int]:
    state = xai.get(f"batches/{job}")["state"]
    return [state[f"num_{name}"] for name in ("requests", "pending", "success", "error", "cancelled")]


def test_a_batch_has_no_status_and_its_results_are_pages_sorted_by_id(xai: Plain) -> None:
    lines = [line(n) for n in range(7)]
    lines[4] = line(4, "[[sandbox:error=400]]")
    job = batch(xai, lines)
    until(lambda: counts(xai, job) == [7, 0, 6, 1, 0], "the end")
    assert "status" not in xai.get(f"batches/{job}")
    rows, token = list[Json](), ""
    while True:
        page = xai.get(f"batches/{job}/results?limit=3{token}")
        rows += page["results"]
        if page["pagination_token"] is None:
            break
        token = f"&pagination_token={page['pagination_token']}"
    assert [row["batch_request_id"] for row in rows] == [each["custom_id"] for each in lines]
    first = rows[0]["batch_result"]["response"]["chat_get_completion"]
    assert first["choices"][0]["message"]["content"] == expected_text(CHAT, lines[0]["body"])
    assert isinstance(rows[4]["batch_result"]["error"], str)


def test_a_cancelled_batch_calls_answers_cancelled_for_some_time(xai: Plain, sandbox: Sandbox) -> None:
    sandbox.control.options("x-ai", run_seconds=100, recount_seconds=20)
    job = batch(xai, [line(n) for n in range(4)])
    until(lambda: counts(xai, job)[0] == 4, "the reading of the file")
    sandbox.control.advance(60)
    until(lambda: 0 < counts(xai, job)[2] < 4, "some answers")
    status, answer = xai.ask("POST", f"batches/{job}:cancel")
    assert status == 200
    assert answer["cancel_time"]
    until(lambda: counts(xai, job) == [4, 0, 0, 0, 4], "counters that have gone backwards")
    rows = xai.get(f"batches/{job}/results")["results"]
    assert {row["batch_result"].get("error") for row in rows} == {"Batch cancelled"}
    sandbox.control.advance(21)
    _, _, well, _, rest = counts(xai, job)
    assert 0 < well < 4
    assert well + rest == 4
    rows = xai.get(f"batches/{job}/results")["results"]
    assert sum("response" in row["batch_result"] for row in rows) == well
    assert xai.ask("POST", f"batches/{job}:cancel")[0] == 400


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (line(1, model="grok-4.5"), "line 2: model grok-4.5 is not supported"),
        (line(1, stream=True), "line 2: stream is not supported"),
        ({"custom_id": "x"}, "line 2: missing field `body`"),
        (line(1, "half \ud83d"), "line 2: not a valid JSON object"),
    ],
)
def test_a_bad_line_makes_xai_cancel_the_whole_batch(xai: Plain, wrong: Json, named: str) -> None:
    job = batch(xai, [line(0), wrong])
    until(lambda: "cancel_by_xai_message" in xai.get(f"batches/{job}"), "the refusal")
    said = xai.get(f"batches/{job}")
    assert said["cancel_by_xai_message"].startswith(f"JSONL file validation failed: {named}")
    assert said["state"]["num_requests"] == 0


def test_refusals_are_a_code_and_a_text(xai: Plain, sandbox: Sandbox) -> None:
    status, answer = Plain(xai.url, "nobody's").ask("GET", "batches")
    assert (status, answer["code"]) == (400, "Client specified an invalid argument")
    assert answer["error"].startswith("Incorrect API key")
    assert xai.upload(b"{}\n", ("file", ""), ("expires_after", "3600"))[0] == 422, "a field behind the file"
    assert xai.upload(b"{}\n", ("expires_after", "60"))[0] == 422
    assert xai.ask("POST", "batches", {"name": "x", "input_file_id": "file_absent"})[0] == 404
    assert xai.ask("POST", "batches", {"name": "x", "input_file_id": "f", "endpoint": CHAT})[0] == 422
    job = batch(xai, [line(0)])
    assert xai.ask("POST", f"batches/{job}/requests", {})[0] == 412
    assert sandbox.control.log()[0]["batch_id"] == job
