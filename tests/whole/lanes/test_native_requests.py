"""Requests in a lane's own shape: sent as they are, answered as chat, or in that shape where it was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.lines import jsonl
from tests.support.raw_http import raw
from tests.support.stack import KEY, Gateway, lane
from tests.support.waiting import until
from tests.whole.lanes.rig import MODEL

URL, CHAT = "/v1/messages", "/v1/chat/completions"
MODELS = ("claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929")
HEADERS = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "own"}
NATIVE = HEADERS | {"x-portkey-strict-open-ai-compliance": "false"}
BAD = 4
Rows = dict[str, dict[str, Any]]


def request(n: int, **more: Any) -> dict[str, Any]:
    text = "[[sandbox:error=400]]" if n == BAD else f"Say {n} \u20ac"
    params = {"max_tokens": 100 + n, "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}
    return {"custom_id": f"own {n}", "params": {"model": MODELS[n % 2], "system": "Be brief.", **params, **more}}


REQUESTS = [request(n) for n in range(8)]


@pytest.fixture(scope="module")
def own(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = {"own": lane(sandbox, provider="anthropic"), "lane": lane(sandbox)}
    keys |= {"gemini": lane(sandbox, provider="google"), "bedrock": lane(sandbox, provider="bedrock")}
    made = Gateway(tmp_path_factory.mktemp("own"), keys)
    made.start()
    yield made
    made.close()


def create(gateway: Gateway, body: dict[str, Any], headers: dict[str, str] = HEADERS) -> dict[str, Any]:
    answer = raw(gateway, "POST", "/batches", headers, json.dumps(body).encode())
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body))


def rows(gateway: Gateway, batch: dict[str, Any]) -> tuple[Rows, Rows]:
    """Return the rows of both files of a batch, once it has ended, by custom_id."""
    done = gateway.until(batch["id"])
    assert done["status"] == "completed", done
    found = [gateway.rows(done[name]) for name in ("output_file_id", "error_file_id")]
    by_id = [{row["custom_id"]: row for row in each} for each in found]
    assert [len(each) for each in found] == [len(each) for each in by_id] == [7, 1]
    return by_id[0], by_id[1]


def check(output: Rows, errors: Rows, *, native: bool) -> None:
    for sent in (each for n, each in enumerate(REQUESTS) if n != BAD):
        body = output[sent["custom_id"]]["response"]["body"]
        if native:
            assert (body["type"], body["role"]) == ("message", "assistant")
            text, tokens = body["content"][0]["text"], body["usage"]["output_tokens"]
        else:
            chat = ChatCompletion.model_validate(body, strict=True)
            assert chat.usage is not None
            text, tokens = chat.choices[0].message.content, chat.usage.completion_tokens
        assert (text, tokens > 0) == (expected_text(URL, sent["params"], "echo"), True)
    response = errors[f"own {BAD}"]["response"]
    assert (response["status_code"], response["body"].get("type")) == (400, "error" if native else None)
    assert response["body"]["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("headers", [HEADERS, NATIVE], ids=["chat", "native"])
def test_params_run_as_they_are(own: Gateway, sandbox: Sandbox, headers: dict[str, str]) -> None:
    made = create(own, {"requests": REQUESTS}, headers)
    assert made["endpoint"] == URL
    check(*rows(own, made), native=headers is NATIVE)
    assert sandbox.control.violations() == []


@pytest.mark.parametrize("headers", [HEADERS, NATIVE], ids=["chat", "native"])
def test_requests_in_geminis_words_run_as_they_are(own: Gateway, headers: dict[str, str]) -> None:
    request = {"contents": [{"role": "user", "parts": [{"text": "Say \u20ac"}]}]}
    order = {"requests": [{"key": "a", "request": request}], "model": "gemini-2.5-flash"}
    made = own.until(create(own, order, headers | {"x-portkey-virtual-key": "gemini"})["id"])
    (row,) = own.rows(made["output_file_id"])
    body = row["response"]["body"]
    if headers is NATIVE:
        assert body["candidates"][0]["content"]["parts"] == [{"text": "echo: Say \u20ac"}]
    else:
        assert ChatCompletion.model_validate(body).choices[0].message.content == "echo: Say \u20ac"


@pytest.mark.parametrize("headers", [HEADERS, NATIVE], ids=["chat", "native"])
def test_records_of_bedrock_run_as_they_are(own: Gateway, headers: dict[str, str]) -> None:
    said = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Say \u20ac"}]}]}
    claude = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, **said}
    requests = [{"recordId": "A1", "modelInput": claude, "modelId": "anthropic.claude-haiku-4-5-20251001-v1:0"}]
    requests += [{"recordId": "A2", "modelInput": {"inputText": "hi"}, "modelId": "amazon.titan-embed-text-v2:0"}]
    made = own.until(create(own, {"requests": requests}, headers | {"x-portkey-virtual-key": "bedrock"})["id"])
    assert made["status"] == "completed", made
    bodies = {row["custom_id"]: row["response"]["body"] for row in own.rows(made["output_file_id"])}
    if headers is NATIVE:
        assert bodies["A1"]["content"][0]["text"].endswith("Say \u20ac")
        assert bodies["A2"]["inputTextTokenCount"] == 3
    else:
        content = ChatCompletion.model_validate(bodies["A1"]).choices[0].message.content
        assert content is not None
        assert content.endswith("Say \u20ac")
        assert bodies["A2"]["data"][0]["object"] == "embedding"


def test_a_restart_keeps_what_was_asked_of_the_answers(own: Gateway, sandbox: Sandbox) -> None:
    sandbox.control.options("anthropic", run_seconds=600)
    before = len(sandbox.control.jobs())
    made = create(own, {"requests": REQUESTS}, NATIVE)
    until(lambda: len(sandbox.control.jobs()) > before, "the job is there")  # without it the create stays in doubt
    own.kill()
    own.start()
    sandbox.control.options("anthropic", run_seconds=0)
    sandbox.control.advance(601)
    check(*rows(own, made), native=True)


@pytest.mark.parametrize("headers", [HEADERS, NATIVE], ids=["chat", "native"])
def test_a_file_may_hold_such_lines_too(own: Gateway, headers: dict[str, str]) -> None:
    lines = [
        {"custom_id": each["custom_id"], "method": "POST", "url": URL, "body": each["params"]} for each in REQUESTS
    ]
    made = create(own, {"input_file_id": own.upload(jsonl(lines)), "endpoint": URL}, headers)
    check(*rows(own, made), native=headers is NATIVE)


def test_lines_may_name_the_account_of_their_model(own: Gateway) -> None:
    requests = [request(n, model=f"@own/{MODELS[n % 2]}") for n in range(8)]
    without = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": ""}
    output, errors = rows(own, create(own, {"requests": requests}, without))
    assert {row["response"]["body"]["model"] for row in output.values()} == set(MODELS)
    assert set(errors) == {f"own {BAD}"}


def test_one_batch_may_mix_both_shapes(own: Gateway) -> None:
    chat = {"custom_id": "chat", "url": CHAT, "body": {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}}
    own_shape = {**request(1), "url": URL}
    made = own.until(create(own, {"requests": [chat, own_shape], "endpoint": "auto"}, NATIVE)["id"])
    kinds = {row["custom_id"]: row["response"]["body"] for row in own.rows(made["output_file_id"])}
    assert kinds["chat"]["object"] == "chat.completion"
    assert kinds["own 1"]["type"] == "message"


def test_the_model_of_a_config_replaces_that_of_params(own: Gateway) -> None:
    config = {"provider": "@own", "override_params": {"model": MODELS[0]}}
    headers = {"x-portkey-api-key": KEY, "x-portkey-config": json.dumps(config)}
    output, _ = rows(own, create(own, {"requests": REQUESTS}, headers))
    assert {row["response"]["body"]["model"] for row in output.values()} == {MODELS[0]}


def test_a_lane_without_a_shape_of_its_own_says_so(own: Gateway) -> None:
    sent = json.dumps({"requests": REQUESTS}).encode()
    answer = raw(own, "POST", "/batches", HEADERS | {"x-portkey-virtual-key": "lane"}, sent)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["param"], error["code"]) == (400, "requests[0].params", "unsupported_endpoint")


def test_what_every_message_needs_is_looked_for_first(own: Gateway) -> None:
    lacking = [REQUESTS[0], request(1, max_tokens=None)]
    made = own.until(create(own, {"requests": lacking})["id"])
    [row] = own.rows(made["error_file_id"])
    error = row["response"]["body"]["error"]
    assert (error["code"], error["param"]) == ("missing_required_parameter", "body.max_tokens")
    assert made["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
