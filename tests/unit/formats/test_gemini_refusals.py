"""Chat bodies that Gemini cannot run: refused by name, with the remedy, without their content."""

from __future__ import annotations

import json

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from tests.unit.formats.gemini_lines import (
    ARGON,
    FLASH,
    FLASH_3,
    FLASH_3_6,
    HELLO,
    PNG,
    PRO,
    TOOL,
    Json,
    call,
    calling,
    image,
    refusal,
    result,
    signed,
    text,
    user,
)

PREFILL: list[Json] = [*HELLO, {"role": "assistant", "content": "{"}]


def file(**members: object) -> list[Json]:
    return user({"type": "file", "file": members})


def audio(**members: object) -> list[Json]:
    return user({"type": "input_audio", "input_audio": members})


# No setting lets these through: (what differs from a good line, the field that the refusal names).
REFUSED: list[tuple[Json, str]] = [
    *(({"model": model, "messages": PREFILL}, "messages") for model in (FLASH_3_6, "gemini-3.5-flash-lite", ARGON)),
    ({"logprobs": True}, "logprobs"),
    ({"model": PRO, "logprobs": True, "top_logprobs": 3}, "logprobs"),
    ({"labels": {"a": 1}}, "labels"),
    ({"cached_content": ""}, "cached_content"),
    ({"cached_content": "cachedContents/1", "tools": [TOOL]}, "cached_content"),
    ({"thinking": True}, "thinking"),
    ({"thinking": {"type": "enabled"}, "reasoning_effort": "low"}, "thinking"),
    ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "budget_tokens"),
    ({"reasoning_summary": "long"}, "reasoning_summary"),
    ({"extra_body": []}, "extra_body"),
    ({"extra_body": {"google": {"thinking_config": 7}}}, "extra_body.google.thinking_config"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "system", "content": "a"}]}, "messages"),
    ({"model": FLASH_3, "n": 2}, "n"),
    ({"n": 9}, "n"),
    ({"n": 0}, "n"),
    ({"n": True}, "n"),
    ({"stream": True}, "stream"),
    ({"model": FLASH_3_6, "logprobs": True}, "logprobs"),
    ({"logprobs": 1}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"audio": {"voice": "x", "format": "mp3"}}, "audio"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"modalities": "text"}, "modalities"),
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": "7"}, "max_completion_tokens"),
    ({"max_tokens": 8, "max_completion_tokens": 7}, "max_tokens"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "0"}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": "1"}, "frequency_penalty"),
    ({"seed": 1.5}, "seed"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": [1]}, "stop"),
    ({"reasoning_effort": "extreme"}, "reasoning_effort"),
    ({"reasoning_effort": 3}, "reasoning_effort"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
    ({"safety_settings": {}}, "safety_settings"),
    ({"safety_settings": [{"category": "a"}]}, "safety_settings[0]"),
    ({"safety_settings": [{"category": "a", "threshold": 1}]}, "safety_settings[0]"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
    ({"tools": [TOOL, {"type": "function"}]}, "tools[1].function"),
    ({"tools": [{"type": "function", "function": {"name": "1a"}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
    ({"functions": [{"name": "f", "strict": "yes"}]}, "functions[0].strict"),
    ({"functions": [{"name": "f", "description": 1}]}, "functions[0].description"),
    ({"functions": [{"name": "f"}], "tools": [TOOL]}, "functions"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"tools": [TOOL], "parallel_tool_calls": 0}, "parallel_tool_calls"),
    ({"messages": ["a"]}, "messages[0]"),
    ({"messages": [{"role": "critic", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": user(text(""))}, "messages[0].content"),
    ({"messages": user("a")}, "messages[0].content[0]"),
    ({"messages": user({"type": "video_url"})}, "messages[0].content[0].type"),
    ({"messages": user({"type": "text"})}, "messages[0].content[0].text"),
    ({"messages": user({"type": "image_url"})}, "messages[0].content[0].image_url"),
    ({"messages": user(image("x"))}, "messages[0].content[0].image_url.url"),
    ({"messages": user(image("gs://b/a.png"))}, "messages[0].content[0].image_url.url"),
    ({"messages": user(image("data:image/png;base64,"))}, "messages[0].content[0].image_url.url"),
    ({"messages": user(image("https://a/b", format="png"))}, "messages[0].content[0].image_url.format"),
    ({"messages": file()}, "messages[0].content[0].file.file_data"),
    ({"messages": file(file_data="YQ==", filename="a.zip")}, "messages[0].content[0].file.file_data"),
    ({"messages": file(file_data="", filename="a.txt")}, "messages[0].content[0].file.file_data"),
    ({"messages": file(file_id="file-1")}, "messages[0].content[0].file.file_id"),
    ({"messages": file(file_id="https://a/b.png", file_data=PNG)}, "messages[0].content[0].file.file_id"),
    ({"messages": file(file_id=7)}, "messages[0].content[0].file.file_id"),
    ({"messages": file(file_data="YQ==", filename=1)}, "messages[0].content[0].file.filename"),
    ({"messages": user({"type": "input_audio"})}, "messages[0].content[0].input_audio"),
    ({"messages": audio(format="wav")}, "messages[0].content[0].input_audio.data"),
    ({"messages": audio(data="YQ==", format="pcm16")}, "messages[0].content[0].input_audio.format"),
    ({"messages": [{"role": "system", "content": [image("x")]}, *HELLO]}, "messages[0].content[0].type"),
    ({"messages": [*HELLO, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
    ({"messages": [*HELLO, {"role": "assistant", "refusal": 1}]}, "messages[1].refusal"),
    ({"messages": [*HELLO, {"role": "assistant", "extra_content": 1}]}, "messages[1].extra_content"),
    (
        {"messages": [*HELLO, {"role": "assistant", "extra_content": signed(7)}]},  # type: ignore[arg-type]
        "messages[1].extra_content.google.thought_signature",
    ),
    ({"messages": [*HELLO, calling({"id": "a", "type": "custom"})]}, "messages[1].tool_calls[0].type"),
    ({"messages": [*HELLO, calling(call(given=""))]}, "messages[1].tool_calls[0].id"),
    ({"messages": [*HELLO, calling(call("{"))]}, "messages[1].tool_calls[0].function.arguments"),
    ({"messages": [*HELLO, calling(call("[1]"))]}, "messages[1].tool_calls[0].function.arguments"),
    ({"messages": [*HELLO, calling(call(name="a b"))]}, "messages[1].tool_calls[0].function.name"),
    ({"messages": [*HELLO, calling(call(), call()), result()]}, "messages[1].tool_calls[1].function"),
    ({"messages": [*HELLO, calling(call()), *HELLO]}, "messages[1].tool_calls[0]"),
    ({"messages": [*HELLO, calling(call())]}, "messages[1].tool_calls[0]"),
    ({"messages": [*HELLO, result()]}, "messages[1].tool_call_id"),
    ({"messages": [*HELLO, calling(call()), result(), result()]}, "messages[3].tool_call_id"),
    ({"messages": [*HELLO, calling(call()), result(content=[image(PNG)])]}, "messages[2].content[0]"),
    ({"messages": [*HELLO, {"role": "function", "name": "f", "content": "a"}]}, "messages[1].name"),
]


@pytest.mark.parametrize(("difference", "param"), REFUSED)
@pytest.mark.parametrize("drop", [False, True])
def test_refused_whatever_the_route_says(difference: Json, param: str, drop: bool) -> None:
    line = {"model": FLASH, "messages": HELLO, **difference}
    with pytest.raises(LineRejected) as caught:
        to_generate_content(json.dumps(line).encode(), model=None, drop_params=drop)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


def test_vertex_wants_the_type_of_what_it_fetches() -> None:
    refused = refusal(messages=user(image("https://example.com/a")), vertex=True)
    assert "format" in refused.message
    assert refused.param == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'"a"', b"[" * 5000])
def test_no_object(line: bytes) -> None:
    with pytest.raises(LineRejected) as caught:
        to_generate_content(line, model=FLASH, drop_params=True)
    assert caught.value.param == "body"


def test_refusals_do_not_repeat_what_the_user_wrote() -> None:
    secret = "s3cret"
    lines: list[Json] = [
        {"reasoning_effort": secret},
        {"tool_choice": secret, "tools": [TOOL]},
        {"modalities": [secret]},
        {"messages": user(image(secret))},
        {"messages": [*HELLO, calling(call(secret))]},
        {secret * 20: 1},
    ]
    for options in lines:
        assert secret not in refusal(**options).message
