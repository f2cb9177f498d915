"""Chat bodies in Anthropic's own words: what Claude can do is handed on, what a model refuses is refused by name."""

from __future__ import annotations

import json
import re

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import Form, to_messages
from proxy_plugin.providers.formats.openai.responses_chat import to_chat
from tests.unit.formats.anthropic_lines import (
    FABLE,
    HAIKU,
    HELLO,
    MARK,
    NATIVE_TOOL,
    OLDEST,
    OPUS_4_6,
    OPUS_4_7,
    SCHEMA,
    SONNET_4,
    SONNET_5,
    SONNET_5_5,
    TOOL,
    Json,
    body,
    call,
    calling,
    noting,
    result,
    text,
)

BUDGET: Json = {"type": "enabled", "budget_tokens": 2000}
ADAPTIVE: Json = {"type": "adaptive"}
SEARCH: Json = {"type": "web_search_20250305", "name": "web_search"}
UNHEARD = "claude-unheard-of-9"

# Taken as they are: model, options, what is new in the params.
TAKEN: list[tuple[str, Json, Json]] = [
    (HAIKU, {"thinking": BUDGET}, {"thinking": BUDGET}),
    (HAIKU, {"thinking": BUDGET, "max_tokens": 4000}, {"thinking": BUDGET, "max_tokens": 4000}),
    (SONNET_4, {"thinking": {**BUDGET, "display": "omitted"}, "max_tokens": 4000}, {"max_tokens": 4000}),
    (OPUS_4_6, {"thinking": BUDGET}, {"thinking": BUDGET}),
    (OPUS_4_6, {"thinking": ADAPTIVE}, {"thinking": ADAPTIVE}),
    (OPUS_4_7, {"thinking": {**ADAPTIVE, "display": "summarized"}}, {}),
    (
        OPUS_4_7,
        {"thinking": ADAPTIVE, "reasoning_effort": "low"},
        {"thinking": ADAPTIVE, "output_config": {"effort": "low"}},
    ),
    (SONNET_5, {"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
    (OPUS_4_7, {"thinking": {"type": "disabled"}, "reasoning_effort": "none"}, {"thinking": None}),
    (SONNET_5_5, {"thinking": {"type": "between_tools"}}, {"thinking": {"type": "between_tools"}}),
    (UNHEARD, {"thinking": {"type": "between_tools"}}, {"thinking": {"type": "between_tools"}}),
    (UNHEARD, {"thinking": BUDGET, "max_tokens": 4000}, {"thinking": BUDGET, "max_tokens": 4000}),
    (HAIKU, {"output_config": {"effort": "low"}}, {"output_config": {"effort": "low"}}),
    (OPUS_4_7, {"output_config": {"effort": "xhigh"}}, {"output_config": {"effort": "xhigh"}}),
    (OPUS_4_6, {"output_config": {"effort": "max", "task_budget": {"total": 9}}}, {}),
    (HAIKU, {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, {}),
    (HAIKU, {"system": "Be terse."}, {"system": "Be terse."}),
    (
        HAIKU,
        {"system": [{**text("Be terse."), "cache_control": MARK}]},
        {"system": [{**text("Be terse."), "cache_control": MARK}]},
    ),
    (HAIKU, {"system": "  "}, {"system": None}),
    (HAIKU, {"stop_sequences": ["a", "b", "c", "d", "e"]}, {"stop_sequences": ["a", "b", "c", "d", "e"]}),
    (
        HAIKU,
        {"stop_sequences": ["a", "b"], "stop": ["b", "c"]},
        {"stop_sequences": ["b", "c", "a"]},
    ),
    (HAIKU, {"top_k": 3}, {"top_k": 3}),
    (HAIKU, {"web_search_options": {}}, {"tools": [SEARCH]}),
    (
        HAIKU,
        {
            "web_search_options": {
                "user_location": {"type": "approximate", "approximate": {"city": "Bern", "country": "CH"}}
            }
        },
        {"tools": [{**SEARCH, "user_location": {"type": "approximate", "city": "Bern", "country": "CH"}}]},
    ),
    (
        HAIKU,
        {"tools": [{"type": "web_search_20260209", "name": "web_search", "max_uses": 2}, TOOL], "tool_choice": "auto"},
        {
            "tools": [NATIVE_TOOL, {"type": "web_search_20260209", "name": "web_search", "max_uses": 2}],
            "tool_choice": {"type": "auto"},
        },
    ),
    (HAIKU, {"metadata": {"user_id": "u-1"}}, {"metadata": {"user_id": "u-1"}}),
    (HAIKU, {"service_tier": "standard_only"}, {"service_tier": "standard_only"}),
    (HAIKU, {"container": "c-1", "inference_geo": "eu"}, {"container": "c-1", "inference_geo": "eu"}),
    (HAIKU, {"mcp_servers": [{"type": "url", "url": "https://x"}], "context_management": {"edits": []}}, {}),
    (HAIKU, {"thinking": None, "output_config": None, "system": None, "stop_sequences": None}, {}),
]


@pytest.mark.parametrize(("model", "options", "native"), TAKEN)
def test_what_claude_can_do_is_handed_on(model: str, options: Json, native: Json) -> None:
    params, noted = noting(model, **options)
    assert noted == ()
    expected = {name: value for name, value in options.items() if name not in ("stop", "reasoning_effort")} | native
    for name, value in expected.items():
        if name != "web_search_options":
            assert params.get(name) == value, name


# Refused by name without a switch; with it, what is noted and what becomes of the field.
CONFLICTS: list[tuple[str, Json, tuple[str, ...], Json]] = [
    (OPUS_4_7, {"thinking": BUDGET}, ("thinking.budget_tokens=adaptive",), {"thinking": ADAPTIVE}),
    (SONNET_5, {"thinking": BUDGET}, ("thinking.budget_tokens=adaptive",), {"thinking": ADAPTIVE}),
    (FABLE, {"thinking": {"type": "disabled"}}, ("thinking",), {"thinking": None}),
    (HAIKU, {"thinking": ADAPTIVE}, ("thinking",), {"thinking": None}),
    (OLDEST, {"thinking": BUDGET, "max_tokens": 4000}, ("thinking",), {"thinking": None}),
    (HAIKU, {"thinking": {"type": "between_tools"}}, ("thinking",), {"thinking": None}),
    (HAIKU, {"thinking": BUDGET, "tools": [TOOL], "tool_choice": "required"}, ("thinking",), {"thinking": None}),
    (HAIKU, {"thinking": BUDGET, "temperature": 0.5}, ("temperature",), {"thinking": BUDGET, "temperature": None}),
    (HAIKU, {"thinking": BUDGET, "reasoning_effort": "low"}, ("reasoning_effort",), {"thinking": BUDGET}),
    (
        SONNET_5,
        {"thinking": {"type": "disabled"}, "reasoning_effort": "low"},
        ("reasoning_effort",),
        {"thinking": {"type": "disabled"}},
    ),
    (
        OPUS_4_6,
        {"output_config": {"effort": "xhigh"}},
        ("output_config.effort=high",),
        {"output_config": {"effort": "high"}},
    ),
    (
        OPUS_4_7,
        {"output_config": {"effort": "low"}, "reasoning_effort": "high"},
        ("reasoning_effort",),
        {"output_config": {"effort": "low"}},
    ),
    (HAIKU, {"stop_sequences": [" ", "x"]}, ("stop_sequences",), {"stop_sequences": ["x"]}),
    (
        HAIKU,
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 1}}}},
        ("output_config.format.schema.minimum",),
        {},
    ),
    (
        HAIKU,
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ("output_config.format=told, not enforced",),
        {"output_config": None},
    ),
]


@pytest.mark.parametrize(("model", "options", "lost", "native"), CONFLICTS)
def test_what_the_model_refuses_is_refused_in_plan(
    model: str, options: Json, lost: tuple[str, ...], native: Json
) -> None:
    with pytest.raises(LineRejected) as caught:
        to_messages(body(model, **options), model=None, drop_params=False, strict_params=True)
    assert "has no equivalent" not in caught.value.message
    assert lost[0].split(".")[0].split("=")[0] in {param.split(".")[0] for param in caught.value.params}
    translated = to_messages(body(model, **options), model=None, drop_params=True)
    assert translated.dropped == lost
    params = json.loads(translated.body)
    assert {name: params.get(name) for name in native} == native


REFUSED: list[tuple[Json, str]] = [
    ({"thinking": "yes"}, "thinking.type"),
    ({"thinking": {"type": "deep"}}, "thinking.type"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 4000}, "max_tokens": 4000}, "thinking.budget_tokens"),
    ({"thinking": {**BUDGET, "display": "all"}}, "thinking.display"),
    ({"output_config": []}, "output_config"),
    ({"output_config": {"effort": "minimal"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
    ({"output_config": {"format": {"type": "json_schema", "schema": 1}}}, "output_config.format"),
    (
        {
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
            "response_format": {"type": "json_object"},
        },
        "output_config.format",
    ),
    ({"system": 7}, "system"),
    ({"system": [{"type": "image"}]}, "system[0]"),
    ({"system": [text("a"), text(" ")]}, "system[1]"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"stop_sequences": [1]}, "stop_sequences"),
    ({"web_search_options": True}, "web_search_options"),
    (
        {"web_search_options": {"user_location": {"type": "approximate"}}},
        "web_search_options.user_location.approximate",
    ),
    ({"tools": [{"type": "web_search_20250305"}]}, "tools[0].name"),
    (
        {"web_search_options": {}, "tools": [{"type": "function", "function": {"name": "web_search"}}]},
        "tools",
    ),
    ({"speed": "fast"}, "speed"),
    ({"betas": ["context-1m"]}, "betas"),
]


@pytest.mark.parametrize(("options", "param"), REFUSED)
@pytest.mark.parametrize("drop", [False, True])
def test_own_words_that_no_model_takes(options: Json, param: str, drop: bool) -> None:
    with pytest.raises(LineRejected) as caught:
        to_messages(body(HAIKU, **options), model=None, drop_params=drop)
    assert caught.value.param == param
    assert "has no equivalent" not in caught.value.message


def test_the_bodys_system_stands_before_what_messages_say_to_it() -> None:
    said = [{"role": "system", "content": "b"}, *HELLO]
    assert noting(HAIKU, said, system="a")[0]["system"] == [text("a"), text("b")]
    assert noting(HAIKU, said, system=[text("a")])[0]["system"] == [text("a"), text("b")]


def test_the_size_of_a_search_only_hints() -> None:
    params, noted = noting(web_search_options={"search_context_size": "low"})
    assert (params["tools"], noted) == ([SEARCH], ("web_search_options.search_context_size",))


CLOUDS = [Form.BEDROCK, Form.VERTEX]


@pytest.mark.parametrize("form", CLOUDS)
@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [SEARCH]}, "tools[0]"),
        ({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, "tools[0]"),
    ],
)
def test_clouds_run_no_tools_of_anthropics(form: Form, options: Json, param: str) -> None:
    with pytest.raises(LineRejected, match="batches of this cloud") as caught:
        to_messages(body(HAIKU, **options), model=None, drop_params=False, form=form)
    assert caught.value.param == param
    translated = to_messages(body(HAIKU, **options), model=None, drop_params=True, form=form)
    assert "tools" not in json.loads(translated.body)


@pytest.mark.parametrize("form", CLOUDS)
def test_clouds_take_the_other_words(form: Form) -> None:
    options: Json = {
        "thinking": BUDGET,
        "system": "s",
        "stop_sequences": ["x"],
        "anthropic_beta": ["a"],
        "tools": [{"type": "bash_20250124", "name": "bash"}],
    }
    params = json.loads(to_messages(body(HAIKU, **options), model=None, drop_params=False, form=form).body)
    assert {name: params[name] for name in options} == options


# ---- thoughts that a Responses body asks for ----

SUMMARIES: list[tuple[str, Json, object, tuple[str, ...]]] = [
    (OPUS_4_6, {"effort": "low", "summary": "auto"}, {"type": "adaptive", "display": "summarized"}, ()),
    (OPUS_4_7, {"effort": "high", "summary": "auto"}, {"type": "adaptive", "display": "summarized"}, ()),
    (FABLE, {"effort": "low", "generate_summary": "auto"}, {"type": "adaptive", "display": "summarized"}, ()),
    (
        OPUS_4_7,
        {"effort": "high", "summary": "detailed"},
        {"type": "adaptive", "display": "summarized"},
        ("reasoning_summary",),
    ),
    (SONNET_5, {"summary": "auto"}, {"type": "adaptive", "display": "summarized"}, ()),
    (FABLE, {"summary": "auto"}, {"type": "adaptive", "display": "summarized"}, ()),
    (HAIKU, {"effort": "low", "summary": "auto"}, {"type": "enabled", "budget_tokens": 2048}, ()),
    (HAIKU, {"summary": "auto"}, None, ("reasoning_summary",)),
    (OPUS_4_7, {"summary": "auto"}, None, ("reasoning_summary",)),
    (SONNET_5, {"effort": "none", "summary": "auto"}, {"type": "disabled"}, ("reasoning_summary",)),
    (OLDEST, {"summary": "concise"}, None, ("reasoning_summary",)),
]


@pytest.mark.parametrize(("model", "reasoning", "thinking", "noted"), SUMMARIES)
def test_a_summary_asks_for_thoughts_or_is_noted(
    model: str, reasoning: Json, thinking: object, noted: tuple[str, ...]
) -> None:
    chat = to_chat(json.dumps({"input": "hi", "reasoning": reasoning}).encode(), drop_params=False)
    translated = to_messages(chat.body, model=model, drop_params=False)
    assert json.loads(translated.body).get("thinking") == thinking
    assert translated.dropped == noted


def test_no_message_says_that_anthropic_lacks_what_it_has() -> None:
    own = ("thinking", "output_config", "system", "stop_sequences", "top_k", "web_search_options", "container")
    for name in own:
        for value in (7, "x", [], {}, [7], {"type": "x"}, {"x": 1}):
            for form in Form:
                try:
                    to_messages(body(HAIKU, **{name: value}), model=None, drop_params=False, form=form)
                except LineRejected as error:
                    lacking = re.findall(r"(\S+): Anthropic's Messages API has no equivalent", error.message)
                    assert name not in lacking or (name, form) in {("container", cloud) for cloud in CLOUDS}


def test_own_thinking_with_a_budget_needs_signed_thinking_after_tools() -> None:
    messages = [*HELLO, calling(call()), result()]
    with pytest.raises(LineRejected, match="signed thinking") as caught:
        to_messages(body(HAIKU, messages, thinking=BUDGET), model=None, drop_params=False)
    assert caught.value.param == "thinking"
