"""Chat bodies for Gemini's translator: short ways to write them, and what they should become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.gemini.requests import to_generate_content

Json = dict[str, Any]

FLASH_2, FLASH, LITE, PRO = "gemini-2.0-flash", "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro"
PRO_3, PRO_3_1, FLASH_3 = "gemini-3-pro-preview", "gemini-3.1-pro-preview", "gemini-3-flash-preview"
FLASH_3_6, FLASH_3_8, ARGON = "gemini-3.6-flash", "gemini-3.8-flash", "gemini-4-argon"
HELLO = [{"role": "user", "content": "hi"}]
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0xLjc="
SCHEMA = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/n"}},
    "$defs": {"n": {"type": ["integer", "null"]}},
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
DECLARED = {"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}
# generateContent, types of google-genai 3.4.
KNOWN = {
    "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig", "cachedContent",
    "labels",
}  # fmt: skip


def body(model: str = FLASH, messages: object = HELLO, **options: object) -> bytes:
    return json.dumps({"model": model, "messages": messages, **options}).encode()


def translate(model: str = FLASH, messages: object = HELLO, *, vertex: bool = False, **options: object) -> Json:
    """Return the request of a line in which nothing may be lost."""
    translated = to_generate_content(body(model, messages, **options), model=None, drop_params=False, vertex=vertex)
    assert translated.dropped == ()
    assert b"\n" not in translated.body
    request: Json = json.loads(translated.body)
    assert request.keys() <= KNOWN
    return request


def noting(
    model: str = FLASH, messages: object = HELLO, *, vertex: bool = False, **options: object
) -> tuple[Json, tuple[str, ...]]:
    """Return request and notes of a line that runs without a switch."""
    translated = to_generate_content(body(model, messages, **options), model=None, drop_params=False, vertex=vertex)
    assert b"\n" not in translated.body
    return json.loads(translated.body), translated.dropped


def config(model: str = FLASH, *, vertex: bool = False, **options: object) -> Json:
    found: Json = translate(model, vertex=vertex, **options).get("generationConfig", {})
    return found


def contents(*messages: object, model: str = FLASH, vertex: bool = False) -> list[Json]:
    found: list[Json] = translate(model, list(messages), vertex=vertex)["contents"]
    return found


def refusal(model: str = FLASH, messages: object = HELLO, *, vertex: bool = False, **options: object) -> LineRejected:
    line = body(model, messages, **options)
    with pytest.raises(LineRejected) as caught:
        to_generate_content(line, model=None, drop_params=False, strict_params=True, vertex=vertex)
    assert caught.value.param
    assert caught.value.param in str(caught.value)
    return caught.value


def dropping(
    model: str = FLASH, messages: object = HELLO, *, vertex: bool = False, **options: object
) -> tuple[Json, tuple[str, ...]]:
    """Return request and losses of a line that is refused where nothing may be lost."""
    assert "drop_params" in str(refusal(model, messages, vertex=vertex, **options))
    translated = to_generate_content(body(model, messages, **options), model=None, drop_params=True, vertex=vertex)
    return json.loads(translated.body), translated.dropped


def call(arguments: str = "{}", given: str = "call_1", name: str = "f", **more: object) -> Json:
    return {"id": given, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def calling(*calls: Json, content: str | None = None, **more: object) -> Json:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def result(given: str = "call_1", content: object = "r", **more: object) -> Json:
    return {"role": "tool", "tool_call_id": given, "content": content, **more}


def signed(signature: str) -> Json:
    return {"google": {"thought_signature": signature}}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def image(url: str, **more: object) -> Json:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def user(*parts: object) -> list[Json]:
    return [{"role": "user", "content": list(parts)}]
