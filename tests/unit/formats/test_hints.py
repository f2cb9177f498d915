"""What only hints runs on every format without a switch, and an answer returns to the lane that gave it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.answers import to_completion as from_claude
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.bedrock.answers import to_completion as from_bedrock
from proxy_plugin.providers.formats.bedrock.invoke import to_converse, to_invoke
from proxy_plugin.providers.formats.gemini.answers import to_completion as from_gemini
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.hints import HINTS
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.shapes import Translated

Json = dict[str, Any]
Translate = Callable[..., Translated]

FORMATS: dict[str, tuple[Translate, str]] = {
    "anthropic": (to_messages, "claude-sonnet-4-6"),
    "bedrock claude": (to_invoke, "anthropic.claude-opus-5-v1:0"),
    "converse claude": (to_converse, "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "converse nova": (to_converse, "amazon.nova-pro-v1:0"),
    "nova": (to_invoke, "amazon.nova-pro-v1:0"),
    "llama": (to_invoke, "meta.llama3-3-70b-instruct-v1:0"),
    "mistral": (to_invoke, "mistral.mistral-large-2402-v1:0"),
    "gpt-oss": (to_invoke, "openai.gpt-oss-120b-1:0"),
    "qwen": (to_invoke, "qwen.qwen3-32b-v1:0"),
    "gemini": (to_generate_content, "gemini-3.8-flash"),
    "vertex": (partial(to_generate_content, vertex=True), "gemini-2.5-flash"),
}
SEES = ("anthropic", "bedrock claude", "converse claude", "converse nova", "nova", "gemini", "vertex")
HELLO: Json = {"role": "user", "content": "hi"}
PNG = "data:image/png;base64,iVBORw0KGgo="


def sent(name: str, body: Json, *, strict: bool = False) -> tuple[Json, tuple[str, ...]]:
    translate, model = FORMATS[name]
    line = json.dumps({"model": model, "messages": [HELLO], **body}).encode()
    made = translate(line, model=None, drop_params=False, strict_params=strict)
    return json.loads(made.body), made.dropped


WISHES: list[Json] = [
    {"seed": 7},
    {"seed": 2**40},
    {"user": "jane"},
    {"safety_identifier": "jane"},
    {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
    {"store": True, "metadata": {"run": "7"}},
    {"service_tier": "flex"},
    {"service_tier": "priority"},
    {"prediction": {"type": "content", "content": "x"}},
    {"messages": [{**HELLO, "name": "jane"}]},
    {"messages": [{"role": "system", "content": "Be brief.", "name": "rules"}, HELLO]},
    {"messages": [HELLO, {"role": "assistant", "content": "a", "name": "bot"}, HELLO]},
]


@pytest.mark.parametrize("body", WISHES, ids=lambda body: next(iter(body)))
@pytest.mark.parametrize("name", FORMATS)
def test_wishes_are_sent_or_recorded_and_nothing_else_changes(name: str, body: Json) -> None:
    if name == "mistral" and body.get("messages", [{}])[0].get("role") == "system":
        return  # its prompt has no system messages
    native, dropped = sent(name, body)
    assert HINTS.issuperset(dropped)
    plain = {**body, "messages": [{key: m[key] for key in ("role", "content")} for m in body.get("messages", [HELLO])]}
    if dropped:
        bare = {key: value for key, value in plain.items() if key not in dropped}
        assert native == sent(name, bare)[0]
        with pytest.raises(LineRejected) as caught:
            sent(name, body, strict=True)
        assert 'x-portkey-config: {"drop_params": true}' in caught.value.message
    else:
        assert native != sent(name, {"messages": plain["messages"]})[0]


NOTHING: list[Json] = [
    {"n": 1}, {"stream": False}, {"logprobs": False, "top_logprobs": 0}, {"modalities": ["text"]}, {"modalities": []},
    {"frequency_penalty": 0, "presence_penalty": 0.0}, {"service_tier": "auto"}, {"verbosity": "medium"},
    {"response_format": {"type": "text"}}, {"tools": [], "tool_choice": "auto"}, {"parallel_tool_calls": True},
    {"stop": None}, {"stop": []}, {"logit_bias": {}}, {"metadata": {}}, {"user": ""}, {"audio": None}, {"audio": {}},
    {"repetition_penalty": 1.0}, {"repetition_penalty": 1}, {"length_penalty": 1}, {"min_p": 0}, {"min_p": 0.0},
    {"top_a": 0}, {"top_k": 0}, {"top_k": -1}, {"reasoning_effort": None}, {"web_search_options": None},
]  # fmt: skip


@pytest.mark.parametrize("body", NOTHING, ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_what_asks_for_what_happens_anyway_hinders_nothing(name: str, body: Json) -> None:
    native, dropped = sent(name, body, strict=True)
    assert dropped == ()
    config = native.get("generationConfig", {})
    for key in body.keys() & {"frequency_penalty", "presence_penalty"}:  # a lane that knows these may send zeros
        assert native.pop(key, 0) == 0
        assert config.pop("frequencyPenalty" if key[0] == "f" else "presencePenalty", 0) == 0
    assert {key: each for key, each in native.items() if each != {}} == sent(name, {})[0]


@pytest.mark.parametrize("more", [{"repetition_penalty": 1.1}, {"min_p": 0.05}, {"top_a": 0.1}], ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_switched_on_is_not_passed_over(name: str, more: Json) -> None:
    with pytest.raises(LineRejected) as caught:
        sent(name, more)
    assert caught.value.param in more


NATIVE = [
    *("generationConfig", "generation_config", "systemInstruction", "contents", "safetySettings", "toolConfig"),
    *("inferenceConfig", "additionalModelRequestFields", "performanceConfig", "guardrailConfig", "requestMetadata"),
    *("stop_sequences", "system", "anthropic_version", "labels", "cached_content"),
]


@pytest.mark.parametrize("key", NATIVE)
@pytest.mark.parametrize("name", FORMATS)
def test_no_message_says_that_a_provider_lacks_what_is_its_own(name: str, key: str) -> None:
    try:
        sent(name, {key: {"a": "b"}})
    except LineRejected as error:
        message = error.message
        assert "has no equivalent" not in message


@pytest.mark.parametrize("detail", ["low", "high", "original"])
@pytest.mark.parametrize("name", SEES)
def test_the_detail_of_a_picture_is_sent_or_recorded(name: str, detail: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": PNG, "detail": detail}}
    native, dropped = sent(name, {"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, picture]}]})
    assert "iVBORw0KGgo" in json.dumps(native)
    assert HINTS.issuperset(dropped)


FED_BACK: list[Json] = [
    {"content": "a", "reasoning_content": "thought"},
    {"content": "a", "reasoning": "thought", "reasoning_details": [{"type": "reasoning.text", "text": "thought"}]},
    {"content": "a", "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example"}}]},
    {"content": "a", "citations": [{"cited_text": "x"}]},
    {"content": "a", "images": [{"type": "image_url", "image_url": {"url": PNG}}]},
    {"content": "a", "refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None},
    {"content": None, "refusal": "I cannot."},
    {"content": "a", "native_finish_reason": "SAFETY"},
    {"content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}]},
    {"content": "a", "provider_specific_fields": {"citations": None, "x": 1}},
    {"content": "a", "extra_content": {"google": {"thought_signature": "c2ln"}}},
    {"content": "a", "parsed": {"x": 1}},
    {"content": "a", "id": "msg_1", "object": "chat.completion", "created": 1, "model": "m", "finish_reason": "stop"},
    {"content": "a", "usage": {"total_tokens": 3}, "status": "completed", "stop_reason": "end_turn"},
    {"content": "a", "created_at": "2026-01-01", "timestamp": 1, "metadata": {"run": "7"}},
    {"content": "", "audio": {"id": "audio_1", "data": "UklGRg==", "transcript": "spoken words", "expires_at": 1}},
]


@pytest.mark.parametrize("said", FED_BACK, ids=lambda said: list(said)[-1])
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("llama", "mistral")])
def test_what_answers_carry_comes_back(name: str, said: Json) -> None:
    native, dropped = sent(
        name, {"messages": [HELLO, {"role": "assistant", **said}, {"role": "user", "content": "on"}]}
    )
    assert HINTS.issuperset({each for each in dropped if each != "messages[].audio"})
    words = said.get("content") or said.get("refusal") or "spoken words"
    assert json.dumps(words) in json.dumps(native)


CLAUDE_ANSWER: Json = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "stop_reason": "refusal",
    "usage": {"input_tokens": 1, "output_tokens": 1},
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "Rome", "citations": [
            {"type": "char_location", "cited_text": "c", "document_index": 0, "start_char_index": 0,
             "end_char_index": 1},
            {"type": "web_search_result_location", "url": "https://a.example", "title": "t", "cited_text": "c"},
        ]},
    ],
}  # fmt: skip
GEMINI_ANSWER: Json = {
    "candidates": [
        {
            "finishReason": "STOP",
            "content": {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"text": "Rome", "thoughtSignature": "c2ln"},
                    {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                ],
            },
            "groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://a.example", "title": "t"}}],
                "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 4}, "groundingChunkIndices": [0]}]},
        }
    ],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1},
}  # fmt: skip
CONVERSE_ANSWER: Json = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [{"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}, {"text": "Rome"}],
        }
    },
    "stopReason": "guardrail_intervened",
    "usage": {"inputTokens": 1, "outputTokens": 1},
}
ANSWERS: dict[str, tuple[Callable[..., Any], Json]] = {
    "anthropic": (from_claude, CLAUDE_ANSWER),
    "converse nova": (partial(from_bedrock, model="amazon.nova-pro-v1:0"), CONVERSE_ANSWER),
    "converse claude": (partial(from_bedrock, model="anthropic.claude-opus-5-v1:0"), CONVERSE_ANSWER),
    "gemini": (from_gemini, GEMINI_ANSWER),
    "vertex": (from_gemini, GEMINI_ANSWER),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_fed_back_to_its_own_lane_is_taken(name: str) -> None:
    read, native = ANSWERS[name]
    choice = json.loads(read(json.dumps(native).encode()).body)["choices"][0]
    again = {"messages": [HELLO, choice["message"], {"role": "user", "content": "on"}]}
    assert "Rome" in json.dumps(sent(name, again)[0])


TOOL: Json = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL: Json = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
LOOP: list[Json] = [
    HELLO,
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm"},
    {"role": "tool", "tool_call_id": "toolu_1", "content": "r"},
]
NO_THOUGHTS: list[Json] = [
    {"messages": LOOP, "tools": [TOOL]},
    {"tools": [TOOL], "tool_choice": "required"},
    {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"messages": [HELLO, {"role": "assistant", "content": "The answer is"}]},
    {"max_completion_tokens": 100},
]


@pytest.mark.parametrize("level", ["minimal", "low", "high", "xhigh", "max"])
@pytest.mark.parametrize("body", NO_THOUGHTS, ids=lambda body: list(body)[-1])
@pytest.mark.parametrize(
    "model", ["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-1", "claude-3-haiku-20240307"]
)
def test_a_loop_of_tools_goes_on_where_its_model_cannot_think(model: str, body: Json, level: str) -> None:
    line = {"model": model, "messages": [HELLO], "reasoning_effort": level, **body}
    made = to_messages(json.dumps(line).encode(), model=None, drop_params=False)
    native = json.loads(made.body)
    assert "thinking" not in native
    assert "reasoning_effort" in made.dropped
    with pytest.raises(LineRejected):
        to_messages(json.dumps(line).encode(), model=None, drop_params=False, strict_params=True)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_response_fed_back_to_its_own_lane_is_taken(name: str) -> None:
    read, native = ANSWERS[name]
    response = json.loads(through_chat.answer("/v1/responses", read(json.dumps(native).encode())).body)
    translate, model = FORMATS[name]
    line = {"model": model, "input": [HELLO, *response["output"], HELLO], "include": ["reasoning.encrypted_content"]}

    def native_of(chat: bytes) -> Translated:
        return translate(chat, model=None, drop_params=False)

    made = through_chat.translate("/v1/responses", json.dumps(line).encode(), native_of, drop_params=False)
    assert b"Rome" in made.body
    assert "include[]" in made.dropped
    assert HINTS.issuperset(set(made.dropped) - {"include[]"})


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("gemini", "vertex")])
def test_json_without_a_schema_is_told_where_it_cannot_be_enforced(name: str) -> None:
    native, dropped = sent(name, {"response_format": {"type": "json_object"}})
    assert dropped == ("response_format=told, not enforced",)
    assert "one valid JSON object" in json.dumps(native)
    with pytest.raises(LineRejected):
        sent(name, {"response_format": {"type": "json_object"}}, strict=True)


@pytest.mark.parametrize(
    "name", ["anthropic", "bedrock claude", "converse claude", "converse nova", "gpt-oss", "llama"]
)
def test_what_is_told_stands_behind_the_callers_system_texts(name: str) -> None:
    messages = [{"role": "system", "content": "First."}, {"role": "system", "content": "Second."}, HELLO]
    native = json.dumps(sent(name, {"messages": messages, "response_format": {"type": "json_object"}})[0])
    assert native.index("First.") < native.index("Second.")
    assert native.index("Second.") < native.index("one valid JSON object")


def test_a_line_of_many_parameters_names_all_that_are_refused() -> None:
    body = {
        "seed": 1, "logit_bias": {"5": 1}, "presence_penalty": 0.5, "response_format": {"type": "json_object"},
        "top_p": 0.9, "temperature": 0.2, "store": True, "metadata": {"a": "b"}, "logprobs": True,
        "messages": [{**HELLO, "name": "bob"}],
    }  # fmt: skip
    with pytest.raises(LineRejected) as caught:
        sent("anthropic", body)
    assert caught.value.params == ("logprobs", "logit_bias", "presence_penalty", "top_p")
