"""Parameters of a chat body as Anthropic's: what is translated, what is no loss, what is lost and recorded."""

from __future__ import annotations

import pytest

from tests.unit.formats.anthropic_lines import (
    BARE_TOOL,
    FABLE,
    HAIKU,
    HELLO,
    NATIVE_TOOL,
    OLDEST,
    OPUS_4_1,
    OPUS_4_6,
    OPUS_4_7,
    SCHEMA,
    SONNET_4,
    SONNET_5,
    SONNET_5_5,
    TOOL,
    Json,
    call,
    calling,
    dropping,
    noting,
    result,
    text,
    tool_result,
    tool_use,
    translate,
    user,
)

OPTIONS: list[tuple[str, Json, Json]] = [
    (HAIKU, {"max_tokens": 7}, {"max_tokens": 7}),
    (HAIKU, {"max_completion_tokens": 7, "max_tokens": None}, {"max_tokens": 7}),
    (HAIKU, {"max_completion_tokens": 7, "max_tokens": 7}, {"max_tokens": 7}),
    (HAIKU, {"max_tokens": 64_000}, {"max_tokens": 64_000}),
    ("claude-new-1", {"max_tokens": 10**6}, {"max_tokens": 10**6}),
    ("claude-new-1", {}, {"max_tokens": 8192}),
    (OLDEST, {}, {"max_tokens": 4096}),
    (SONNET_4, {}, {"max_tokens": 8192}),
    (HAIKU, {"stop": "x"}, {"stop_sequences": ["x"]}),
    (HAIKU, {"stop": ["x", "\ny"]}, {"stop_sequences": ["x", "\ny"]}),
    (HAIKU, {"stop": []}, {}),
    (HAIKU, {"stop": None}, {}),
    (HAIKU, {"temperature": 0, "top_k": 5}, {"temperature": 0, "top_k": 5}),
    (HAIKU, {"temperature": 0.2, "top_p": 1}, {"temperature": 0.2}),
    (HAIKU, {"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}),
    (SONNET_4, {"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2, "top_p": 0.5}),
    (OPUS_4_7, {"temperature": 1, "top_p": 1.0}, {}),
    (HAIKU, {"reasoning_effort": None}, {}),
    (HAIKU, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    (SONNET_5, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    (OPUS_4_7, {"reasoning_effort": "none"}, {}),
    (OLDEST, {"reasoning_effort": "none"}, {}),
    (HAIKU, {"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    (
        HAIKU,
        {"reasoning_effort": "low", "max_tokens": 20_000, "temperature": 1, "top_p": 0.95},
        {"max_tokens": 20_000, "thinking": {"type": "enabled", "budget_tokens": 2048}, "top_p": 0.95},
    ),
    (FABLE, {"reasoning_effort": "max"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
    (HAIKU, {"response_format": {"type": "text"}}, {}),
    (HAIKU, {"user": "", "safety_identifier": None}, {}),
]


@pytest.mark.parametrize(("model", "options", "native"), OPTIONS)
def test_options(model: str, options: Json, native: Json) -> None:
    params = translate(model, **options)
    expected = {"model": model, "messages": HELLO, "max_tokens": params["max_tokens"], **native}
    assert params == expected
    assert params.get("thinking", {}).get("budget_tokens", 0) < params["max_tokens"]


def test_a_schema_becomes_the_output_format_beside_the_effort() -> None:
    wanted = {"name": "n", "strict": True, "schema": SCHEMA, "description": "what it is for"}
    params = translate(OPUS_4_6, response_format={"type": "json_schema", "json_schema": wanted}, reasoning_effort="low")
    schema = {"description": "what it is for", **SCHEMA}
    assert params["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}


def test_users_are_told_apart_and_not_named() -> None:
    def pseudonym(**names: str) -> str:
        return str(translate(HAIKU, HELLO, **names)["metadata"]["user_id"])

    mail = "someone@example.com"
    assert pseudonym(user=mail) == pseudonym(safety_identifier=mail) == pseudonym(safety_identifier=mail, user=mail)
    both, dropped = dropping(HAIKU, safety_identifier=mail, user="another")
    assert (both["metadata"]["user_id"], dropped) == (pseudonym(user=mail), ("user",))
    assert pseudonym(user=mail) != pseudonym(user="another")
    assert mail not in pseudonym(user=mail)
    assert len(pseudonym(user="\ud83d")) == 64


SAME: list[Json] = [
    {"n": 1, "logprobs": False, "top_logprobs": 0, "stream": False, "stream_options": {"include_usage": True}},
    {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "seed": None, "store": False},
    {"service_tier": "auto", "modalities": ["text"], "audio": None, "prediction": None, "metadata": {}},
    {"service_tier": "default", "verbosity": "medium", "anything": None, "stream": None, "n": None},
]


@pytest.mark.parametrize("options", SAME)
def test_values_that_ask_for_what_happens_anyway_are_no_loss(options: Json) -> None:
    assert translate(**options) == translate()


ADAPTIVE: Json = {"type": "adaptive"}
# What becomes something else without a switch, and is noted.
NOTED: list[tuple[str, Json, Json, tuple[str, ...]]] = [
    (OPUS_4_6, {"reasoning_effort": "minimal"}, {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}, ("=low",)),
    (FABLE, {"reasoning_effort": "minimal"}, {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}, ("=low",)),
    (HAIKU, {"reasoning_effort": "max"}, {"thinking": {"type": "enabled", "budget_tokens": 32_000}}, ("=xhigh",)),
    (
        HAIKU,
        {"reasoning_effort": "xhigh", "max_tokens": 1025},
        {"max_tokens": 1025, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        ("=1024",),
    ),
    (
        SONNET_4,
        {"reasoning_effort": "high", "max_tokens": 20_000},
        {"max_tokens": 20_000, "thinking": {"type": "enabled", "budget_tokens": 10_000}},
        ("=10000",),
    ),
    (SONNET_5_5, {"reasoning_effort": "none"}, {"thinking": {"type": "between_tools"}}, ("=between_tools",)),
]


@pytest.mark.parametrize(("model", "options", "native", "noted"), NOTED)
def test_a_level_that_becomes_another_is_noted(model: str, options: Json, native: Json, noted: tuple[str, ...]) -> None:
    params, names = noting(model, **options)
    assert names == tuple(f"reasoning_effort{each}" for each in noted)
    assert params == {"model": model, "messages": HELLO, "max_tokens": params["max_tokens"], **native}


EMPTY_STOPS: list[tuple[object, list[str] | None]] = [
    ("", None),
    ([""], None),
    (["", "x"], ["x"]),
    (["x", "", "y"], ["x", "y"]),
    (["x", "x", ""], ["x"]),
]


@pytest.mark.parametrize(("stop", "sequences"), EMPTY_STOPS)
def test_an_empty_stop_is_left_out_and_noted(stop: object, sequences: list[str] | None) -> None:
    params, names = noting(stop=stop)
    assert (params.get("stop_sequences"), names) == (sequences, ("stop",))


LOSSES: list[tuple[str, Json, Json, tuple[str, ...]]] = [
    (HAIKU, {"seed": 0}, {}, ("seed",)),
    (HAIKU, {"frequency_penalty": 0.1, "presence_penalty": -1}, {}, ("frequency_penalty", "presence_penalty")),
    (HAIKU, {"logit_bias": {"1": 2}, "store": True}, {}, ("logit_bias", "store")),
    (HAIKU, {"prediction": {"type": "content", "content": "x"}}, {}, ("prediction",)),
    (HAIKU, {"service_tier": "flex", "metadata": {"a": "b"}}, {}, ("service_tier", "metadata")),
    (HAIKU, {"verbosity": "low", "prompt_cache_key": "k"}, {}, ("verbosity", "prompt_cache_key")),
    (HAIKU, {"never_heard_of": False}, {}, ("never_heard_of",)),
    (HAIKU, {"user text 💬": 1}, {}, ("(other)",)),
    (HAIKU, {"temperature": 1.5}, {"temperature": 1}, ("temperature=1",)),
    (HAIKU, {"temperature": 2, "max_tokens": 64_001}, {"temperature": 1}, ("max_tokens=64000", "temperature=1")),
    (OLDEST, {"max_completion_tokens": 4097}, {"max_tokens": 4096}, ("max_completion_tokens=4096",)),
    (OLDEST, {"max_completion_tokens": 9999, "max_tokens": 9999}, {}, ("max_completion_tokens=4096",)),
    (HAIKU, {"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}, ("top_p",)),
    (OPUS_4_1, {"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}, ("top_p",)),
    (OPUS_4_7, {"temperature": 0.0, "top_p": 0.5, "top_k": 1}, {}, ("temperature", "top_k", "top_p")),
    (HAIKU, {"stop": ["\n", "x"]}, {"stop_sequences": ["x"]}, ("stop",)),
    (HAIKU, {"stop": " "}, {}, ("stop",)),
    (OLDEST, {"reasoning_effort": "low"}, {}, ("reasoning_effort",)),
    (FABLE, {"reasoning_effort": "none"}, {}, ("reasoning_effort",)),
    (
        OPUS_4_6,
        {"reasoning_effort": "xhigh"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ("reasoning_effort=high",),
    ),
    (HAIKU, {"reasoning_effort": "low", "max_tokens": 1024}, {"max_tokens": 1024}, ("reasoning_effort",)),
    (
        OPUS_4_6,
        {"reasoning_effort": "low", "temperature": 0.5, "top_k": 1, "top_p": 0.9},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ("temperature", "top_k", "top_p"),
    ),
    (
        HAIKU,
        {"reasoning_effort": "low", "tools": [TOOL], "tool_choice": "required"},
        {"tools": [NATIVE_TOOL], "tool_choice": {"type": "any"}},
        ("reasoning_effort",),
    ),
    (
        FABLE,
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [NATIVE_TOOL], "tool_choice": {"type": "auto"}},
        ("tool_choice=auto",),
    ),
    (
        SONNET_4,
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "odd": 1}, "more": 2}]},
        {"tools": [BARE_TOOL]},
        ("tools[].more", "tools[].function.odd", "tools[].function.strict"),
    ),
]


@pytest.mark.parametrize(("model", "options", "native", "lost"), LOSSES)
def test_losses_are_refused_or_recorded(model: str, options: Json, native: Json, lost: tuple[str, ...]) -> None:
    params, dropped = dropping(model, **options)
    assert dropped == lost
    assert params == {"model": model, "messages": HELLO, "max_tokens": params["max_tokens"], **native}


LOST_IN_MESSAGES: list[tuple[list[Json], list[Json], tuple[str, ...]]] = [
    ([{"role": "user", "content": "a", "name": "n"}] * 2, [{"role": "user", "content": "a"}] * 2, ("messages[].name",)),
    (user({**text("a"), "odd": 1}), user(text("a")), ("messages[].content[].odd",)),
    (
        user({"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}}),
        user({"type": "image", "source": {"type": "url", "url": "https://x/y"}}),
        ("messages[].content[].image_url.detail",),
    ),
    (
        [*HELLO, {"role": "assistant", "content": "a", "reasoning_content": "t", "annotations": []}, *HELLO],
        [*HELLO, {"role": "assistant", "content": "a"}, *HELLO],
        ("messages[].reasoning_content",),
    ),
    (
        [*HELLO, calling({**call(), "odd": 1}), result(name="another")],
        [
            *HELLO,
            {"role": "assistant", "content": [tool_use()]},
            {"role": "user", "content": [tool_result(content="r")]},
        ],
        ("messages[].tool_calls[].odd", "messages[].name"),
    ),
]


@pytest.mark.parametrize(("messages", "native", "lost"), LOST_IN_MESSAGES)
def test_losses_inside_messages(messages: list[Json], native: list[Json], lost: tuple[str, ...]) -> None:
    params, dropped = dropping(messages=messages)
    assert (params["messages"], dropped) == (native, lost)


def test_thinking_with_a_budget_needs_what_a_chat_body_cannot_hold() -> None:
    messages = [*HELLO, calling(call()), result()]
    params, dropped = dropping(HAIKU, messages, reasoning_effort="low")
    assert dropped == ("reasoning_effort",)
    assert "thinking" not in params
    assert translate(OPUS_4_6, messages, reasoning_effort="low")["thinking"] == {"type": "adaptive"}
