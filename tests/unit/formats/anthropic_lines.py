"""Chat bodies for Anthropic's translator: short ways to write them, and the blocks they should become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages

Json = dict[str, Any]

HAIKU, OPUS_4_1, OPUS_4_6, OPUS_4_7 = "claude-haiku-4-5", "claude-opus-4-1", "claude-opus-4-6", "claude-opus-4-7"
SONNET_4, SONNET_5, SONNET_5_5, FABLE = "claude-sonnet-4", "claude-sonnet-5", "claude-sonnet-5-5", "claude-fable-5-1"
OLDEST = "claude-3-haiku-20240307"
HELLO = [{"role": "user", "content": "hi"}]
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0xLjc="
MARK = {"type": "ephemeral", "ttl": "1h"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
NATIVE_TOOL = {"name": "f", "description": "d", "input_schema": SCHEMA}
BARE_TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
NO_CHOICE = {"tools": [BARE_TOOL], "tool_choice": {"type": "none"}}
# Messages API, types of the official SDK 2.12, and the three sampling parameters of version 2023-06-01.
KNOWN = {
    "model", "max_tokens", "messages", "system", "tools", "tool_choice", "stop_sequences", "temperature", "top_p",
    "top_k", "thinking", "output_config", "metadata", "cache_control",
}  # fmt: skip


def body(model: str = HAIKU, messages: object = HELLO, **options: object) -> bytes:
    return json.dumps({"model": model, "messages": messages, **options}).encode()


def translate(model: str = HAIKU, messages: object = HELLO, **options: object) -> Json:
    """Return the params of a line in which nothing may be lost."""
    translated = to_messages(body(model, messages, **options), model=None, drop_params=False)
    assert translated.dropped == ()
    assert b"\n" not in translated.body
    params: Json = json.loads(translated.body)
    assert params.keys() <= KNOWN
    return params


def noting(model: str = HAIKU, messages: object = HELLO, **options: object) -> tuple[Json, tuple[str, ...]]:
    """Return params and what was noted of a line that is taken without a switch."""
    translated = to_messages(body(model, messages, **options), model=None, drop_params=False)
    return json.loads(translated.body), translated.dropped


def refusal(model: str = HAIKU, messages: object = HELLO, **options: object) -> LineRejected:
    with pytest.raises(LineRejected) as caught:
        to_messages(body(model, messages, **options), model=None, drop_params=False, strict_params=True)
    assert caught.value.param
    assert caught.value.param in str(caught.value)
    return caught.value


def dropping(model: str = HAIKU, messages: object = HELLO, **options: object) -> tuple[Json, tuple[str, ...]]:
    """Return params and losses of a line that is refused where nothing may be lost."""
    assert "drop_params" in str(refusal(model, messages, **options))
    translated = to_messages(body(model, messages, **options), model=None, drop_params=True)
    return json.loads(translated.body), translated.dropped


def call(arguments: str = "{}", given: str = "call_1", name: str = "f") -> Json:
    return {"id": given, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: Json, content: str | None = None) -> Json:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(given: str = "call_1", content: object = "r", **more: object) -> Json:
    return {"role": "tool", "tool_call_id": given, "content": content, **more}


def tool_use(given: str = "call_1", arguments: object = None) -> Json:
    return {"type": "tool_use", "id": given, "name": "f", "input": arguments or {}}


def tool_result(given: str = "call_1", **more: object) -> Json:
    return {"type": "tool_result", "tool_use_id": given, **more}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def user(*parts: object) -> list[Json]:
    return [{"role": "user", "content": list(parts)}]


PARTS = [
    (text("a"), text("a")),
    ({**text("a"), "cache_control": MARK}, {**text("a"), "cache_control": MARK}),
    (
        {"type": "image_url", "image_url": {"url": PNG, "detail": "auto"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
    ),
    (
        {"type": "image_url", "image_url": {"url": "DATA:image/JPG;name=x;base64,/9j/"}, "cache_control": MARK},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"},
            "cache_control": MARK,
        },
    ),
    (
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ),
    (
        {"type": "image_url", "image_url": "http://example.com/a.gif"},
        {"type": "image", "source": {"type": "url", "url": "http://example.com/a.gif"}},
    ),
    (
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjc="},
            "title": "a.pdf",
        },
    ),
    (
        {"type": "file", "file": {"file_data": "JVBERi0xLjc=", "file_id": None}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjc="}},
    ),
]


TOOLS: list[tuple[Json, Json]] = [
    ({"name": "f"}, BARE_TOOL),
    ({"name": "f", "parameters": {}, "description": "", "strict": False}, BARE_TOOL),
    ({"name": "f", "parameters": None, "description": None, "strict": None}, BARE_TOOL),
    ({"name": "f", "parameters": {"properties": {}}}, BARE_TOOL),
    ({"name": "f", "parameters": SCHEMA, "description": "d", "strict": True}, {**NATIVE_TOOL, "strict": True}),
    ({"name": "f", "cache_control": MARK}, {**BARE_TOOL, "cache_control": MARK}),
]


CHOICES: list[tuple[Json, Json | None]] = [
    ({}, None),
    ({"tool_choice": None, "parallel_tool_calls": None}, None),
    ({"tool_choice": "auto", "parallel_tool_calls": True}, {"type": "auto"}),
    ({"tool_choice": "required"}, {"type": "any"}),
    ({"tool_choice": "none"}, {"type": "none"}),
    ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
    ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    (
        {"tool_choice": "required", "parallel_tool_calls": False},
        {"type": "any", "disable_parallel_tool_use": True},
    ),
]
