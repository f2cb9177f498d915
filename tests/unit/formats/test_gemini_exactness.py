"""Nothing changes on the way: texts, numbers of any length, and no object makes the translator fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.gemini.answers import to_completion
from proxy_plugin.providers.formats.gemini.models import MODELS
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.shapes import Translated
from tests.unit.formats.gemini_lines import (
    ARGON,
    FLASH,
    FLASH_2,
    FLASH_3,
    HELLO,
    KNOWN,
    PDF,
    PNG,
    SCHEMA,
    TOOL,
    Json,
    body,
    call,
    calling,
    image,
    refusal,
    result,
    signed,
    text,
    translate,
    user,
)

BIG = "1234567890123456789012345"
FRAGILE = f'{{"n": {BIG}, "f":1.10,"h":1e999,"t":0.1234567890123456789,"s":"\\ud83d","z":"\\u0000\\/", "n":-0}}'


@pytest.mark.parametrize("outer", ["", "\ud83d"])
def test_arguments_keep_every_digit_key_and_escape(outer: str) -> None:
    messages = [{"role": "user", "content": "a" + outer}, calling(call(FRAGILE)), result()]
    request = to_generate_content(body(messages=messages), model=None, drop_params=False).body
    assert FRAGILE.encode() in request
    assert json.loads(request)["contents"][0]["parts"] == [{"text": "a" + outer}]


@pytest.mark.parametrize("outer", ["", "\ud83d"])
def test_schemas_keep_long_numbers(outer: str) -> None:
    schema = f'{{"type":"object","properties":{{"a":{{"maximum":{BIG},"multipleOf":0.12345678901234567890}}}}}}'
    for options in (
        f'"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]',
        f'"response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}',
    ):
        line = f'{{"model":"{FLASH}","messages":[{{"role":"user","content":{json.dumps("a" + outer)}}}],{options}}}'
        assert schema.encode() in to_generate_content(line.encode(), model=None, drop_params=False).body


def test_nesting_is_bounded_by_name() -> None:
    deep: Json = {}
    for _ in range(201):
        deep = {"properties": deep}
    assert "200" in str(refusal(functions=[{"name": "f", "parameters": deep}]))
    assert "200" in str(refusal(messages=[*HELLO, calling(call('{"a":' * 201 + "1" + "}" * 201)), result()]))
    messages = [*HELLO, calling(call('{"a":' * 199 + "1" + "}" * 199)), result()]
    assert translate(messages=messages)["contents"][1]["parts"][0]["functionCall"]["args"]["a"]


TEXTS = [
    "👩‍👩‍👧",
    "漢字かな",
    "مرحبا بالعالم",
    "\u202e\u2028",
    "\x00",
    "\ud83d",
    "a\ude00\ud83d",
    "a\r\n\tb",
    " ",
    "x" * 2**20,
]


def places(words: str) -> Iterator[tuple[list[Json], Callable[[Json], object]]]:
    """Yield conversations that hold the words, and where they belong in the request."""
    yield [{"role": "user", "content": words}], lambda request: request["contents"][0]["parts"][0]["text"]
    yield user(text(words)), lambda request: request["contents"][0]["parts"][0]["text"]
    yield (
        [{"role": "system", "content": words}, *HELLO],
        lambda request: request["systemInstruction"]["parts"][0]["text"],
    )
    yield (
        [*HELLO, {"role": "assistant", "content": words}, *HELLO],
        lambda request: request["contents"][1]["parts"][0]["text"],
    )
    yield (
        [*HELLO, calling(call(json.dumps({words: words}))), result(content=words)],
        lambda request: [
            *request["contents"][1]["parts"][0]["functionCall"]["args"].popitem(),
            request["contents"][2]["parts"][0]["functionResponse"]["response"]["output"],
        ],
    )


@pytest.mark.parametrize("words", TEXTS, ids=lambda words: ascii(words[:9]))
def test_texts_survive(words: str) -> None:
    for messages, find in places(words):
        found = find(translate(messages=messages))
        assert found == ([words] * 3 if isinstance(found, list) else words)


@given(st.text(st.characters(), min_size=1))
def test_any_text_survives(words: str) -> None:
    for messages, find in places(words):
        found = find(translate(messages=messages))
        assert found == ([words] * 3 if isinstance(found, list) else words)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "role", "content", "type", "text", "image_url", "url", "file", "file_data", "file_id", "filename", "format",
        "tool_calls", "id", "function", "name", "arguments", "tool_call_id", "function_call", "refusal", "audio",
        "input_audio", "data", "parameters", "json_schema", "schema", "strict", "description", "detail",
        "extra_content", "google", "thought_signature", "category", "threshold",
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    [
        "user", "assistant", "tool", "function", "system", "text", "image_url", "file", "input_audio", "refusal", "f",
        "{}", PNG, PDF, "gs://a/b.png", "https://a/b.png", "https://[", "wav", "json_schema", "object", "auto",
        "required", "none", "call_1", "",
    ]
)  # fmt: skip
ODD = st.recursive(
    JSON_VALUES | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=12,
)
TOP = st.sampled_from(
    [
        "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "tools",
        "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort",
        "user", "n", "stream", "logprobs", "top_logprobs", "modalities", "seed", "logit_bias", "presence_penalty",
        "frequency_penalty", "safety_settings", "web_search_options", "other",
    ]
)  # fmt: skip


def attempt(line: bytes, model: str, drop: bool, vertex: bool) -> Translated | LineRejected:
    try:
        return to_generate_content(line, model=model, drop_params=drop, strict_params=not drop, vertex=vertex)
    except LineRejected as refused:
        return refused


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(TOP, ODD, max_size=6),
    st.lists(ODD, max_size=3) | st.just(HELLO),
    st.booleans(),
    st.booleans(),
    st.sampled_from([FLASH_2, FLASH, FLASH_3, ARGON, "x"]),
)
def test_any_object_is_translated_or_refused(
    options: Json, messages: list[Any], drop: bool, vertex: bool, model: str
) -> None:
    outcome = attempt(json.dumps({"messages": messages, **options}).encode(), model, drop, vertex)
    if isinstance(outcome, LineRejected):
        assert outcome.param
        return
    request = json.loads(outcome.body)
    assert request.keys() <= KNOWN
    assert request["contents"]
    assert drop or not outcome.dropped


SPOKEN = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
ARGUMENTS = st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3).map(json.dumps)
MEDIA = st.sampled_from([image(PNG), image("https://a/b.png"), {"type": "file", "file": {"file_data": PDF}}])
PART = st.one_of(SPOKEN.map(text), MEDIA, st.just(text("")))


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    """A conversation that OpenAI accepts and Gemini can answer."""
    messages: list[Json] = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            messages.append({"role": draw(st.sampled_from(["system", "developer"])), "content": draw(SPOKEN)})
        content = draw(SPOKEN) if draw(st.booleans()) else [text("."), *draw(st.lists(PART, max_size=3))]
        messages.append({"role": "user", "content": content})
        kind = draw(st.integers(0, 3))
        if kind == 1:
            extra = draw(st.sampled_from([None, signed("Zm9v")]))
            messages.append({"role": "assistant", "content": draw(st.none() | SPOKEN), "extra_content": extra})
        elif kind > 1:
            ids = draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3, unique=True))
            messages.append(calling(*(call(draw(ARGUMENTS), given) for given in ids), content=draw(st.none() | SPOKEN)))
            messages += [result(given, draw(st.just("") | SPOKEN)) for given in draw(st.permutations(ids))]
    return [*messages, {"role": "user", "content": "end"}]


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 10**6),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "stop": st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=4),
        "seed": st.integers(-(2**40), 2**40),
        "frequency_penalty": st.floats(-2, 2),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        "response_format": st.sampled_from(
            [
                {"type": "text"},
                {"type": "json_object"},
                {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
            ]
        ),
        "tools": st.just([TOOL]),
        "parallel_tool_calls": st.booleans(),
        "user": st.text(),
    },
)
KNOWN_MODELS = [prefix for facts in MODELS.records for prefix in facts.prefixes]


def check_turns(contents: list[Json]) -> None:
    """Hold what Gemini demands of a conversation: calls come after the user, as many results right after them."""
    assert contents[-1]["role"] == "user"
    for before, content in zip([{"role": "", "parts": []}, *contents], contents, strict=False):
        assert content["parts"]
        assert not (before["role"] == content["role"] == "model")
        calls = [part["functionCall"] for part in before["parts"] if "functionCall" in part]
        responses = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        assert [each["name"] for each in calls] == [each["name"] for each in responses]
        assert [each.get("id") for each in calls] == [each.get("id") for each in responses]
        assert not responses or len(responses) == len(content["parts"])


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(conversations(), OPTIONS, st.sampled_from([*KNOWN_MODELS, "gemini-unheard-of"]), st.booleans())
def test_valid_lines_become_what_gemini_demands(messages: list[Json], chosen: Json, model: str, vertex: bool) -> None:
    line = body(model, messages, **chosen)
    translated = to_generate_content(line, model=None, drop_params=True, vertex=vertex)
    request = json.loads(translated.body)
    assert request.keys() <= KNOWN
    check_turns(request["contents"])
    options = request.get("generationConfig", {})
    assert options.get("maxOutputTokens", 1) <= (MODELS.find(model).max_tokens or 10**6)
    said = [message["content"] for message in messages if isinstance(message["content"], str)]
    assert all(json.dumps(words) in json.dumps(request) for words in said)
    assert to_generate_content(line, model=None, drop_params=True, vertex=vertex) == translated


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)
WRITTEN = st.recursive(
    NUMBERS | st.text(st.characters(), max_size=5).map(json.dumps) | st.sampled_from(["true", "null"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.lists(inner, max_size=3).map(lambda items: "{" + ",\n".join(f'"k": {item}' for item in items) + "}"),
    ),
    max_leaves=8,
)


def meaning_of(written: bytes | str) -> Any:
    """Decode with every number as its spelling; of a key that stands twice the last value counts, as ever."""
    return json.loads(
        written, parse_int=str, parse_float=str, object_pairs_hook=lambda pairs: list(dict(pairs).items())
    )


@given(WRITTEN)
def test_arguments_come_back_as_they_went(written: str) -> None:
    arguments = f'{{"a": {written}}}'
    request = to_generate_content(
        body(messages=[*HELLO, calling(call(arguments)), result()]), model=None, drop_params=False
    ).body
    assert not set(b"\r\n") & set(request)
    start = request.index(b'"args":') + len(b'"args":')
    sent = request[start : request.index(b'}}]},{"role":"user"')]
    assert meaning_of(sent) == meaning_of(arguments)
    part = b'{"functionCall":{"name":"f","args":' + sent + b"}}"
    answered = to_completion(b'{"candidates":[{"content":{"parts":[' + part + b"]}}]}").body
    back = json.loads(answered)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert meaning_of(back) == meaning_of(arguments)
