"""What single lines do: validation errors, markers, endpoints, odd JSON."""

from __future__ import annotations

import base64
import json
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from openai.types import Batch
from openai.types.responses import Response

from proxy_plugin.providers.sandbox.answers import expected_text, expected_usage
from proxy_plugin.providers.sandbox.process import Sandbox

Make = Callable[..., Any]
CHAT = "/v1/chat/completions"
TOOL = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
    },
}


def problem(batch: Batch) -> tuple[str | None, str | None, int | None]:
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    (error,) = batch.errors.data
    assert error.message
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 0, "completed": 0, "failed": 0}
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    return error.code, error.param, error.line


BAD = {
    "not json": (b"{nope}", "invalid_json_line", None),
    "not an object": (b"[1]", "invalid_json_line", None),
    "blank": (b"", "invalid_json_line", None),
    "not utf-8": (b'{"custom_id":"\xff"}', "invalid_json_line", None),
    "NaN": (b'{"custom_id":NaN}', "invalid_json_line", None),
    "byte order mark": (b"\xef\xbb\xbf{}", "invalid_json_line", None),
    "bottomless": (b"[" * 200_000, "invalid_json_line", None),
    "no custom_id": ({"custom_id": None}, "missing_required_parameter", "custom_id"),
    "no method": ({"method": None}, "missing_required_parameter", "method"),
    "no body": ({"body": None}, "missing_required_parameter", "body"),
    "numeric custom_id": ({"custom_id": 7}, "invalid_request", "custom_id"),
    "duplicate": ({"custom_id": "first"}, "duplicate_custom_id", "custom_id"),
    "other url": ({"url": "/v1/embeddings"}, "invalid_url", "url"),
    "other method": ({"method": "GET"}, "invalid_request", "method"),
    "other model": ({"body": {"model": "b", "messages": []}}, "mismatched_model", "body.model"),
    "stream": ({"body": {"model": "gpt-4.1-nano", "stream": True}}, "streaming_unsupported", "body.stream"),
}


@pytest.mark.parametrize("name", BAD)
def test_the_first_bad_line_fails_the_batch(name: str, chat: Make, run: Make, sandbox: Sandbox) -> None:
    change, code, param = BAD[name]
    good, worse = json.dumps(chat("first")).encode(), b"{worse"
    merged = {**chat("second"), **change} if isinstance(change, dict) else {}
    bad = (
        change if isinstance(change, bytes) else json.dumps({k: v for k, v in merged.items() if v is not None}).encode()
    )
    batch = run(good + b"\n" + bad + b"\n" + worse + b"\n")
    assert problem(batch) == (code, param, 2)
    assert batch.failed_at is not None
    assert sandbox.control.jobs()[0]["lines_run"] == 0


def test_models_that_do_not_exist_and_missing_ones_are_refused(sandbox: Sandbox, chat: Make, run: Make) -> None:
    assert problem(run([chat("a", model="no-such-model")])) == ("model_not_found", "body.model", 1)
    sandbox.control.options("openai", unknown_models=["gpt-9"])
    assert problem(run([chat("a", model="gpt-9")])) == ("model_not_found", "body.model", 1)
    assert problem(run([chat("a", model=None)])) == ("invalid_request", "body.model", 1)


def test_empty_and_overlong_files_are_refused(sandbox: Sandbox, chat: Make, run: Make) -> None:
    assert problem(run(b"")) == ("empty_file", None, None)
    sandbox.control.options("openai", max_lines=2)
    assert run([chat("a"), chat("b")]).status == "completed"
    assert problem(run([chat("a"), chat("b"), chat("c")])) == ("too_many_tasks", None, None)


def test_embedding_inputs_are_counted_over_all_lines(sandbox: Sandbox, run: Make) -> None:
    sandbox.control.options("openai", max_embedding_inputs=3)
    lines = [
        {"custom_id": f"{n}", "method": "POST", "url": "/v1/embeddings", "body": {"model": "e", "input": ["a", "b"]}}
        for n in range(2)
    ]
    assert problem(run(lines, "/v1/embeddings")) == ("too_many_tasks", "body.input", 2)


def test_error_statuses_become_rows_of_the_error_file(chat: Make, run: Make, by_id: Make) -> None:
    lines = [chat(f"{status}", f"[[sandbox:error={status}]]") for status in (400, 429, 500)]
    batch = run([*lines, chat("good")])
    assert batch.status == "completed"
    output, errors = by_id(batch)
    assert set(output) == {"good"}
    assert {key: row["response"]["status_code"] for key, row in errors.items()} == {"400": 400, "429": 429, "500": 500}
    assert all(row["error"] is None for row in errors.values())
    assert errors["400"]["response"]["body"]["error"]["type"] == "invalid_request_error"
    assert errors["429"]["response"]["body"]["error"]["code"] == "rate_limit_exceeded"
    assert batch.request_counts.to_dict() == {"total": 4, "completed": 1, "failed": 3}
    assert batch.usage.input_tokens == expected_usage(CHAT, chat("good")["body"])["prompt_tokens"]


def test_a_batch_of_failures_is_completed_without_an_output_file(chat: Make, run: Make) -> None:
    batch = run([chat("a", "[[sandbox:error=400]]")])
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert batch.error_file_id


def test_a_status_zero_counts_as_completed(chat: Make, run: Make, by_id: Make) -> None:
    batch = run([chat("a", "[[sandbox:error=0]]")])
    output, _ = by_id(batch)
    assert output["a"]["response"]["status_code"] == 0
    assert batch.request_counts.completed == 1


def test_timeouts_and_expired_lines_have_no_response(sandbox: Sandbox, chat: Make, run: Make, by_id: Make) -> None:
    output, errors = by_id(run([chat("t", "[[sandbox:timeout]]"), chat("e", "[[sandbox:expire]]")]))
    assert output == {}
    assert {key: (row["response"], row["error"]["code"]) for key, row in errors.items()} == {
        "t": (None, "request_timeout"),
        "e": (None, "batch_expired"),
    }
    assert sandbox.control.jobs()[0]["lines_run"] == 1


def test_rows_go_missing_double_or_come_from_strangers(chat: Make, run: Make, rows: Make) -> None:
    texts = {"m": "missing", "d": "duplicate", "f": "foreign", "g": "foreign=chosen-id"}
    batch = run([*(chat(key, f"hi [[sandbox:{text}]]") for key, text in texts.items()), chat("plain")])
    assert batch.request_counts.to_dict() == {"total": 5, "completed": 5, "failed": 0}
    found = Counter(row["custom_id"] for row in rows(batch.output_file_id))
    strangers = [key for key in found if key.startswith("stranger-")]
    assert len(strangers) == 1
    assert found == Counter({"d": 2, "f": 1, "g": 1, "plain": 1, "chosen-id": 1, strangers[0]: 1})
    assert batch.error_file_id is None


def test_an_unknown_marker_is_an_error_and_not_silence(chat: Make, run: Make, by_id: Make) -> None:
    _, errors = by_id(run([chat("a", "[[sandbox:explode]]"), chat("b", "[[sandbox:error=soon]]")]))
    codes = {key: row["response"]["body"]["error"]["code"] for key, row in errors.items()}
    assert codes == {"a": "unknown_sandbox_marker", "b": "unknown_sandbox_marker"}


def test_refusals_tool_calls_and_long_answers(chat: Make, run: Make, by_id: Make) -> None:
    tools = [{"type": "function", "function": TOOL}]
    lines = {
        "refusal": chat("refusal", "[[sandbox:refusal]]"),
        "tool": chat("tool", "[[sandbox:tool_call]]", tools=tools),
        "required": chat("required", "hi", tools=tools, tool_choice="required"),
        "idle": chat("idle", "hi", tools=tools),
        "long": chat("long", "[[sandbox:length=5000]]"),
        "cut": chat("cut", "[[sandbox:length=5000]]", max_tokens=10, n=2),
    }
    output, _ = by_id(run(list(lines.values())))
    choice = {key: row["response"]["body"]["choices"][0] for key, row in output.items()}
    assert choice["refusal"]["message"]["content"] is None
    assert choice["refusal"]["message"]["refusal"] == expected_text(CHAT, lines["refusal"]["body"])
    for key in ("tool", "required"):
        (call,) = choice[key]["message"]["tool_calls"]
        assert choice[key]["finish_reason"] == "tool_calls"
        assert call["function"]["name"] == "weather"
        arguments = json.loads(call["function"]["arguments"])
        assert (set(arguments), arguments["unit"]) == ({"city", "days", "unit"}, "C")
        assert isinstance(arguments["days"], int)
    assert choice["idle"]["finish_reason"] == "stop"
    assert len(choice["long"]["message"]["content"]) == 5000
    assert (len(choice["cut"]["message"]["content"]), choice["cut"]["finish_reason"]) == (40, "length")
    assert len(output["cut"]["response"]["body"]["choices"]) == 2


ODD = {
    "emoji": rb'{"model":"m","messages":[{"role":"user","content":"\ud83d\ude42 \u00e9 \u0000"}]}',
    "lone surrogate": rb'{"model":"m","messages":[{"role":"user","content":"half \ud83d of one"}]}',
    "lone surrogate in a key": rb'{"model":"m","\udc00":1,"messages":[{"role":"user","content":"x"}]}',
    "huge float": rb'{"model":"m","temperature":1e400,"messages":[{"role":"user","content":"x"}]}',
    "raw unicode": '{"model":"m","messages":[{"role":"user","content":"日本語 \u2028 \U0001f642"}]}'.encode(),
    "no messages": rb'{"model":"m","messages":null}',
}


@pytest.mark.parametrize("name", ODD)
def test_odd_json_is_read_and_answered(name: str, run: Make, rows: Make) -> None:
    sent = rb'{"custom_id":"\udfff %d","method":"POST","url":"/v1/chat/completions","body":%s}' % (1, ODD[name])
    (row,) = rows(run(sent).output_file_id)
    assert row["custom_id"] == "\udfff 1"
    assert row["response"]["body"]["choices"][0]["message"]["content"] == expected_text(CHAT, json.loads(ODD[name]))


def test_big_integers_are_not_rounded(chat: Make, run: Make, by_id: Make) -> None:
    exact, rounded = 2**80 + 1, float(2**80)
    output, _ = by_id(run([chat("a", seed=exact), chat("b", seed=rounded)]))
    texts = [output[key]["response"]["body"]["choices"][0]["message"]["content"] for key in ("a", "b")]
    assert texts[0] != texts[1]


def line(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": "m", **body}}


def test_responses_have_the_shape_that_the_sdk_reads(run: Make, rows: Make) -> None:
    items = [{"role": "user", "content": [{"type": "input_text", "text": "over there"}]}]
    sent = line("/v1/responses", {"input": items})
    (row,) = rows(run([sent], "/v1/responses").output_file_id)
    response = Response.model_validate(row["response"]["body"])
    assert response.output_text == expected_text("/v1/responses", sent["body"])
    assert response.output_text.endswith("over there")
    assert response.usage is not None
    assert response.usage.total_tokens == expected_usage("/v1/responses", sent["body"])["total_tokens"]


def test_responses_call_functions_too(run: Make, rows: Make) -> None:
    sent = line("/v1/responses", {"input": "[[sandbox:tool_call]]", "tools": [{"type": "function", **TOOL}]})
    (row,) = rows(run([sent], "/v1/responses").output_file_id)
    (item,) = Response.model_validate(row["response"]["body"]).output
    assert item.type == "function_call"
    assert item.arguments == expected_text("/v1/responses", sent["body"])


def test_embeddings_are_functions_of_their_input(run: Make, rows: Make) -> None:
    def vectors(**body: Any) -> list[Any]:
        (row,) = rows(run([line("/v1/embeddings", body)], "/v1/embeddings").output_file_id)
        assert row["response"]["body"]["usage"]["prompt_tokens"] > 0
        return [item["embedding"] for item in row["response"]["body"]["data"]]

    first, second = vectors(input=["one", "two"], dimensions=24)
    assert len(first) == len(second) == 24
    assert first != second
    assert vectors(input="two", dimensions=24) == [second]
    (packed,) = vectors(input="two", dimensions=24, encoding_format="base64")
    assert list(struct.unpack("<24f", base64.b64decode(packed))) == second
    assert len(vectors(input=[1, 2, 3])) == 1


@pytest.mark.parametrize(
    ("endpoint", "body", "kind"),
    [
        ("/v1/completions", {"prompt": "say"}, "text_completion"),
        ("/v1/moderations", {"input": ["a", "b"]}, None),
        ("/v1/images/generations", {"prompt": "a cat"}, None),
        ("/v1/videos", {"prompt": "a cat"}, "video"),
    ],
)
def test_the_other_endpoints_answer(endpoint: str, body: Any, kind: str | None, run: Make, rows: Make) -> None:
    batch = run([line(endpoint, body)], endpoint)
    (row,) = rows(batch.output_file_id)
    answer = row["response"]["body"]
    assert answer.get("object") == kind
    assert answer.get("usage", {}) == expected_usage(endpoint, {"model": "m", **body})
    if endpoint == "/v1/completions":
        assert answer["choices"][0]["text"] == expected_text(endpoint, {"model": "m", **body})
    if endpoint == "/v1/moderations":
        assert len(answer["results"]) == 2
