"""What a lane says of a chat body that was a Responses body: in the caller's words, at the caller's places."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.bedrock.invoke import to_converse
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.openai.responses_words import own_names, own_refusal
from proxy_plugin.providers.formats.openai.through_chat import RESPONSES, translate
from proxy_plugin.providers.formats.shapes import Translated

Json = dict[str, Any]

HELLO: Json = {"role": "user", "content": "hi"}
PNG = "data:image/png;base64,iVBORw0KGgo="
FLASH, FLASH_3, PRO_3 = "gemini-2.5-flash", "gemini-3-flash-preview", "gemini-3-pro-preview"


def call(name: str = "f", arguments: str = "{}", given_id: str = "c", **more: object) -> Json:
    return {"type": "function_call", "call_id": given_id, "name": name, "arguments": arguments, **more}


def output(content: object = "r", given_id: str = "c") -> Json:
    return {"type": "function_call_output", "call_id": given_id, "output": content}


def image(url: str = PNG, **more: object) -> Json:
    return {"type": "input_image", "image_url": url, **more}


def user(*parts: Json) -> Json:
    return {"role": "user", "content": list(parts)}


def said(words: str, **more: object) -> Json:
    part = {"type": "output_text", "text": words, "annotations": []}
    return {"type": "message", "role": "assistant", "content": [part], **more}


def gemini(model: str = FLASH, given_input: object = "hi", **options: object) -> tuple[Json, tuple[str, ...]]:
    """Return request and notes of a Responses body that runs on Gemini without a switch."""
    body = json.dumps({"model": model, "input": given_input, **options}).encode()
    native = partial(to_generate_content, model=None, drop_params=False)
    translated: Translated = translate(RESPONSES, body, native, drop_params=False)
    return json.loads(translated.body), translated.dropped


def refusal(given_input: object, *, model: str = FLASH, **options: object) -> LineRejected:
    with pytest.raises(LineRejected) as caught:
        gemini(model, given_input, **options)
    return caught.value


def painted(form: str = "png") -> Json:
    return {"type": "image_generation_call", "id": "ig", "status": "completed", "result": "YQ==", "output_format": form}


SVG = "data:image/svg+xml;base64,PHN2Zy8+"
REFUSED: list[tuple[object, Json, str]] = [
    ("", {}, "input"),
    ([user(image(SVG))], {"instructions": "i"}, "input[0].content[0].image_url"),
    ([HELLO, said("a"), user({"type": "input_text", "text": "q"}, image(SVG))], {}, "input[2].content[1].image_url"),
    ([HELLO, call("1a"), output()], {}, "input[1].name"),
    ([HELLO, call(arguments="{"), output()], {"instructions": "i"}, "input[1].arguments"),
    ([HELLO, said("a"), call(given_id="b"), call(arguments="[1]"), output()], {}, "input[3].arguments"),
    ([HELLO, call(), output([image()])], {}, "input[2].output[0]"),
    ([HELLO, call(), HELLO], {}, "input[1]"),
    ([HELLO, output(given_id="x")], {}, "input[1].call_id"),
    ([user({"type": "input_file", "file_data": "YQ==", "filename": "a.svg"})], {}, "input[0].content[0].file_data"),
    ([user({"type": "input_file", "file_url": "ftp://a/b.pdf"})], {}, "input[0].content[0].file_url"),
    ([user({"type": "input_audio", "input_audio": {"data": "x"}})], {}, "input[0].content[0].input_audio.format"),
    ([HELLO, painted("bmp"), HELLO], {"model": "x"}, "input[1].result"),
    ("hi", {"reasoning": {"effort": "extreme"}}, "reasoning.effort"),
    ("hi", {"reasoning": {"summary": "long"}}, "reasoning.summary"),
    ("hi", {"include": ["message.output_text.logprobs"]}, "include"),
    ("hi", {"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
    ("hi", {"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
    ("hi", {"max_output_tokens": 10**9, "drop": 1}, "drop"),
]  # fmt: skip


@pytest.mark.parametrize(("given_input", "options", "param"), REFUSED)
def test_a_refusal_names_the_place_in_the_callers_body(given_input: object, options: Json, param: str) -> None:
    error = refusal(given_input, **options)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")


NOTED: list[tuple[str, object, Json, str]] = [
    (FLASH, [user(image(detail="low"), image())], {}, "input[].content[].detail"),
    (FLASH, [user(image("data:image/gif;base64,iVBORw0KGgo="))], {}, "input[].content[].image_url=image/png"),
    (FLASH, [HELLO, {"role": "system", "content": "s"}], {"instructions": "i"}, "input[]=first"),
    (FLASH, [HELLO, {"type": "image_generation_call", "result": "iVBORw0KGgo="}, HELLO], {}, "input[].result"),
    (PRO_3, "hi", {"reasoning": {"effort": "minimal"}}, "reasoning.effort=low"),
    (PRO_3, "hi", {"reasoning": {"summary": "detailed"}}, "reasoning.summary=auto"),
    ("gemini-2.0-flash", "hi", {"reasoning": {"summary": "auto"}}, "reasoning.summary"),
    (
        FLASH, "hi", {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"pattern": "a"}}}},
        "text.format.schema.pattern",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("model", "given_input", "options", "name"), NOTED)
def test_a_note_names_the_place_in_the_callers_body(model: str, given_input: object, options: Json, name: str) -> None:
    assert gemini(model, given_input, **options)[1] == (name,)


def test_names_and_refusals_of_any_later_step() -> None:
    body = json.dumps({"input": [HELLO, said("a"), said("b")]}).encode()
    error = own_refusal(LineRejected("reasoning_effort: no such level.", code="c", param="reasoning_effort"), body)
    assert (error.param, error.message, error.code) == ("reasoning.effort", "reasoning.effort: no such level.", "c")
    error = own_refusal(LineRejected("messages[2].content: is blank.", param="messages[2].content"), body)
    assert (error.param, error.message) == ("input[2].content", "input[2].content: is blank.")
    untouched = LineRejected("top_p: no.", param="top_p")
    assert own_refusal(untouched, body) is untouched
    names = own_names(["max_completion_tokens=4096", "messages[].name", "user", "response_format", "messages"])
    assert names == ("max_output_tokens=4096", "input[].name", "user", "text.format", "input")


@pytest.mark.parametrize("summary", ["auto", "concise", "detailed"])
@pytest.mark.parametrize("model", [FLASH, FLASH_3, PRO_3, "gemini-3.8-flash", "gemini-9"])
def test_a_summary_asks_for_the_thoughts(model: str, summary: str) -> None:
    request, dropped = gemini(model, reasoning={"effort": "low", "summary": summary})
    assert request["generationConfig"]["thinkingConfig"]["includeThoughts"] is True
    assert dropped == (() if summary == "auto" else ("reasoning.summary=auto",))


@pytest.mark.parametrize("options", [{"include": ["message.output_text.logprobs"]}, {"top_logprobs": 3}])
def test_log_probabilities_are_asked_for_where_the_lane_has_them(options: Json) -> None:
    config = gemini(FLASH_3, **options)[0]["generationConfig"]
    assert config["responseLogprobs"] is True
    assert config.get("logprobs") == options.get("top_logprobs")
    line = json.dumps({"model": "amazon.nova-pro-v1:0", "input": "hi", **options}).encode()
    with pytest.raises(LineRejected, match="log probabilities"):
        translate(RESPONSES, line, partial(to_converse, model=None, drop_params=True), drop_params=True)


def test_a_file_by_address() -> None:
    part = {"type": "input_file", "file_url": "https://example.com/a.pdf"}
    parts = gemini(FLASH, [user(part)])[0]["contents"][0]["parts"]
    assert parts == [{"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}}]


def test_images_and_signatures_of_an_earlier_response_go_back() -> None:
    signed = {"google": {"thought_signature": "c2ln"}}
    items = [HELLO, said("see", extra_content=signed), call(extra_content=signed), painted(), output()]
    contents = gemini("gemini-3-pro-image-preview", items)[0]["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    text, shown, called = contents[1]["parts"]
    assert (text, shown["inlineData"]["data"]) == ({"text": "see"}, "YQ==")
    assert (shown["thoughtSignature"], called["thoughtSignature"]) == ("c2ln", "c2ln")


FAULTS = st.sampled_from([image(SVG), {"type": "input_file", "file_data": "x", "filename": "a.zip"}, image("ftp://a")])
GOOD: list[list[Json]] = [[HELLO], [HELLO, said("a")], [call(), output()], [said("b"), call(), call(given_id="d"),
        output(), output("r", "d")], [{"role": "developer", "content": "s"}, HELLO]]  # fmt: skip


@given(st.lists(st.sampled_from(GOOD), max_size=4), FAULTS, st.booleans(), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_every_place_is_the_callers(turns: list[list[Json]], fault: Json, told: bool, before: int) -> None:
    parts = [{"type": "input_text", "text": "q"}] * before
    items = [*(item for turn in turns for item in turn), user(*parts, fault)]
    options: Json = {"instructions": "i"} if told else {}
    found = refusal(items, **options).param
    place = re.match(r"input\[(\d+)\]\.content\[(\d+)\]\.(image_url|file_data)$", found or "")
    assert place is not None
    assert (int(place[1]), int(place[2])) == (len(items) - 1, before)
    assert place[3] in fault


SEARCH: Json = {"tools": [{"type": "web_search", "search_context_size": "low"}]}


def test_a_web_search_runs_where_the_lane_has_one_and_is_refused_by_name_elsewhere() -> None:
    line = json.dumps({"model": "m", "input": "hi", "include": ["web_search_call.action.sources"], **SEARCH}).encode()

    def through(to: Callable[..., Translated], model: str) -> Translated:
        def native(chat: bytes) -> Translated:
            return to(chat, model=model, drop_params=False)

        return translate(RESPONSES, line, native, drop_params=False)

    for to, model in ((to_messages, "claude-sonnet-4-6"), (to_generate_content, "gemini-3.8-flash")):
        made = through(to, model)
        assert "tools" in json.loads(made.body)
        assert made.dropped == ("include[]", "tools[].search_context_size")
    with pytest.raises(LineRejected) as caught:
        through(to_converse, "amazon.nova-pro-v1:0")
    assert str(caught.value.param).startswith("tools[]")


ALL_STEPS: list[tuple[Json, tuple[str, ...]]] = [
    ({"logit_bias": {"1": 2}, "text": {"verbosity": "low"}}, ("logit_bias", "text.verbosity")),
    ({"truncation": "auto", "temperature": 1.5}, ("truncation", "temperature")),
    ({"previous_response_id": "r", "text": {"verbosity": "low"}}, ("previous_response_id", "text.verbosity")),
    ({"frequency_penalty": 1, **SEARCH}, ("frequency_penalty", "tools[]")),
    ({"logit_bias": {"1": 2}, "top_logprobs": 2}, ("logit_bias", "include", "top_logprobs")),
    ({"truncation": "auto", "n": 2}, ("truncation", "n")),
    ({"logit_bias": {"1": 2}}, ("logit_bias",)),
    ({"text": {"verbosity": "low"}, "temperature": 1.5}, ("text.verbosity", "temperature")),
    ({"logit_bias": {"1": 2}, "tools": [{"type": "mcp"}], "tool_choice": "required"}, ("tools[0]",)),
    ({"input": 7, "logit_bias": {"1": 2}}, ("input",)),
]


@pytest.mark.parametrize(("options", "params"), ALL_STEPS)
def test_one_refusal_names_what_every_step_refuses(options: Json, params: tuple[str, ...]) -> None:
    line = json.dumps({"model": "m", "input": "hi", **options}).encode()

    def native(chat: bytes) -> Translated:
        return to_converse(chat, model="amazon.nova-pro-v1:0", drop_params=False)

    with pytest.raises(LineRejected) as caught:
        translate(RESPONSES, line, native, drop_params=False)
    assert set(caught.value.params) == set(params)
    assert caught.value.param == params[0]
    assert all(f"{param}: " in caught.value.message for param in params)
    assert caught.value.message.count("x-portkey-config") <= 1


def test_one_refusal_of_a_completions_body_names_what_every_step_refuses() -> None:
    line = json.dumps({"model": "m", "prompt": "hi", "best_of": 3, "temperature": 1.5, "logit_bias": {"1": 2}}).encode()

    def native(chat: bytes) -> Translated:
        return to_converse(chat, model="amazon.nova-pro-v1:0", drop_params=False)

    with pytest.raises(LineRejected) as caught:
        translate("/v1/completions", line, native, drop_params=False)
    assert set(caught.value.params) == {"best_of", "temperature", "logit_bias"}
