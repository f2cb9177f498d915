"""What Bedrock's models answer as chat completions, and a record's error as OpenAI's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.bedrock.answers import error_row, to_completion
from tests.unit.formats.bedrock_lines import JSON_VALUES, Json


def complete(native: Json) -> Json:
    """Return the completion as OpenAI's own types read it."""
    body = to_completion(json.dumps(native).encode(), model="m").body
    assert b"\n" not in body
    ChatCompletion.model_validate_json(body)
    completion: Json = json.loads(body)
    return completion


def said(native: Json) -> tuple[Json, Json]:
    """Return the message and the rest of the only choice."""
    (choice,) = complete(native)["choices"]
    return choice.pop("message"), choice


def reply(*content: object, reason: str | None = "end_turn", **usage: int) -> Json:
    counts = {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8, **usage}
    message = {"role": "assistant", "content": list(content)}
    return {"output": {"message": message}, "stopReason": reason, "usage": counts, "metrics": {"latencyMs": 7}}


def message(content: str | None = "a", **more: object) -> Json:
    return {"role": "assistant", "content": content, "refusal": None, **more}


STOP = {"index": 0, "logprobs": None, "finish_reason": "stop"}
CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
USE = {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}


def test_the_plainest_answer_of_converse() -> None:
    completion = complete(reply({"text": "a"}))
    assert completion.pop("id").startswith("chatcmpl-")
    assert completion == {
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{**STOP, "message": message()}],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 3,
            "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "metrics": {"latencyMs": 7},
    }


def test_translating_twice_gives_the_same_row_and_other_answers_other_ids() -> None:
    first, second = (json.dumps(reply({"text": words})).encode() for words in "ab")
    assert to_completion(first, model="m", created=9) == to_completion(first, model="m", created=9)
    assert json.loads(to_completion(first, model="m", created=9).body)["created"] == 9
    assert complete(json.loads(first))["id"] != complete(json.loads(second))["id"]


def test_thoughts_calls_and_citations() -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}
    redacted = {"reasoningContent": {"redactedContent": "AA=="}}
    cited = {"citationsContent": {"content": [{"text": "b"}, {"text": "c"}], "citations": [{"title": "t"}]}}
    spoken, rest = said(reply(thought, redacted, {"text": "a"}, cited, {"block_of_tomorrow": {}}))
    assert (spoken, rest) == (message("abc", reasoning_content="hm"), STOP)
    spoken, rest = said(reply(thought, USE, USE, reason="tool_use"))
    assert spoken == message(None, tool_calls=[CALL, CALL], reasoning_content="hm")
    assert rest["finish_reason"] == "tool_calls"
    assert said(reply({"text": "a"}, USE))[0]["content"] == "a"


@pytest.mark.parametrize(
    ("reason", "word", "named"),
    [
        ("end_turn", "stop", False),
        ("stop_sequence", "stop", False),
        ("max_tokens", "length", False),
        ("tool_use", "tool_calls", False),
        ("content_filtered", "content_filter", False),
        ("guardrail_intervened", "content_filter", True),
        ("model_context_window_exceeded", "length", True),
        ("malformed_model_output", "stop", True),
        ("malformed_tool_use", "stop", True),
        ("reason_of_tomorrow", "stop", True),
        (None, "stop", False),
    ],
)
def test_every_reason_to_stop(reason: str | None, word: str, named: bool) -> None:
    _, rest = said(reply({"text": "a"}, reason=reason))
    assert rest == {**STOP, "finish_reason": word, **({"native_finish_reason": reason} if named else {})}


def test_usage_adds_up() -> None:
    counts: Any = {"cacheReadInputTokens": 10, "cacheWriteInputTokens": 100}
    answer = to_completion(json.dumps(reply({"text": "a"}, **counts)).encode(), model="m")
    assert answer.usage == Usage(input_tokens=115, output_tokens=3, cached_tokens=10, cache_write_tokens=100)
    tokens = json.loads(answer.body)["usage"]
    assert (tokens["prompt_tokens"], tokens["total_tokens"]) == (115, 118)
    assert tokens["prompt_tokens_details"] == {"cached_tokens": 10, "cache_write_tokens": 100}
    novas = reply({"text": "a"}, cacheReadInputTokenCount=10, cacheWriteInputTokenCount=100)
    assert to_completion(json.dumps(novas).encode(), model="m").usage == answer.usage


def test_claude() -> None:
    native = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    assert said(native) == (message(), STOP)
    answer = to_completion(json.dumps(native).encode(), model="m")
    assert (answer.model, answer.usage) == ("claude-haiku-4-5-20251001", Usage(1, 2))


def test_llama() -> None:
    native = {"generation": "a", "prompt_token_count": 4, "generation_token_count": 2, "stop_reason": "length"}
    assert said(native) == (message(), {**STOP, "finish_reason": "length"})
    assert to_completion(json.dumps(native).encode(), model="m").usage == Usage(4, 2)


def test_mistrals_text_completion() -> None:
    assert said({"outputs": [{"text": " a", "stop_reason": "stop"}]}) == (message(" a"), STOP)


def test_mistrals_chat_completion() -> None:
    call = {"id": "t1", "function": {"name": "f", "arguments": '{"a": 1}'}}
    spoken = {"role": "assistant", "content": "", "tool_calls": [call]}
    native = {"choices": [{"index": 0, "message": spoken, "stop_reason": "tool_calls"}]}
    assert said(native) == (message(None, tool_calls=[CALL]), {**STOP, "finish_reason": "tool_calls"})


def test_deepseek_r1() -> None:
    native = {"choices": [{"text": "hm\n</think>\n\na", "stop_reason": "stop"}]}
    assert said(native) == (message(reasoning_content="hm"), STOP)
    assert said({"choices": [{"text": "a", "stop_reason": "stop"}]}) == (message(), STOP)


def test_chat_completions() -> None:
    native = {
        "id": "chatcmpl-1",
        "model": "openai.gpt-oss-20b-1:0",
        "choices": [{"index": 0, "message": {"content": "<reasoning>hm</reasoning>a"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }
    assert said(native) == (message(reasoning_content="hm"), STOP)
    answer = to_completion(json.dumps(native).encode(), model="m")
    assert answer.usage == Usage(9, 4, 2, 3)
    assert answer.model == "openai.gpt-oss-20b-1:0"
    assert json.loads(answer.body)["id"] == "chatcmpl-1"
    kept = {"choices": [{"message": {"content": "a <reasoning>b</reasoning>", "reasoning_content": "hm"}}]}
    assert said(kept)[0] == message("a <reasoning>b</reasoning>", reasoning_content="hm")


BIG = "1234567890123456789012345"


def test_arguments_keep_every_digit() -> None:
    text = f'{{"a": {BIG}, "f":1.10,"s":"\\ud83d", "n":-0}}'
    for said_before in ("a", "\\ud83d"):
        native = (
            f'{{"output":{{"message":{{"content":[{{"text":"{said_before}"}},'
            f'{{"toolUse":{{"toolUseId":"t","name":"f","input":{text}}}}}]}}}}}}'
        )
        (choice,) = json.loads(to_completion(native.encode(), model="m").body)["choices"]
        arguments = choice["message"]["tool_calls"][0]["function"]["arguments"]
        assert json.loads(arguments, parse_int=str, parse_float=str) == json.loads(text, parse_int=str, parse_float=str)
    odd = f'{{"choices":[{{"message":{{"tool_calls":[{{"id":"t","function":{{"name":"f","arguments":{text}}}}}]}}}}]}}'
    (choice,) = json.loads(to_completion(odd.encode(), model="m").body)["choices"]
    assert BIG in choice["message"]["tool_calls"][0]["function"]["arguments"]


NAMES = st.sampled_from(
    [
        "output", "message", "content", "text", "toolUse", "input", "name", "toolUseId", "stopReason", "usage",
        "inputTokens", "generation", "outputs", "choices", "tool_calls", "function", "arguments", "reasoningContent",
        "reasoningText", "citationsContent", "stop_reason", "finish_reason", "type", "id", "model", "metrics",
    ]
)  # fmt: skip
ANYTHING = st.recursive(
    JSON_VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(NAMES, ANYTHING, max_size=5))
def test_a_paid_answer_is_never_refused(native: Json) -> None:
    answer = to_completion(json.dumps(native).encode(), model="m")
    completion: Any = json.loads(answer.body)
    assert completion["object"] == "chat.completion"
    assert completion["usage"]["prompt_tokens"] == answer.usage.input_tokens


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"7", b"null"])
def test_what_is_no_object_is_corrupt(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"output|unexpected|Expecting|[Ee]mpty|column"):
        to_completion(broken, model="m")


ERRORS = [
    ({"errorCode": 400, "errorMessage": "bad request"}, 400, "invalid_request_error"),
    ({"errorCode": "400", "errorMessage": "bad request"}, 400, "invalid_request_error"),
    ({"errorCode": 429, "errorMessage": "slow down"}, 429, "rate_limit_error"),
    ({"errorCode": 403}, 403, "permission_error"),
    ({"errorCode": 422, "errorMessage": "x"}, 422, "invalid_request_error"),
    ({"errorCode": 500, "errorMessage": "x"}, 500, "server_error"),
    ({"errorCode": 200, "errorMessage": "x"}, 500, "server_error"),
    ({"errorCode": "ThrottlingException", "errorMessage": "x"}, 429, "ThrottlingException"),
    ({"errorCode": "ExceptionOfTomorrow"}, 500, "server_error"),
    ({"errorCode": "²"}, 500, "server_error"),
    ({"errorCode": None}, 500, "server_error"),
    ({}, 500, "server_error"),
]


@pytest.mark.parametrize(("error", "status", "code"), ERRORS, ids=range(len(ERRORS)))
def test_errors(error: Json, status: int, code: str) -> None:
    answer = error_row(json.dumps(error).encode())
    assert (answer.status, answer.code) == (status, code)
    fault = json.loads(answer.body)["error"]
    assert fault.keys() == {"message", "type", "param", "code"}
    assert fault["message"] == error.get("errorMessage", "Bedrock gave no reason for this error.")
    assert error_row(json.dumps({"recordId": "r", "error": error}).encode()) == answer


@given(ANYTHING)
def test_any_error_is_told(error: object) -> None:
    assert 400 <= error_row(json.dumps({"error": error}).encode()).status <= 599
