"""Nothing changes on the way, whatever the family: texts, numbers of any length. Any object gets an answer or a no."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.bedrock.answers import to_completion
from proxy_plugin.providers.formats.bedrock.invoke import to_converse, to_invoke
from proxy_plugin.providers.formats.shapes import Translated
from tests.unit.formats.anthropic_lines import HELLO, TOOL, call, calling, result, text, user
from tests.unit.formats.bedrock_lines import (
    CLAUDE,
    EVERY,
    GPT_OSS,
    LLAMA_3,
    NOVA,
    ODD,
    QWEN,
    R1,
    TOP,
    Json,
    Translator,
    body,
    conversations,
    options,
)

BIG = "1234567890123456789012345"
FRAGILE = f'{{"n": {BIG}, "f":1.10,"h":1e999,"t":0.1234567890123456789,"s":"\\ud83d","z":"\\u0000\\/", "n":-0}}'
BOTH = [to_converse, to_invoke]
NATIVE = [(to_converse, CLAUDE), (to_converse, QWEN), (to_invoke, NOVA), (to_invoke, CLAUDE)]


@pytest.mark.parametrize("outer", ["", "\ud83d"])
@pytest.mark.parametrize(("to", "model"), NATIVE)
def test_arguments_keep_every_digit_key_and_escape(to: Translator, model: str, outer: str) -> None:
    line = body([{"role": "user", "content": "a" + outer}, calling(call(FRAGILE)), result()], tools=[TOOL])
    whole = FRAGILE.replace("\\ud83d", "\\ufffd") if (to, model) == (to_invoke, CLAUDE) else FRAGILE
    assert whole.encode() in to(line, model=model, drop_params=False).body
    chat = json.loads(to_invoke(line, model=QWEN, drop_params=False).body)
    assert chat["messages"][1]["tool_calls"][0]["function"]["arguments"] == FRAGILE


@pytest.mark.parametrize(("to", "model"), [*NATIVE, (to_invoke, QWEN)])
def test_schemas_keep_long_numbers(to: Translator, model: str) -> None:
    schema = f'{{"type":"object","properties":{{"a":{{"maximum":{BIG},"multipleOf":0.12345678901234567890}}}}}}'
    tools = f'"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]'
    line = f'{{"messages":{json.dumps(HELLO)},{tools}}}'.encode()
    assert schema.encode() in to(line, model=model, drop_params=False).body
    if model not in (NOVA, CLAUDE):
        wanted = f'"response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}'
        line = f'{{"messages":{json.dumps(HELLO)},{wanted}}}'.encode()
        sent = to(line, model=model, drop_params=False).body
        assert schema in sent.decode() or json.dumps(schema) in sent.decode()


@pytest.mark.parametrize("to", [to_converse, to_invoke])
def test_bounds_that_claude_is_told_of_keep_their_digits(to: Translator) -> None:
    bounds = f'"maximum":{BIG},"multipleOf":0.12345678901234567890'
    schema = f'{{"type":"object","properties":{{"a":{{"type":"number",{bounds}}}}}}}'
    wanted = f'"response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}'
    line = f'{{"messages":{json.dumps(HELLO)},{wanted}}}'.encode()
    sent = to(line, model=CLAUDE, drop_params=True).body.decode()
    assert f"(maximum: {BIG}, multipleOf: 0.12345678901234567890)" in sent


TEXTS = [
    "👩‍👩‍👧", "漢字かな", "مرحبا بالعالم", "\u202e\u2028", "\x00", "\ud83d", "a\ude00\ud83d", "a\r\n\tb", "x" * 2**20,
]  # fmt: skip


@pytest.mark.parametrize("words", TEXTS, ids=lambda words: ascii(words[:9]))
def test_texts_survive(words: str) -> None:
    system = {"role": "system", "content": words}
    for model in (NOVA, QWEN):
        native = json.loads(to_converse(body([system, *user(text(words))]), model=model, drop_params=False).body)
        assert native["system"] == native["messages"][0]["content"] == [{"text": words}]
    chat = json.loads(to_invoke(body([system, *user(text(words))]), model=GPT_OSS, drop_params=False).body)
    assert [message["content"] for message in chat["messages"]] == [words, words]
    for model in (LLAMA_3, R1):
        prompt = json.loads(to_invoke(body([system, *HELLO]), model=model, drop_params=False).body)["prompt"]
        assert words in prompt
        if model == LLAMA_3:
            assert f"system<|end_header_id|>\n\n{words}<|eot_id|>" in prompt


def test_a_cut_emoji_survives_on_the_way_back() -> None:
    for native in (
        b'{"output":{"message":{"content":[{"text":"a\\ud83d"}]}}}',
        b'{"generation":"a\\ud83d"}',
        b'{"outputs":[{"text":"a\\ud83d"}]}',
        b'{"choices":[{"message":{"content":"a\\ud83d"}}]}',
    ):
        completion = json.loads(to_completion(native, model="m").body)
        assert completion["choices"][0]["message"]["content"] == "a\ud83d"


def attempt(to: Callable[..., Translated], line: bytes, model: str, drop: bool) -> Translated | LineRejected:
    try:
        return to(line, model=model, drop_params=drop, strict_params=not drop)
    except LineRejected as refused:
        return refused


KNOWN = {
    "messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields", "outputConfig",
    "requestMetadata", "schemaVersion", "reasoningConfig", "prompt", "max_gen_len", "max_tokens", "temperature",
    "top_p", "top_k", "stop", "anthropic_version", "tools", "tool_choice", "stop_sequences", "thinking",
    "output_config", "metadata", "max_completion_tokens", "response_format", "reasoning_effort", "seed",
    "frequency_penalty", "presence_penalty", "logit_bias",
}  # fmt: skip


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(TOP, ODD, max_size=6),
    st.lists(ODD, max_size=3) | st.just(HELLO),
    st.booleans(),
    st.sampled_from(EVERY),
    st.sampled_from(BOTH),
)
def test_any_object_is_translated_or_refused(
    chosen: Json, messages: list[Any], drop: bool, model: str, to: Translator
) -> None:
    outcome = attempt(to, json.dumps({"messages": messages, **chosen}).encode(), model, drop)
    if isinstance(outcome, LineRejected):
        assert outcome.param
        return
    native = json.loads(outcome.body)
    assert native.keys() <= KNOWN
    assert "model" not in native
    assert "stream" not in native
    assert drop or not outcome.dropped


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(conversations(), options(), st.sampled_from(EVERY), st.sampled_from(BOTH))
def test_valid_lines_are_translated_alike_every_time(
    messages: list[Json], chosen: Json, model: str, to: Translator
) -> None:
    line = body(messages, **chosen)
    outcome = attempt(to, line, model, True)
    if isinstance(outcome, LineRejected):
        assert outcome.param
        return
    assert attempt(to, line, model, True) == outcome
    roles = [message["role"] for message in json.loads(outcome.body).get("messages", ())]
    if to is to_converse or model == NOVA:
        assert roles[0] == "user"
        assert all(one != other for one, other in pairwise(roles))
