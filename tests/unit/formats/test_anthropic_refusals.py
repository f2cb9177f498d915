"""Chat bodies that Anthropic cannot run: refused by name, with the remedy, without their content."""

from __future__ import annotations

import json

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.losses import TOLD
from tests.unit.formats.anthropic_lines import (
    HAIKU,
    HELLO,
    OPUS_4_6,
    SCHEMA,
    TOOL,
    Json,
    call,
    calling,
    dropping,
    result,
    text,
    translate,
    user,
)

PREFILL: list[Json] = [*HELLO, {"role": "assistant", "content": "{"}]


def test_prefill() -> None:
    assert translate(HAIKU, PREFILL)["messages"] == PREFILL
    assert dropping(HAIKU, PREFILL, reasoning_effort="low")[1] == ("reasoning_effort",)
    wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    assert dropping(HAIKU, PREFILL, response_format=wanted)[1] == (f"response_format={TOLD}",)


# No setting lets these through: (what differs from a good line, the field that the refusal names).
REFUSED: list[tuple[Json, str]] = [
    ({"model": OPUS_4_6, "messages": PREFILL}, "messages"),
    ({"messages": [*HELLO, {"role": "assistant", "content": "so \n"}]}, "messages"),
    ({"n": 2}, "n"),
    ({"stream": True}, "stream"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"audio": {"voice": "x", "format": "mp3"}}, "audio"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.0}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_completion_tokens": "7"}, "max_completion_tokens"),
    ({"max_tokens": 8, "max_completion_tokens": 7}, "max_tokens"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "0"}, "temperature"),
    ({"top_p": True}, "top_p"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_k": 1.5}, "top_k"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": [1]}, "stop"),
    ({"stop": {}}, "stop"),
    ({"user": 7}, "user"),
    ({"reasoning_effort": "extreme"}, "reasoning_effort"),
    ({"reasoning_effort": 3}, "reasoning_effort"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
    ({"cache_control": {"type": "forever"}}, "cache_control"),
    ({"cache_control": {"type": "ephemeral", "ttl": "2h"}}, "cache_control"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
    ({"tools": [TOOL, {"type": "function"}]}, "tools[1].function"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
    ({"functions": [{"name": "f", "parameters": {"type": "string"}}]}, "functions[0].parameters"),
    ({"functions": [{"name": "f", "strict": "yes"}]}, "functions[0].strict"),
    ({"functions": [{"name": "f", "description": 1}]}, "functions[0].description"),
    ({"functions": [{"name": "f"}], "tools": [TOOL]}, "functions"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"function_call": {"name": "f"}}, "function_call"),
    ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"tools": [TOOL], "parallel_tool_calls": 0}, "parallel_tool_calls"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "system", "content": "a"}]}, "messages"),
    ({"messages": ["a"]}, "messages[0]"),
    ({"messages": [{"role": "critic", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": ["user"], "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": user(text(" "))}, "messages[0].content"),
    ({"messages": user("a")}, "messages[0].content[0]"),
    ({"messages": user({"type": "video"})}, "messages[0].content[0].type"),
    ({"messages": user({"type": []})}, "messages[0].content[0].type"),
    ({"messages": user({"type": "text"})}, "messages[0].content[0].text"),
    ({"messages": user({**text("a"), "cache_control": 1})}, "messages[0].content[0].cache_control"),
    ({"messages": user({"type": "input_audio", "input_audio": {}})}, "messages[0].content[0]"),
    ({"messages": user({"type": "image_url"})}, "messages[0].content[0].image_url"),
    ({"messages": user({"type": "image_url", "image_url": {"url": "x"}})}, "messages[0].content[0].image_url.url"),
    (
        {"messages": user({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}})},
        "messages[0].content[0].image_url.url",
    ),
    (
        {"messages": user({"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AA"}})},
        "messages[0].content[0].image_url.url",
    ),
    ({"messages": user({"type": "file", "file": {"file_id": "file-1"}})}, "messages[0].content[0].file.file_id"),
    ({"messages": user({"type": "file", "file": {}})}, "messages[0].content[0].file"),
    (
        {"messages": user({"type": "file", "file": {"file_data": "data:text/plain;base64,AA"}})},
        "messages[0].content[0].file.file_data",
    ),
    ({"messages": [{"role": "system", "content": [{"type": "image_url"}]}, *HELLO]}, "messages[0].content[0].type"),
    ({"messages": [*HELLO, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
    ({"messages": [*HELLO, {"role": "assistant", "refusal": 1}]}, "messages[1].refusal"),
    ({"messages": [*HELLO, {"role": "assistant", "tool_calls": {}}]}, "messages[1].tool_calls"),
    ({"messages": [*HELLO, calling({"id": "a", "type": "custom"})]}, "messages[1].tool_calls[0].type"),
    ({"messages": [*HELLO, calling(call(given=""))]}, "messages[1].tool_calls[0].id"),
    ({"messages": [*HELLO, calling(call("{"))]}, "messages[1].tool_calls[0].function.arguments"),
    ({"messages": [*HELLO, calling(call("[1]"))]}, "messages[1].tool_calls[0].function.arguments"),
    ({"messages": [*HELLO, calling(call('{"a": NaN}'))]}, "messages[1].tool_calls[0].function.arguments"),
    ({"messages": [*HELLO, calling(call('{"a":"\\\ud83d"}'))]}, "messages[1].tool_calls[0].function.arguments"),
    ({"messages": [*HELLO, calling(call(name="a.b"))]}, "messages[1].tool_calls[0].function.name"),
    ({"messages": [*HELLO, calling(call(), call()), result()]}, "messages[1].tool_calls[1].function"),
    ({"messages": [*HELLO, calling(call())]}, "messages[1].tool_calls[0]"),
    ({"messages": [*HELLO, calling(call()), *HELLO]}, "messages[1].tool_calls[0]"),
    ({"messages": [*HELLO, calling(call()), *HELLO, result()]}, "messages[1].tool_calls[0]"),
    ({"messages": [*HELLO, result()]}, "messages[1].tool_call_id"),
    ({"messages": [*HELLO, calling(call()), result(), result()]}, "messages[3].tool_call_id"),
    ({"messages": [*HELLO, calling(call()), {"role": "tool", "content": "a"}]}, "messages[2].tool_call_id"),
    ({"messages": [*HELLO, {"role": "function", "name": "f", "content": "a"}]}, "messages[1].name"),
]


@pytest.mark.parametrize(("difference", "param"), REFUSED)
@pytest.mark.parametrize("drop", [False, True])
def test_refused_whatever_the_route_says(difference: Json, param: str, drop: bool) -> None:
    line = {"model": HAIKU, "messages": HELLO, **difference}
    with pytest.raises(LineRejected) as caught:
        to_messages(json.dumps(line).encode(), model=None, drop_params=drop)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


@pytest.mark.parametrize("line", [b"", b"[]", b"7", b"{", b'{"a":NaN}', b"\xff", b'{"a":' * 2000 + b"1" + b"}" * 2000])
def test_what_is_no_readable_object_is_refused(line: bytes) -> None:
    with pytest.raises(LineRejected) as caught:
        to_messages(line, model=HAIKU, drop_params=True)
    assert caught.value.param == "body"


def test_refusals_repeat_no_content() -> None:
    secret = "s3cr3t words"
    lines: list[Json] = [
        {"messages": [{"role": secret, "content": secret}]},
        {"messages": user({"type": secret, secret: secret})},
        {"messages": user({"type": "image_url", "image_url": {"url": secret}})},
        {"messages": [*HELLO, calling(call(secret)), result(secret)]},
        {"messages": [*HELLO, calling(call(given=secret)), result("other")]},
        {"stop": [secret] * 9},
        {"tools": [{"type": "function", "function": {"name": secret}}]},
        {secret: secret},
    ]
    for line in lines:
        with pytest.raises(LineRejected) as caught:
            to_messages(json.dumps({"model": HAIKU, "messages": HELLO, **line}).encode(), model=None, drop_params=False)
        assert secret not in str(caught.value)
