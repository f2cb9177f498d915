"""Chat bodies for Bedrock's translators: short ways to write them, and strategies for any and valid ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.bedrock.invoke import to_converse, to_invoke
from proxy_plugin.providers.formats.shapes import Translated
from tests.unit.formats.anthropic_lines import HELLO, PDF, PNG, SCHEMA, TOOL, call, calling, result, text

Json = dict[str, Any]
Translator = Callable[..., Translated]

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA, NOVA_2, MICRO = "amazon.nova-pro-v1:0", "us.amazon.nova-2-lite-v1:0", "eu.amazon.nova-micro-v1:0"
LLAMA_3, LLAMA_4 = "us.meta.llama3-3-70b-instruct-v1:0", "us.meta.llama4-scout-17b-instruct-v1:0"
MIXTRAL, MISTRAL_LARGE = "mistral.mixtral-8x7b-instruct-v0:1", "mistral.mistral-large-2407-v1:0"
R1, GPT_OSS, QWEN = "us.deepseek.r1-v1:0", "openai.gpt-oss-120b-1:0", "qwen.qwen3-32b-v1:0"
QWEN_VL, GEMMA = "qwen.qwen3-vl-235b-a22b", "google.gemma-3-12b-it"
EVERY = [CLAUDE, NOVA, NOVA_2, MICRO, LLAMA_3, LLAMA_4, MIXTRAL, MISTRAL_LARGE, R1, GPT_OSS, QWEN, QWEN_VL, GEMMA]
IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
FILE = {"type": "file", "file": {"file_data": PDF, "filename": "a_b.pdf"}}


def body(messages: object = HELLO, **options: object) -> bytes:
    return json.dumps({"messages": messages, **options}).encode()


def sent(
    to: Callable[..., Translated],
    model: str,
    messages: object = HELLO,
    *,
    lost: tuple[str, ...] = (),
    **options: object,
) -> Json:
    """Return the native body. Where something must be lost, see that the line is refused unless that is allowed."""
    line = body(messages, **options)
    if lost:
        with pytest.raises(LineRejected, match="drop_params") as caught:
            to(line, model=model, drop_params=False, strict_params=True)
        assert caught.value.param
    translated = to(line, model=model, drop_params=bool(lost))
    assert translated.dropped == lost
    assert b"\n" not in translated.body
    native: Json = json.loads(translated.body)
    return native


def converse(model: str, messages: object = HELLO, *, lost: tuple[str, ...] = (), **options: object) -> Json:
    return sent(to_converse, model, messages, lost=lost, **options)


def invoke(model: str, messages: object = HELLO, *, lost: tuple[str, ...] = (), **options: object) -> Json:
    return sent(to_invoke, model, messages, lost=lost, **options)


def noted(to: Translator, model: str, messages: object = HELLO, **options: object) -> tuple[Json, tuple[str, ...]]:
    """Return the native body and what is noted of it under the strictest switch."""
    made = to(body(messages, **options), model=model, drop_params=False, strict_params=True)
    return json.loads(made.body), made.dropped


def refused(to: Translator, model: str, messages: object = HELLO, **options: object) -> LineRejected:
    """Return the refusal of a line that no setting lets pass."""
    with pytest.raises(LineRejected) as caught:
        to(body(messages, **options), model=model, drop_params=True)
    assert caught.value.param
    assert caught.value.param in str(caught.value)
    return caught.value


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "role", "content", "type", "text", "image_url", "url", "file", "file_data", "filename", "tool_calls", "id",
        "function", "name", "arguments", "tool_call_id", "function_call", "refusal", "audio", "cache_control",
        "parameters", "json_schema", "schema", "strict", "description", "detail",
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    [
        "user", "assistant", "tool", "function", "system", "text", "image_url", "file", "refusal", "f", "{}", PNG, PDF,
        "json_schema", "object", "auto", "required", "none", "ephemeral", "call_1", "", "s3://bucket/a.png", "s3://",
        "<|eot_id|>", "[INST]", "<｜User｜>",
    ]
)  # fmt: skip
ODD = st.recursive(
    JSON_VALUES | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=14,
)
TOP = st.sampled_from(
    [
        "model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "tools", "tool_choice",
        "parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort", "user", "n",
        "safety_identifier", "cache_control", "stream", "logprobs", "modalities", "seed", "logit_bias", "metadata",
        "frequency_penalty", "web_search_options", "stream_options", "other",
    ]
)  # fmt: skip
SPOKEN = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(lambda words: words + ".")
ARGUMENTS = st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3).map(json.dumps)
PART = st.one_of(SPOKEN.map(text), st.sampled_from([IMAGE, FILE, text("")]))


@st.composite
def conversations(draw: st.DrawFn, *, tools: bool = True) -> list[Json]:
    """A conversation that OpenAI accepts."""
    messages: list[Json] = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            messages.append({"role": draw(st.sampled_from(["system", "developer"])), "content": draw(SPOKEN)})
        content = draw(SPOKEN) if draw(st.booleans()) else [text("."), *draw(st.lists(PART, max_size=3))]
        messages.append({"role": "user", "content": content})
        kind = draw(st.integers(0, 3 if tools else 1))
        if kind == 1:
            messages.append({"role": "assistant", "content": draw(SPOKEN), "refusal": draw(st.none() | SPOKEN)})
        elif kind > 1:
            ids = draw(st.lists(st.text(min_size=1, max_size=70), min_size=1, max_size=3, unique=True))
            messages.append(calling(*(call(draw(ARGUMENTS), given) for given in ids), content=draw(st.none() | SPOKEN)))
            messages += [result(given, draw(st.just("") | SPOKEN)) for given in draw(st.permutations(ids))]
    return [*messages, {"role": "user", "content": "end"}]


CHOICES = ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]


@st.composite
def options(draw: st.DrawFn) -> Json:
    """Parameters with valid values, each sometimes absent."""
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    chosen: Json = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "max_tokens": st.integers(1, 10**6),
                "temperature": st.floats(0, 2),
                "top_p": st.floats(0, 1),
                "top_k": st.integers(0, 99),
                "stop": st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=4),
                "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
                "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}, schema]),
                "user": st.text(),
                "seed": st.integers(-(2**63), 2**63),
                "frequency_penalty": st.floats(-2, 2),
                "cache_control": st.just({"type": "ephemeral"}),
                "parallel_tool_calls": st.booleans(),
            },
        )
    )
    if draw(st.booleans()):
        chosen["tools"] = [TOOL]
        chosen["tool_choice"] = draw(st.sampled_from(CHOICES))
    return chosen
