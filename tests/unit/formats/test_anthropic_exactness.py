"""Nothing changes on the way: texts, numbers of any length, and what the official SDK says of the outcome."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.answers import to_completion
from proxy_plugin.providers.formats.anthropic.models import MODELS, Sampling
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.shapes import Translated
from tests.unit.formats.anthropic_lines import (
    CHOICES,
    FABLE,
    HAIKU,
    HELLO,
    KNOWN,
    MARK,
    OLDEST,
    OPUS_4_7,
    PARTS,
    PDF,
    PNG,
    SCHEMA,
    TOOLS,
    Json,
    body,
    call,
    calling,
    refusal,
    result,
    text,
    translate,
    user,
)


def nested(levels: int) -> Json:
    value: Json = {}
    for _ in range(levels - 1):
        value = {"properties": value}
    return {"type": "object", "properties": value}


def test_nesting_is_bounded_by_name() -> None:
    deep, deeper = nested(199), nested(201)
    params = translate(tools=[{"type": "function", "function": {"name": "f", "parameters": deep}}])
    assert params["tools"][0]["input_schema"] == deep
    assert "200" in str(refusal(functions=[{"name": "f", "parameters": deeper}]))
    assert "200" in str(refusal(messages=[*HELLO, calling(call('{"a":' * 201 + "1" + "}" * 201)), result()]))
    messages = [*HELLO, calling(call('{"a":' * 199 + "1" + "}" * 199)), result()]
    assert translate(messages=messages)["messages"][1]["content"][0]["input"]["a"]


BIG = "1234567890123456789012345"
FRAGILE = f'{{"n": {BIG}, "f":1.10,"h":1e999,"t":0.1234567890123456789,"s":"\\ud83d","z":"\\u0000\\/", "n":-0}}'


def numbers_of(written: bytes | str) -> Any:
    """Decode with every number as its spelling."""
    return json.loads(written, parse_int=str, parse_float=str, object_pairs_hook=lambda pairs: pairs)


def meaning_of(written: bytes | str) -> Any:
    """Decode with every number as its spelling; of a key that stands twice the last value counts, as ever."""
    return json.loads(
        written, parse_int=str, parse_float=str, object_pairs_hook=lambda pairs: list(dict(pairs).items())
    )


@pytest.mark.parametrize("outer", ["", "\ud83d"])
def test_arguments_keep_every_digit_key_and_escape(outer: str) -> None:
    messages = [{"role": "user", "content": "a" + outer}, calling(call(FRAGILE)), result()]
    params = to_messages(body(messages=messages), model=None, drop_params=False).body
    assert FRAGILE.replace("\\ud83d", "\\ufffd").encode() in params
    assert json.loads(params)["messages"][0]["content"] == ("a" + outer).replace("\ud83d", "\ufffd")


@pytest.mark.parametrize("outer", ["", "\ud83d"])
def test_schemas_keep_long_numbers(outer: str) -> None:
    numbers = f'{{"enum":[{BIG},0.12345678901234567890]}}'
    schema = f'{{"type":"object","properties":{{"a":{numbers}}},"additionalProperties":false}}'
    for key, options in {
        "tools": f'"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]',
        "output_config": f'"response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}',
    }.items():
        line = f'{{"model":"{HAIKU}","messages":[{{"role":"user","content":{json.dumps("a" + outer)}}}],{options}}}'
        params = to_messages(line.encode(), model=None, drop_params=False).body
        assert schema.encode() in params, key


def test_a_long_number_where_a_short_one_belongs() -> None:
    line = f'{{"messages":[{{"role":"user","content":"\\ud83d"}}],"temperature":0.69999998807907104492,"top_k":{BIG}}}'
    with pytest.raises(LineRejected, match="top_k"):
        to_messages(line.encode(), model=HAIKU, drop_params=False)
    params = to_messages(line.replace(BIG, "4").encode(), model=HAIKU, drop_params=False).body
    assert b'"temperature":0.69999998807907104492,"top_k":4' in params


TEXTS = [
    "👩‍👩‍👧",
    "漢字かな",
    "مرحبا بالعالم",
    "\u202e\u2028",
    "\x00",
    "a\r\n\tb",
    "x" * 2**20,
]


def places(words: str) -> Iterator[tuple[list[Json], Callable[[Json], object]]]:
    """Yield conversations that hold the words, and where they belong in the params."""
    yield [{"role": "user", "content": words}], lambda params: params["messages"][0]["content"]
    yield user(text(words)), lambda params: params["messages"][0]["content"][0]["text"]
    yield [{"role": "system", "content": words}, *HELLO], lambda params: params["system"]
    yield (
        [*HELLO, {"role": "assistant", "content": words}, *HELLO],
        lambda params: params["messages"][1]["content"],
    )
    yield (
        [*HELLO, calling(call(json.dumps({words: words}))), result(content=words)],
        lambda params: (
            [*params["messages"][1]["content"][0]["input"].popitem(), params["messages"][2]["content"][0]["content"]]
        ),
    )


@pytest.mark.parametrize("words", TEXTS, ids=lambda words: ascii(words[:9]))
def test_texts_survive(words: str) -> None:
    for messages, find in places(words):
        found = find(translate(messages=messages))
        assert found == ([words] * 3 if isinstance(found, list) else words)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda words: not words.isspace()))
def test_any_text_survives(words: str) -> None:
    kept = words if not words[-1].isspace() else words + "."
    for messages, find in places(kept):
        found = find(translate(messages=messages))
        assert found == ([kept] * 3 if isinstance(found, list) else kept)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "role", "content", "type", "text", "image_url", "url", "file", "file_data", "tool_calls", "id", "function",
        "name", "arguments", "tool_call_id", "function_call", "refusal", "audio", "cache_control", "parameters",
        "json_schema", "schema", "strict", "description", "detail",
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    [
        "user", "assistant", "tool", "function", "system", "text", "image_url", "file", "refusal", "f", "{}", PNG, PDF,
        "json_schema", "object", "auto", "required", "none", "ephemeral", "call_1", "",
    ]
)  # fmt: skip
ODD = st.recursive(
    JSON_VALUES | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=14,
)
TOP = st.sampled_from(
    [
        *sorted(KNOWN), "max_completion_tokens", "stop", "functions", "function_call", "parallel_tool_calls",
        "response_format", "reasoning_effort", "user", "safety_identifier", "n", "stream", "logprobs", "modalities",
        "seed", "logit_bias", "web_search_options", "other",
    ]
)  # fmt: skip


def attempt(line: bytes, model: str, drop: bool) -> Translated | LineRejected:
    try:
        return to_messages(line, model=model, drop_params=drop, strict_params=not drop)
    except LineRejected as refused:
        return refused


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(TOP, ODD, max_size=6),
    st.lists(ODD, max_size=3) | st.just(HELLO),
    st.booleans(),
    st.sampled_from([HAIKU, OPUS_4_7, FABLE, OLDEST, "x"]),
)
def test_any_object_is_translated_or_refused(options: Json, messages: list[Any], drop: bool, model: str) -> None:
    line = json.dumps({"messages": messages, **options}).encode()
    outcome = attempt(line, model, drop)
    if isinstance(outcome, LineRejected):
        assert outcome.param
        return
    params = json.loads(outcome.body)
    assert params.keys() <= KNOWN
    assert {"model", "max_tokens", "messages"} <= params.keys()
    assert drop or not outcome.dropped


SPOKEN = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(lambda words: words + ".")
ARGUMENTS = st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3).map(json.dumps)
PART = st.one_of(SPOKEN.map(text), st.sampled_from([part for part, _ in PARTS]), st.just(text("")))


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    """A conversation that OpenAI accepts and Anthropic can answer."""
    messages: list[Json] = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            messages.append({"role": draw(st.sampled_from(["system", "developer"])), "content": draw(SPOKEN)})
        content = draw(SPOKEN) if draw(st.booleans()) else [text("."), *draw(st.lists(PART, max_size=3))]
        messages.append({"role": "user", "content": content})
        kind = draw(st.integers(0, 3))
        if kind == 1:
            messages.append(
                {"role": "assistant", "content": draw(st.none() | SPOKEN), "refusal": draw(st.none() | SPOKEN)}
            )
        elif kind > 1:
            ids = draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3, unique=True))
            messages.append(calling(*(call(draw(ARGUMENTS), given) for given in ids), content=draw(st.none() | SPOKEN)))
            messages += [result(given, draw(st.just("") | SPOKEN)) for given in draw(st.permutations(ids))]
    return [*messages, {"role": "user", "content": "end"}]


@st.composite
def options(draw: st.DrawFn) -> Json:
    """Parameters with valid values, each sometimes absent."""
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
                "response_format": st.sampled_from(
                    [
                        {"type": "text"},
                        {"type": "json_object"},
                        {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
                    ]
                ),
                "user": st.text(),
                "seed": st.integers(),
                "frequency_penalty": st.floats(-2, 2),
                "cache_control": st.just(MARK),
                "parallel_tool_calls": st.booleans(),
            },
        )
    )
    if draw(st.booleans()):
        tools = st.lists(st.sampled_from([given for given, _ in TOOLS]), min_size=1, max_size=2)
        chosen["tools"] = [{"type": "function", "function": given} for given in draw(tools)]
        chosen["tool_choice"] = draw(st.sampled_from([choice.get("tool_choice") for choice, _ in CHOICES]))
    return chosen


@pytest.fixture(scope="module")
def validate() -> Callable[[Json], None]:
    """Return a check against the official SDK's types, which refuse unknown members."""
    pytest.importorskip("anthropic")
    module = importlib.import_module("anthropic.types.message_create_params")
    adapter: Any = importlib.import_module("pydantic").TypeAdapter(module.MessageCreateParamsNonStreaming)

    def exhaust(value: object) -> None:
        """Lists are validated while they are read."""
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, Iterator | list) else ()
        for inner in inside:
            exhaust(inner)

    def check(params: Json) -> None:
        new = {key: value for key, value in params.items() if key not in ("temperature", "top_p", "top_k")}
        exhaust(adapter.validate_python(new, extra="forbid"))

    with pytest.raises(ValueError, match="text"):
        check({"model": "m", "max_tokens": 1, "messages": user({"type": "text"})})
    with pytest.raises(ValueError, match="seed"):
        check({"model": "m", "max_tokens": 1, "messages": HELLO, "seed": 1})
    return check


KNOWN_MODELS = [prefix for facts in MODELS.records for prefix in facts.prefixes]


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(conversations(), options(), st.sampled_from([*KNOWN_MODELS, "claude-unheard-of"]))
def test_valid_lines_become_what_the_official_sdk_accepts(
    validate: Callable[[Json], None], messages: list[Json], chosen: Json, model: str
) -> None:
    translated = to_messages(body(model, messages, **chosen), model=None, drop_params=True)
    params = json.loads(translated.body)
    validate(params)
    assert params.keys() <= KNOWN
    assert params["max_tokens"] <= (MODELS.find(model).max_tokens or 10**6)
    assert params.get("thinking", {}).get("budget_tokens", 0) < params["max_tokens"]
    thinks = params.get("thinking", {}).get("type") in ("enabled", "adaptive")
    assert not (thinks and params.get("tool_choice", {}).get("type") in ("any", "tool"))
    if MODELS.find(model).sampling is not Sampling.BOTH:
        assert not {"temperature", "top_p"} <= params.keys()
    assert to_messages(body(model, messages, **chosen), model=None, drop_params=True) == translated


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)
WRITTEN = st.recursive(
    NUMBERS | st.text(st.characters(), max_size=5).map(json.dumps) | st.sampled_from(["true", "null"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(inner, max_size=3).map(lambda items: "{" + ",\n".join(f'"k": {item}' for item in items) + "}"),
    ),
    max_leaves=8,
)


@given(WRITTEN)
def test_arguments_come_back_as_they_went(written: str) -> None:
    arguments = f'{{"a": {written}}}'
    params = to_messages(body(messages=[*HELLO, calling(call(arguments)), result()]), model=None, drop_params=False)
    assert not set(b"\r\n") & set(params.body)
    start = params.body.index(b'"input":') + len(b'"input":')
    sent = params.body[start : params.body.index(b'}]},{"role":"user"')]
    assert meaning_of(sent) == meaning_of(arguments)
    answered = to_completion(b'{"content":[{"type":"tool_use","id":"i","name":"f","input":' + sent + b"}]}").body
    back = json.loads(answered)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert meaning_of(back) == meaning_of(arguments)
