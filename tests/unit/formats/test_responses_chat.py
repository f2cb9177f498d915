"""Responses bodies as chat bodies: what is kept, what is refused by name, what is dropped and recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.hints import HINTS
from proxy_plugin.providers.formats.openai.responses_chat import to_chat

Json = dict[str, Any]
HELLO = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
TOOL = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
}
OTHER = {"type": "function", "name": "g", "strict": None}
CHAT_OTHER = {"type": "function", "function": {"name": "g"}}


def body(given_input: object = "hi", **options: object) -> bytes:
    return json.dumps({"model": "m", "input": given_input, **options}).encode()


def chat(given_input: object = "hi", **options: object) -> Json:
    translated = to_chat(body(given_input, **options), drop_params=False)
    assert HINTS.issuperset(translated.dropped)
    assert b"\n" not in translated.body
    found: Json = json.loads(translated.body)
    return found


def options_of(**options: object) -> Json:
    found = chat(**options)
    assert (found.pop("model"), found.pop("messages")) == ("m", [HELLO])
    return found


def refusal(given_input: object = "hi", *, drop_params: bool = False, **options: object) -> LineRejected:
    with pytest.raises(LineRejected) as caught:
        to_chat(body(given_input, **options), drop_params=drop_params, strict_params=True)
    assert caught.value.param
    assert caught.value.param in str(caught.value)
    return caught.value


def call(given: str = "c1", name: str = "f", arguments: str = "{}") -> Json:
    return {"type": "function_call", "id": "fc_1", "call_id": given, "name": name, "arguments": arguments}


def output(given: str = "c1", content: object = "r") -> Json:
    return {"type": "function_call_output", "call_id": given, "output": content}


def chat_call(given: str = "c1", name: str = "f", arguments: str = "{}") -> Json:
    return {"id": given, "type": "function", "function": {"name": name, "arguments": arguments}}


def said(*parts: Json, **more: object) -> Json:
    return {"type": "message", "role": "assistant", "id": "msg_1", "content": list(parts), **more}


def words(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [{"type": "url_citation"}], "logprobs": []}


def tool_result(given: str = "c1", content: object = "r") -> Json:
    return {"role": "tool", "tool_call_id": given, "content": content}


CONVERSATIONS: list[tuple[object, list[Json]]] = [
    ("hi", [HELLO]),
    ([HELLO, {"role": "developer", "content": "d"}], [HELLO, {"role": "developer", "content": "d"}]),
    ([{"type": "message", "role": "user", "status": "completed", "content": "hi"}], [HELLO]),
    ([{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}], [HELLO]),
    (
        [{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
    ),
    (
        [HELLO, said(words("a"), status="completed", phase="final_answer")],
        [HELLO, {"role": "assistant", "content": "a"}],
    ),
    (
        [HELLO, said({"type": "refusal", "refusal": "no"})],
        [HELLO, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
    ),
    (
        [HELLO, call(), output()],
        [HELLO, {"role": "assistant", "content": None, "tool_calls": [chat_call()]}, tool_result()],
    ),
    (
        [HELLO, said(words("a")), call("c1"), call("c2", "g", '{"n":1.0}'), output("c1"), output("c2")],
        [
            HELLO,
            {"role": "assistant", "content": "a", "tool_calls": [chat_call("c1"), chat_call("c2", "g", '{"n":1.0}')]},
            tool_result("c1"),
            tool_result("c2"),
        ],
    ),
    (
        [HELLO, call("c1"), output("c1"), call("c2"), output("c2"), said(words("b"))],
        [
            HELLO,
            {"role": "assistant", "content": None, "tool_calls": [chat_call("c1")]},
            tool_result("c1"),
            {"role": "assistant", "content": None, "tool_calls": [chat_call("c2")]},
            tool_result("c2"),
            {"role": "assistant", "content": "b"},
        ],
    ),
    (
        [HELLO, call(), said(words("a")), output(content=[{"type": "input_text", "text": "r"}])],
        [HELLO, {"role": "assistant", "content": "a", "tool_calls": [chat_call()]}, tool_result()],
    ),
    (
        [HELLO, {**call(), "caller": {"type": "direct"}, "async": False}, {**output(), "name": "f", "status": None}],
        [HELLO, {"role": "assistant", "content": None, "tool_calls": [chat_call()]}, tool_result()],
    ),
    # Reasoning of a finished turn, and reasoning that says nothing.
    (
        [HELLO, {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"}, said(words("a")), HELLO],
        [HELLO, {"role": "assistant", "content": "a"}, HELLO],
    ),
    ([HELLO, {"type": "reasoning", "id": "r", "summary": []}], [HELLO]),
]


@pytest.mark.parametrize(("items", "messages"), CONVERSATIONS)
def test_conversations(items: object, messages: list[Json]) -> None:
    assert chat(items)["messages"] == messages


def test_instructions_come_first() -> None:
    assert chat(instructions="i")["messages"] == [{"role": "system", "content": "i"}, HELLO]


PARTS: list[tuple[Json, Json]] = [
    (
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ),
    (
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "file_id": None},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
    ),
    (
        {"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf", "detail": "auto"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
    ),
    ({"type": "input_file", "file_id": "file-1"}, {"type": "file", "file": {"file_id": "file-1"}}),
    (
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
    ),
    (
        {"type": "input_text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
    ),
]


@pytest.mark.parametrize(("part", "chat_part"), PARTS)
def test_parts(part: Json, chat_part: Json) -> None:
    assert chat([{"role": "user", "content": [part]}])["messages"] == [{"role": "user", "content": [chat_part]}]


OPTIONS: list[tuple[Json, Json]] = [
    ({"temperature": 0.5, "top_p": 0.9, "user": "u"}, {"temperature": 0.5, "top_p": 0.9, "user": "u"}),
    ({"metadata": {"a": "b"}, "safety_identifier": "s"}, {"metadata": {"a": "b"}, "safety_identifier": "s"}),
    ({"max_output_tokens": 7}, {"max_completion_tokens": 7}),
    (
        {"reasoning": {"effort": "low", "summary": "auto", "context": None}},
        {"reasoning_effort": "low", "reasoning_summary": "auto"},
    ),
    ({"reasoning": {}, "text": {}, "tools": [], "include": []}, {}),
    (
        {"text": {"verbosity": "low", "format": {"type": "text"}}},
        {"verbosity": "low", "response_format": {"type": "text"}},
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}},
    ),
    (
        {"tools": [TOOL, OTHER], "parallel_tool_calls": False},
        {"tools": [CHAT_TOOL, CHAT_OTHER], "parallel_tool_calls": False},
    ),
    ({"tools": [{**OTHER, "allowed_callers": ["direct"], "defer_loading": False}]}, {"tools": [CHAT_OTHER]}),
    ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [CHAT_TOOL], "tool_choice": "required"}),
    (
        {"tools": [OTHER], "tool_choice": {"type": "function", "name": "g"}},
        {"tools": [CHAT_OTHER], "tool_choice": {"type": "function", "function": {"name": "g"}}},
    ),
    (
        {
            "tools": [TOOL, OTHER],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
        },
        {"tools": [CHAT_OTHER], "tool_choice": "required"},
    ),
    ({"tools": [{"type": "web_search"}]}, {"web_search_options": {}}),
    (
        {"tools": [{"type": "web_search_preview", "search_context_size": "low"}, OTHER]},
        {"web_search_options": {"search_context_size": "low"}, "tools": [CHAT_OTHER]},
    ),
    (
        {"tools": [{"type": "web_search", "user_location": {"type": "approximate", "city": "Rome"}}]},
        {"web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "Rome"}}}},
    ),
    # Asks for what happens anyway.
    ({"store": False, "stream": False, "background": False, "truncation": "disabled", "top_logprobs": 0}, {}),
    ({"store": None, "previous_response_id": None, "conversation": None, "max_tool_calls": 3}, {}),
    ({"include": ["web_search_call.action.sources", "file_search_call.results"]}, {}),
]


@pytest.mark.parametrize(("given_options", "chat_options"), OPTIONS)
def test_options(given_options: Json, chat_options: Json) -> None:
    assert options_of(**given_options) == chat_options


REFUSED: list[tuple[Json, str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"background": True}, "background"),
    ({"stream": True}, "stream"),
    ({"moderation": {"model": "omni-moderation-latest"}}, "moderation"),
    ({"include": "x"}, "include"),
    ({"tools": [{"type": "code_interpreter", "container": {}}]}, "tools[0]"),
    ({"tools": [{"type": "web_search", "user_location": "Rome"}]}, "tools[0].user_location"),
    ({"tools": [TOOL, {"type": "custom", "name": "c"}]}, "tools[1]"),
    ({"tools": "f"}, "tools"),
    ({"tools": [TOOL], "tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "g"}]}},
        "tool_choice.tools",
    ),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 1.5}, "max_output_tokens"),
    ({"instructions": ["i"]}, "instructions"),
    ({"text": "json"}, "text"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": ["text"]}}}, "text.format.type"),
    ({"reasoning": "low"}, "reasoning"),
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": [{"role": "system", "content": "a"}]}, "input"),
    ({"input": ["a"]}, "input[0]"),
    ({"input": [HELLO, {"type": "item_reference", "id": "msg_1"}]}, "input[1].type"),
    ({"input": [{"id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"type": "computer_call"}]}, "input[0].type"),
    ({"input": [{"role": "critic", "content": "a"}]}, "input[0].role"),
    ({"input": [{"role": ["user"], "content": "a"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "output_text", "text": "a"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
        "input[0].content[0].file_id",
    ),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
    ({"input": [HELLO, {**call(), "arguments": {}}]}, "input[1].arguments"),
    ({"input": [HELLO, {**call(), "name": ""}]}, "input[1].name"),
    ({"input": [HELLO, {**output(), "call_id": None}]}, "input[1].call_id"),
]


@pytest.mark.parametrize(("options", "param"), REFUSED)
def test_refused_whatever_the_route_allows(options: Json, param: str) -> None:
    merged: Json = {"given_input": options.pop("input"), **options} if "input" in options else dict(options)
    assert refusal(drop_params=True, **merged).param == param


LOSSES: list[tuple[Json, str]] = [
    ({"store": True}, "store"),
    ({"truncation": "auto"}, "truncation"),
    ({"include": ["reasoning.encrypted_content"]}, "include[]"),
    ({"include": ["new.thing"]}, "include[]"),
    ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"text": {"format": {"type": "text", "extra": 1}}}, "text.format.extra"),
    ({"tools": [{**TOOL, "output_schema": SCHEMA}]}, "tools[].output_schema"),
    ({"seed": 7}, "seed"),
    ({"given_input": [HELLO, {**call(), "namespace": "n"}, output()]}, "input[].namespace"),
    ({"given_input": [HELLO, {"type": "reasoning", "summary": [{"text": "t"}]}, call(), output()]}, "input[].summary"),
    ({"given_input": [HELLO, {"type": "reasoning", "encrypted_content": "x"}, call()]}, "input[].encrypted_content"),
]


@pytest.mark.parametrize(("options", "name"), LOSSES)
def test_losses_are_refused_or_recorded(options: Json, name: str) -> None:
    assert "drop_params" in str(refusal(**options))
    translated = to_chat(body(**{"given_input": "hi", **options}), drop_params=True)
    assert translated.dropped == (name,)


def test_no_json_object() -> None:
    for broken in (b"[]", b"{", b"[" * 3000):
        with pytest.raises(LineRejected) as caught:
            to_chat(broken, drop_params=True)
        assert caught.value.param == "body"


BIG = "1234567890123456789012345"


@pytest.mark.parametrize("text", ["a", "\ud83d"])
def test_numbers_and_texts_survive(text: str) -> None:
    arguments = f'{{"n":{BIG},"f":1.10,"s":"\\ud83d"}}'
    items = [
        {"role": "user", "content": "👩‍👩‍👧\x00\u202e漢" + text},
        call(arguments=arguments),
        output(content="x" * 2**20),
    ]
    schema = f'{{"type":"object","properties":{{"a":{{"maximum":{BIG}}}}}}}'
    options = f'"temperature":0.69999998807907104492,"tools":[{{"type":"function","name":"f","parameters":{schema}}}]'
    line = f'{{"model":"m","input":{json.dumps(items)},{options}}}'.encode()
    translated = to_chat(line, drop_params=False).body
    assert schema.encode() in translated
    assert b'"temperature":0.69999998807907104492' in translated
    found = json.loads(translated)["messages"]
    assert found[0] == items[0]
    assert found[1]["tool_calls"][0]["function"]["arguments"] == arguments
    assert found[2]["content"] == "x" * 2**20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    ["message", "function_call", "function_call_output", "reasoning", "input_text", "function", "x"]
)
ITEM_KEYS = st.sampled_from(["role", "content", "call_id", "name", "arguments", "output", "summary", "text", "status"])
ITEMS = st.lists(
    st.builds(lambda kind, rest: {"type": kind, **rest}, KINDS, st.dictionaries(ITEM_KEYS, JSON)), max_size=4
)
NAMES = st.sampled_from(["model", "instructions", "text", "reasoning", "tool_choice", "max_output_tokens", "include"])


@given(ITEMS | JSON, ITEMS | JSON, st.dictionaries(NAMES, JSON), st.booleans())
@settings(max_examples=100, deadline=None)
def test_nothing_but_a_refusal_is_raised(items: object, tools: object, rest: Json, drop: bool) -> None:
    line = body(items, tools=tools, **rest)
    first = outcome(line, drop)
    assert first not in ("", "no name")
    assert outcome(line, drop) == first


def outcome(line: bytes, drop: bool) -> object:
    """Return the translation or the name in the refusal."""
    try:
        return to_chat(line, drop_params=drop)
    except LineRejected as error:
        return error.param or "no name"
