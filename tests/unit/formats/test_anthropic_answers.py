"""Anthropic messages as chat completions, and its errors as OpenAI's."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.anthropic.answers import to_completion
from proxy_plugin.providers.formats.anthropic.errors import error_row, openai_error
from proxy_plugin.providers.formats.openai import through_chat

Json = dict[str, Any]

USAGE = {"input_tokens": 16, "output_tokens": 5}
COUNTS = {
    "prompt_tokens": 16,
    "completion_tokens": 5,
    "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def message(*blocks: object, stop_reason: str | None = "end_turn", **more: object) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": list(blocks),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }


def text(words: str, *citations: Json) -> Json:
    return {"type": "text", "text": words, "citations": list(citations) or None}


def tool_use(name: str = "f", given_id: str = "toolu_1", arguments: object = None) -> Json:
    return {"type": "tool_use", "id": given_id, "name": name, "input": arguments or {}}


def thinking(words: str) -> Json:
    return {"type": "thinking", "thinking": words, "signature": "s"}


def complete(native: Json) -> Json:
    """Return the completion of a message that the official SDK would hand out, as OpenAI's reads it."""
    known = not any(block.get("type") == "block_of_tomorrow" for block in native["content"])
    if known and importlib.util.find_spec("anthropic"):
        importlib.import_module("anthropic.types").Message.model_validate(native)
    body = to_completion(json.dumps(native).encode()).body
    assert b"\n" not in body
    ChatCompletion.model_validate_json(body)
    completion: Json = json.loads(body)
    return completion


def said(native: Json) -> Json:
    found: Json = complete(native)["choices"][0]["message"]
    return found


def test_the_plainest_answer() -> None:
    assert complete(message(text("1"))) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 0,
        "model": "claude-haiku-4-5-20251001",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "1", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": COUNTS,
    }


def test_the_answer_tells_model_and_usage_and_is_the_same_every_time() -> None:
    native = json.dumps(message(text("1"))).encode()
    answer = to_completion(native)
    assert (answer.model, answer.usage) == ("claude-haiku-4-5-20251001", Usage(16, 5))
    assert to_completion(native) == answer
    assert json.loads(to_completion(native, created=7).body)["created"] == 7


CONTENTS: list[tuple[list[Json], Json]] = [
    ([text("a "), text("b")], {"content": "a b"}),
    ([], {"content": ""}),
    ([thinking("so"), text("a")], {"content": "a", "reasoning_content": "so"}),
    ([thinking("so"), thinking(""), thinking("then"), text("a")], {"content": "a", "reasoning_content": "so\n\nthen"}),
    ([{"type": "redacted_thinking", "data": "x"}, text("a")], {"content": "a"}),
    ([{"type": "block_of_tomorrow", "text": {"odd": 1}}, text("a")], {"content": "a"}),
    (
        [
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            text("a"),
        ],
        {"content": "a"},
    ),
]


@pytest.mark.parametrize(("blocks", "expected"), CONTENTS)
def test_content(blocks: list[Json], expected: Json) -> None:
    assert said(message(*blocks)) == {"role": "assistant", "refusal": None, **expected}


def test_tool_calls() -> None:
    first, second = tool_use(arguments={"a": 1}), tool_use("g", "toolu_2")
    choice = complete(message(first, second, stop_reason="tool_use"))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert said(message(text("look"), first, stop_reason="tool_use"))["content"] == "look"


REASONS: list[tuple[str | None, Json]] = [
    ("end_turn", {"finish_reason": "stop"}),
    ("stop_sequence", {"finish_reason": "stop"}),
    ("max_tokens", {"finish_reason": "length"}),
    (
        "model_context_window_exceeded",
        {"finish_reason": "length", "native_finish_reason": "model_context_window_exceeded"},
    ),
    ("tool_use", {"finish_reason": "tool_calls"}),
    ("refusal", {"finish_reason": "content_filter"}),
    ("pause_turn", {"finish_reason": "stop", "native_finish_reason": "pause_turn"}),
    (None, {"finish_reason": "stop"}),
]


@pytest.mark.parametrize(("reason", "expected"), REASONS)
def test_why_an_answer_ended(reason: str | None, expected: Json) -> None:
    choice = complete(message(text("a"), stop_reason=reason))["choices"][0]
    del choice["index"], choice["message"], choice["logprobs"]
    assert choice == expected


def test_a_reason_of_tomorrow_is_named() -> None:
    body = to_completion(json.dumps(message(text("a"), stop_reason="bored")).encode()).body
    choice = json.loads(body)["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "bored")


REFUSALS: list[tuple[Json | None, str]] = [
    ({"type": "refusal", "category": "bio", "explanation": "Not that."}, "Not that."),
    ({"type": "refusal", "category": None, "explanation": None}, "The model declined this request."),
    (None, "The model declined this request."),
]


@pytest.mark.parametrize(("details", "words"), REFUSALS)
def test_a_refusal_is_told_as_one(details: Json | None, words: str) -> None:
    native = message(stop_reason="refusal", stop_details=details)
    assert said(native) == {"role": "assistant", "content": None, "refusal": words}
    native["content"] = [text("So far")]
    assert said(native) == {"role": "assistant", "content": "So far", "refusal": words}


def test_citations() -> None:
    web = {
        "type": "web_search_result_location",
        "cited_text": "c",
        "encrypted_index": "e",
        "title": "A page",
        "url": "https://example.com/",
    }
    page = {
        "type": "page_location",
        "cited_text": "p",
        "document_index": 0,
        "document_title": "A book",
        "start_page_number": 1,
        "end_page_number": 2,
    }
    found = said(message(text("👩 says "), text("this", web, page), text(", that", {**web, "title": None})))
    assert found["content"] == "👩 says this, that"
    places = [(note["url_citation"]["start_index"], note["url_citation"]["end_index"]) for note in found["annotations"]]
    assert [found["content"][start:end] for start, end in places] == ["this", ", that"]
    titles = [note["url_citation"]["title"] for note in found["annotations"]]
    assert titles == ["A page", "https://example.com/"]
    assert found["citations"] == [{**page, "start_index": 7, "end_index": 11}]


def test_usage() -> None:
    native = message(
        text("a"),
        usage={
            "input_tokens": 1,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6},
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 3},
            "service_tier": "batch",
        },
    )
    assert complete(native)["usage"] == {
        "prompt_tokens": 111,
        "completion_tokens": 9,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 3},
        "cache_creation_input_tokens": 10,
    }
    assert to_completion(json.dumps(native).encode()).usage == Usage(111, 9, 100, 3, 10, 6)


@pytest.mark.parametrize(
    ("counts", "written", "kept"),
    [
        ({"cache_creation_input_tokens": 10}, 10, 0),
        ({"cache_creation_input_tokens": 10, "cache_creation": None}, 10, 0),
        ({"cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 10}}, 10, 10),
        ({"cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_5m_input_tokens": 10}}, 10, 0),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}}, 7, 4),
        ({"cache_creation_input_tokens": None, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, 4, 4),
        ({"cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": "6"}}, 10, 0),
        ({"cache_creation_input_tokens": -1, "cache_creation": []}, 0, 0),
        ({}, 0, 0),
    ],
)
@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/responses", "/v1/completions"])
def test_what_was_written_into_caches_is_counted_for_every_endpoint(
    counts: dict[str, Any], written: int, kept: int, endpoint: str
) -> None:
    native = message(text("a"), usage={"input_tokens": 1, "output_tokens": 2, **counts})
    found = through_chat.answer(endpoint, to_completion(json.dumps(native).encode())).usage
    assert found == Usage(1 + written, 2, cache_write_tokens=written, cache_write_1h_tokens=kept)


ODD_USAGES: list[object] = [
    None,
    [],
    "x",
    {"input_tokens": None, "output_tokens": -1, "output_tokens_details": 3},
    {"input_tokens": True},
]


@pytest.mark.parametrize("usage", ODD_USAGES)
def test_odd_counts_are_zero(usage: object) -> None:
    assert to_completion(json.dumps(message(text("a"), usage=usage)).encode()).usage == Usage()


FRAGILE = '{ "n":1234567890123456789012345,"f" : 1.10,"h":1e999,"k":{"b":1,"a":[-0, 1E5]},"t":"\\/\\u0041\\u0000" }'


def arguments_of(native: bytes) -> str:
    arguments = json.loads(to_completion(native).body)["choices"][0]["message"]["tool_calls"][0]["function"][
        "arguments"
    ]
    assert isinstance(arguments, str)
    return arguments


def test_arguments_are_the_inputs_own_text() -> None:
    native = json.dumps(message(text("a"), tool_use(arguments="@"))).replace('"@"', FRAGILE).encode()
    assert arguments_of(native) == FRAGILE


HALVES = [
    message(text("cut \ud83d"), tool_use(arguments="@")),
    message(tool_use(arguments="@"), tool_use("g", "\ud83d")),
]


@pytest.mark.parametrize("native", HALVES)
def test_arguments_survive_beside_half_an_emoji(native: Json) -> None:
    found, expected = (
        json.loads(written, parse_int=str, parse_float=str)
        for written in (arguments_of(json.dumps(native).replace('"@"', FRAGILE).encode()), FRAGILE)
    )
    assert list(found.items()) == list(expected.items())


ODD_INPUTS = [b'{"n":1234567890123456789012345}', b"null", b"[1]", b'"x"', b'{"s":"\\ud83d"}']


@pytest.mark.parametrize("given_input", ODD_INPUTS)
def test_odd_inputs_are_kept(given_input: bytes) -> None:
    native = b'{"content":[7,{"type":"tool_use","id":"i","name":"f","input":' + given_input + b"}]}"
    assert json.loads(arguments_of(native)) == json.loads(given_input)


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_survives(words: str, thought: str) -> None:
    native = message(thinking(thought), text(words), tool_use(arguments={words: [thought]}))
    found = json.loads(to_completion(json.dumps(native).encode()).body)["choices"][0]["message"]
    assert found["content"] == words
    assert found.get("reasoning_content", "") == thought
    assert json.loads(found["tool_calls"][0]["function"]["arguments"]) == {words: [thought]}


def test_a_long_answer_survives() -> None:
    words = "漢字 " * 2**19
    assert said(message(text(words)))["content"] == words


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "input", "id", "name", "thinking", "citations", "url", "title", "explanation"]
            ),
            inner | st.sampled_from(["text", "tool_use", "thinking"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)
MEMBERS = st.sampled_from(["id", "model", "content", "stop_reason", "stop_details", "usage", "other"])


@given(st.dictionaries(MEMBERS, VALUES, max_size=6))
def test_no_object_is_refused_it_was_paid_for(native: Json) -> None:
    completion = json.loads(to_completion(json.dumps(native).encode()).body)
    assert completion["choices"][0]["finish_reason"] in {"stop", "length", "tool_calls", "content_filter"}


@pytest.mark.parametrize("native", [b"", b"{", b"[]", b"null", b"\xff", b'{"a":NaN}', b"[" * 3000 + b"]" * 3000])
def test_what_is_no_message_is_a_value_error(native: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        to_completion(native)


STATUSES = [
    ("invalid_request_error", 400),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("api_error", 500),
    ("timeout_error", 504),
    ("gateway_timeout_error", 504),
    ("overloaded_error", 529),
    ("error_of_tomorrow", 500),
]


@pytest.mark.parametrize(("kind", "status"), STATUSES)
def test_errors(kind: str, status: int) -> None:
    inner = {"type": kind, "message": "messages: Field required \ud83d", "details": {}}
    expected = {"message": inner["message"], "type": kind, "param": None, "code": kind}
    for native in (inner, {"type": "error", "error": inner, "request_id": None}, {"error": {"error": inner}}):
        found = error_row(json.dumps(native).encode())
        assert (found.status, found.code, json.loads(found.body)) == (status, kind, {"error": expected})
    assert openai_error(kind, "messages: Field required \ud83d") == (status, expected)


@pytest.mark.parametrize("native", [b"null", b"{}", b'"overloaded"', b"[]", b'{"type":7,"message":[],"error":8}'])
def test_an_error_without_words_still_says_something(native: bytes) -> None:
    found = error_row(native)
    assert (found.status, found.code) == (500, "api_error")
    assert json.loads(found.body)["error"]["message"]
