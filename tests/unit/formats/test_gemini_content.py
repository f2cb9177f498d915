"""Chat bodies as generateContent requests: parameters, tools, formats, thinking."""

from __future__ import annotations

import json

import pytest

from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from tests.unit.formats.gemini_lines import (
    ARGON,
    DECLARED,
    FLASH,
    FLASH_2,
    FLASH_3,
    FLASH_3_6,
    FLASH_3_8,
    HELLO,
    LITE,
    PRO,
    PRO_3,
    PRO_3_1,
    SCHEMA,
    TOOL,
    Json,
    body,
    config,
    dropping,
    noting,
    refusal,
    translate,
)


def test_the_plainest_line() -> None:
    assert translate() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    told = [{"role": "system", "content": "a"}, *HELLO]
    assert translate(messages=told, max_tokens=7) == {
        "systemInstruction": {"parts": [{"text": "a"}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 7},
    }


def test_the_routes_model_decides() -> None:
    line = body(PRO_3, reasoning_effort="low")
    named = to_generate_content(line, model=FLASH, drop_params=False)
    assert json.loads(named.body)["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 1024}}


def test_parameters() -> None:
    assert config(
        FLASH_2,
        max_completion_tokens=9,
        temperature=0.5,
        top_p=1,
        top_k=40,
        stop=["a", "\n"],
        seed=-7,
        n=3,
        presence_penalty=-2,
        frequency_penalty=0.25,
        logprobs=True,
        top_logprobs=5,
        modalities=["text", "image"],
    ) == {
        "maxOutputTokens": 9,
        "temperature": 0.5,
        "topP": 1,
        "topK": 40,
        "stopSequences": ["a", "\n"],
        "seed": -7,
        "candidateCount": 3,
        "presencePenalty": -2,
        "frequencyPenalty": 0.25,
        "responseLogprobs": True,
        "logprobs": 5,
        "responseModalities": ["TEXT", "IMAGE"],
    }
    wanted = {"stopSequences": ["a"], "responseLogprobs": True}
    assert config(stop="a", logprobs=True, top_logprobs=0, vertex=True) == wanted


@pytest.mark.parametrize("model", [FLASH_2, FLASH, PRO_3, FLASH_3_8, "tuned"])
def test_values_that_ask_for_what_happens_anyway(model: str) -> None:
    assert translate(
        model,
        n=1,
        stream=False,
        stream_options=None,
        logprobs=False,
        top_logprobs=0,
        modalities=["text"],
        frequency_penalty=0,
        presence_penalty=0.0,
        store=False,
        service_tier="auto",
        verbosity="medium",
        response_format={"type": "text"},
        stop=None,
        tools=[],
        tool_choice="none",
        parallel_tool_calls=True,
        user=None,
        metadata={},
        logit_bias={},
    ) == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_what_gemini_has_no_word_for_is_refused_or_dropped_by_name() -> None:
    lost: Json = {"user": "u", "logit_bias": {"1": 2}, "metadata": {"a": "b"}}
    for key, value in lost.items():
        request, dropped = dropping(**{key: value})
        assert dropped == (key,)
        assert request == translate()


SEARCHES: list[tuple[Json, list[Json], tuple[str, ...]]] = [
    ({"web_search_options": {}}, [{"googleSearch": {}}], ()),
    (
        {"web_search_options": {"search_context_size": "low"}},
        [{"googleSearch": {}}],
        ("web_search_options.search_context_size",),
    ),
    ({"tools": [{"googleSearch": {}}]}, [{"googleSearch": {}}], ()),
    ({"tools": [{"google_search": {}}], "web_search_options": {}}, [{"googleSearch": {}}], ()),
    ({"tools": [{"url_context": {}}, {"codeExecution": {}}]}, [{"urlContext": {}}, {"codeExecution": {}}], ()),
    (
        {"tools": [{"google_search": {"timeRangeFilter": None}}]},
        [{"googleSearch": {"timeRangeFilter": None}}],
        (),
    ),
    (
        {"tools": [TOOL, {"google_maps": {}}]},
        [{"functionDeclarations": [DECLARED]}, {"googleMaps": {}}],
        (),
    ),
]


@pytest.mark.parametrize(("options", "tools", "noted"), SEARCHES)
def test_what_google_runs_itself(options: Json, tools: list[Json], noted: tuple[str, ...]) -> None:
    request, dropped = noting(**options)
    assert (request["tools"], dropped) == (tools, noted)


def test_a_search_in_a_batch_of_vertex_is_no_empty_object() -> None:
    search = [{"googleSearch": {"timeRangeFilter": None}}]
    both: list[Json] = [{"web_search_options": {}}, {"tools": [{"google_search": {}}]}]
    for asked in both:
        assert translate(vertex=True, **asked)["tools"] == search
    refused = refusal(vertex=True, tools=[{"url_context": {}}])
    assert refused.param == "tools[0].url_context"


def test_a_place_of_the_search_is_refused_by_name() -> None:
    place = {"type": "approximate", "approximate": {"city": "Rome"}}
    request, dropped = dropping(web_search_options={"user_location": place})
    assert (request["tools"], dropped) == ([{"googleSearch": {}}], ("web_search_options.user_location",))


@pytest.mark.parametrize(
    "options",
    [
        {"tools": [{"google_search": None}]}, {"tools": [{"google_search": 1}]}, {"web_search_options": 1},
        {"tools": [{"google_search": {}, "x": {}}]}, {"tools": [{"type": "web_search"}]}, {"tools": [{}]},
    ],
)  # fmt: skip
def test_what_is_no_tool(options: Json) -> None:
    assert str(refusal(**options).param).startswith(("tools[0]", "web_search_options"))


def test_limits_of_the_model() -> None:
    request, dropped = dropping(FLASH_2, max_tokens=9000)
    assert (request["generationConfig"], dropped) == ({"maxOutputTokens": 8192}, ("max_tokens=8192",))
    assert config("gemini-9-pro", max_tokens=10**7) == {"maxOutputTokens": 10**7}


def test_seeds_beyond_32_bits_and_empty_stops() -> None:
    assert config(seed=2**31 - 1) == {"seed": 2**31 - 1}
    assert dropping(seed=2**31)[1] == ("seed",)
    request, dropped = dropping(stop=["", "a"])
    assert request["generationConfig"] == {"stopSequences": ["a"]}
    assert dropped == noting(stop=["", "a"])[1] == ("stop=without empty ones",)


def test_models_that_ignore_sampling() -> None:
    assert config(FLASH_3_8, temperature=1, top_p=1.0) == {}
    request, dropped = dropping(FLASH_3_6, temperature=0, top_p=0.5, top_k=1)
    assert "generationConfig" not in request
    assert dropped == ("temperature", "top_p", "top_k")


def test_penalties_by_model_and_home() -> None:
    assert config(FLASH, vertex=True, presence_penalty=1) == {"presencePenalty": 1}
    assert dropping(FLASH, presence_penalty=1)[1] == ("presence_penalty",)
    assert dropping(PRO_3_1, vertex=True, frequency_penalty=1)[1] == ("frequency_penalty",)


TOOLS: list[tuple[Json, Json]] = [
    ({"name": "f"}, {"name": "f"}),
    ({"name": "f", "parameters": {}, "description": "", "strict": False}, {"name": "f"}),
    ({"name": "f", "parameters": None, "description": None, "strict": None}, {"name": "f"}),
    ({"name": "a.b:c-d", "parameters": {"properties": {}}}, {
        "name": "a.b:c-d", "parametersJsonSchema": {"type": "object", "properties": {}}
    }),
    ({"name": "f", "description": "d", "parameters": SCHEMA}, DECLARED),
]  # fmt: skip


@pytest.mark.parametrize(("given", "native"), TOOLS)
def test_tools(given: Json, native: Json) -> None:
    wanted = [{"functionDeclarations": [native]}]
    assert translate(tools=[{"type": "function", "function": given}])["tools"] == wanted
    assert translate(functions=[given])["tools"] == wanted


def test_all_tools_stand_in_one_list() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "ab"]
    assert translate(tools=tools)["tools"] == [{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}]


STRICT = {"type": "function", "function": {"name": "f", "strict": True}}
CHOICES: list[tuple[Json, Json | None]] = [
    ({"tools": [TOOL]}, None),
    ({"tools": [TOOL], "tool_choice": "auto"}, {"mode": "AUTO"}),
    ({"tools": [TOOL], "tool_choice": "none", "parallel_tool_calls": False}, {"mode": "NONE"}),
    ({"tools": [TOOL], "tool_choice": "required"}, {"mode": "ANY"}),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"mode": "ANY", "allowedFunctionNames": ["f"]},
    ),
    (
        {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
        {"mode": "ANY", "allowedFunctionNames": ["f"]},
    ),
    ({"tools": [STRICT]}, {"mode": "VALIDATED"}),
    ({"tools": [STRICT, {"type": "function", "function": {"name": "g"}}]}, {"mode": "VALIDATED"}),
    ({"tools": [STRICT], "tool_choice": "auto"}, {"mode": "VALIDATED"}),
    ({"tools": [STRICT], "tool_choice": "none"}, {"mode": "NONE"}),
]


@pytest.mark.parametrize(("options", "wanted"), CHOICES)
def test_tool_choice(options: Json, wanted: Json | None) -> None:
    found = translate(**options).get("toolConfig")
    assert found == (wanted and {"functionCallingConfig": wanted})


def test_one_call_at_a_time_cannot_be_promised() -> None:
    request, dropped = dropping(tools=[TOOL], parallel_tool_calls=False)
    assert dropped == ("parallel_tool_calls",)
    assert "toolConfig" not in request


def test_formats() -> None:
    assert config(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    assert config(response_format=wanted) == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    wanted["json_schema"] = {"schema": {"type": "string"}, "description": "d"}
    assert config(response_format=wanted)["responseJsonSchema"] == {"description": "d", "type": "string"}


def test_json_beside_tools() -> None:
    wanted = {"type": "json_object"}
    request, dropped = dropping(FLASH, tools=[TOOL], response_format=wanted)
    assert dropped == ("response_format=told, not enforced",)
    assert "generationConfig" not in request
    assert "JSON" in request["systemInstruction"]["parts"][0]["text"]
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    assert dropping(FLASH, tools=[TOOL], response_format=schema)[1] == ("response_format=told, not enforced",)
    assert translate(PRO_3, tools=[TOOL], response_format=wanted)["generationConfig"]["responseMimeType"]


THINKING: list[tuple[str, str, Json]] = [
    (FLASH, "none", {"thinkingBudget": 0}),
    (FLASH, "low", {"thinkingBudget": 1024}),
    (FLASH, "medium", {"thinkingBudget": 8192}),
    (FLASH, "high", {"thinkingBudget": 24_576}),
    (LITE, "none", {"thinkingBudget": 0}),
    (PRO, "xhigh", {"thinkingBudget": 32_768}),
    (PRO_3, "low", {"thinkingLevel": "LOW"}),
    (PRO_3_1, "medium", {"thinkingLevel": "MEDIUM"}),
    (FLASH_3, "minimal", {"thinkingLevel": "MINIMAL"}),
    (ARGON, "high", {"thinkingLevel": "HIGH"}),
    ("gemini-5-pro", "xhigh", {"thinkingLevel": "XHIGH"}),
]


@pytest.mark.parametrize(("model", "level", "wanted"), THINKING)
def test_thinking(model: str, level: str, wanted: Json) -> None:
    assert config(model, reasoning_effort=level) == {"thinkingConfig": wanted}


THOUGHTLESS: list[tuple[str, str, Json | None, str]] = [
    (PRO, "none", {"thinkingBudget": 128}, "reasoning_effort=minimal"),
    (PRO_3, "none", {"thinkingLevel": "LOW"}, "reasoning_effort=low"),
    (FLASH_3, "none", {"thinkingLevel": "MINIMAL"}, "reasoning_effort=minimal"),
    (FLASH_2, "low", None, "reasoning_effort"),
]


@pytest.mark.parametrize(("model", "level", "wanted", "name"), THOUGHTLESS)
def test_levels_that_a_model_does_not_have(model: str, level: str, wanted: Json | None, name: str) -> None:
    request, dropped = dropping(model, reasoning_effort=level)
    assert dropped == (name,)
    assert request.get("generationConfig") == (wanted and {"thinkingConfig": wanted})


NEAREST: list[tuple[str, str, Json, str]] = [
    (FLASH, "minimal", {"thinkingBudget": 1024}, "low"),
    (FLASH, "xhigh", {"thinkingBudget": 24_576}, "high"),
    (FLASH, "max", {"thinkingBudget": 24_576}, "high"),
    (LITE, "minimal", {"thinkingBudget": 1024}, "low"),
    (PRO, "max", {"thinkingBudget": 32_768}, "xhigh"),
    (PRO_3, "minimal", {"thinkingLevel": "LOW"}, "low"),
    (PRO_3, "medium", {"thinkingLevel": "HIGH"}, "high"),
    (FLASH_3, "max", {"thinkingLevel": "HIGH"}, "high"),
    (ARGON, "minimal", {"thinkingLevel": "LOW"}, "low"),
    ("gemini-5-pro", "none", {"thinkingLevel": "MINIMAL"}, "minimal"),
    ("gemini-5-pro", "max", {"thinkingLevel": "XHIGH"}, "xhigh"),
]


@pytest.mark.parametrize(("model", "level", "wanted", "nearest"), NEAREST)
def test_the_nearest_level_is_noted(model: str, level: str, wanted: Json, nearest: str) -> None:
    request, dropped = noting(model, reasoning_effort=level)
    assert request["generationConfig"] == {"thinkingConfig": wanted}
    assert dropped == (f"reasoning_effort={nearest}",)
    refusal(model, reasoning_effort=level)


@pytest.mark.parametrize("key", ["max_tokens", "temperature", "seed", "top_k", "stop", "tools", "reasoning_effort"])
def test_a_lone_parameter_is_not_lost(key: str) -> None:
    value: Json = {"max_tokens": 7, "temperature": 0.5, "seed": 7, "top_k": 7, "stop": "x", "reasoning_effort": "low"}
    line = {"messages": HELLO, key: value.get(key, [TOOL])}
    alone = to_generate_content(json.dumps(line).encode(), model=FLASH, drop_params=False)
    named = to_generate_content(json.dumps({"model": FLASH, **line}).encode(), model=None, drop_params=False)
    assert alone == named
    assert b"generationConfig" in alone.body or b"functionDeclarations" in alone.body


def test_a_model_without_thinking_is_told_nothing_of_none() -> None:
    assert config(FLASH_2, reasoning_effort="none") == {}


def test_safety_settings() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    assert translate(safety_settings=settings)["safetySettings"] == settings
    by_method = [{**settings[0], "method": "SEVERITY"}]
    assert translate(vertex=True, safety_settings=by_method)["safetySettings"] == by_method
    request, dropped = dropping(safety_settings=by_method)
    assert (request["safetySettings"], dropped) == (settings, ("safety_settings[].method",))


def test_several_answers_only_where_the_model_gives_them() -> None:
    assert config(FLASH, n=8) == {"candidateCount": 8}
    assert "custom_ids" in str(refusal(FLASH_3, n=2))


@pytest.mark.parametrize(
    ("model", "instead"),
    [("gemini-3.8-flash", "low"), ("gemini-3-pro-preview", "low"), ("gemini-2.5-pro", "minimal")],
)
def test_thinking_that_cannot_be_off_is_named_as_the_caller_does(model: str, instead: str) -> None:
    asked: dict[str, Json] = {
        "thinking": {"thinking": {"type": "disabled"}},
        "reasoning_effort": {"reasoning_effort": "none"},
    }
    for name, options in asked.items():
        request, dropped = dropping(model, **options)
        assert dropped == (f"{name}={instead}",)
        assert "thinkingConfig" in request["generationConfig"]
