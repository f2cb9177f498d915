"""Bodies and answers that went wrong once, each with what is wanted of it: `reported/` has them as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.anthropic.requests import to_messages
from proxy_plugin.providers.formats.bedrock.invoke import INVOKE, invocation, to_converse
from proxy_plugin.providers.formats.gemini.answers import to_completion
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.losses import TOLD
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.shapes import Answer, Translated
from proxy_plugin.providers.lanes.anthropic.lane import ANTHROPIC

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "reported"
CASES: dict[str, Json] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
SCHEMA = "response_format.json_schema.schema"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
FORMATS: dict[str, Callable[..., Translated]] = {
    "anthropic": to_messages,
    "gemini": to_generate_content,
    "bed-conv": to_converse,
}


def translated(name: str, *, drop: bool = False) -> tuple[Json, tuple[str, ...]]:
    """Return the native body of a case, and what is recorded. Raises LineRejected."""
    case = CASES[name]
    before, _, form = case["format"].rpartition(":")
    body = json.dumps({"model": case["model"], **{key: case["body"][key] for key in case["body"] if key != "_drop"}})

    def native(chat: bytes) -> Translated:
        return FORMATS[form](chat, model=case["model"], drop_params=drop)

    endpoint = RESPONSES if before == "responses" else CHAT
    made = through_chat.translate(endpoint, body.encode(), native, drop_params=drop)
    return json.loads(made.body), made.dropped


def refused(name: str) -> LineRejected:
    with pytest.raises(LineRejected) as caught:
        translated(name)
    return caught.value


def answered(name: str, endpoint: str = CHAT) -> tuple[Json, Answer]:
    found = to_completion(json.dumps(CASES[name]["native"]).encode())
    answer = through_chat.answer(endpoint, found)
    return json.loads(answer.body), answer


TAKEN: dict[str, tuple[str, ...]] = {
    "01-own-reasoning-back": ("messages[].reasoning_content",),
    "06-allof-ref": (),
    "11-thinking-param": (),
    "12-tool-image-gemini3": (),
    "14-system-later": (),
    "16-prefill-gemini25": (),
    "20-palmyra": (),
    "21-unknown-bedrock": (),
    "30-responses-summary-auto": (),
    "31-responses-encrypted": ("include[]",),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_the_provider_can_do_runs_without_a_switch(name: str) -> None:
    _, noted = translated(name)
    assert noted == TAKEN[name]


def test_an_answer_returns_to_the_lane_that_gave_it() -> None:
    native, _ = translated("01-own-reasoning-back")
    assert native["messages"] == [
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "next"},
    ]  # fmt: skip


REFUSED = {
    "03-recursive-schema": f"{SCHEMA}.$ref",
    "04-oneof": f"{SCHEMA}.properties.oneOf",
    "08-open-object-closed": f"{SCHEMA}.properties",
    "08b-dict-closed-by-drop": f"{SCHEMA}.properties.additionalProperties",
    "09-tool-root-anyof": "tools[0].function.parameters.anyOf",
    "18-svg-gemini": "messages[0].content[0].image_url.url",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_provider_would_refuse_is_refused_by_name(name: str) -> None:
    error = refused(name)
    assert error.param == REFUSED[name]
    assert "has no equivalent" not in error.message


def test_one_of_becomes_any_of_under_the_switch() -> None:
    native, noted = translated("04-oneof", drop=True)
    choices = native["output_config"]["format"]["schema"]["properties"]["x"]["anyOf"]
    assert [choice["properties"]["k"] for choice in choices] == [{"const": "a"}, {"const": "b"}]
    assert noted == (f"{SCHEMA}.properties.oneOf=anyOf",)


@pytest.mark.parametrize("name", ["03-recursive-schema", "08-open-object-closed", "08b-dict-closed-by-drop"])
def test_what_cannot_be_closed_is_told_as_it_is(name: str) -> None:
    native, noted = translated(name, drop=True)
    assert "output_config" not in native
    told = native["system"].partition("\n")[2]
    assert json.loads(told) == CASES[name]["body"]["response_format"]["json_schema"]["schema"]
    assert noted == (f"response_format={TOLD}",)


def test_a_reference_stands_alone() -> None:
    native, _ = translated("06-allof-ref")
    schema = native["output_config"]["format"]["schema"]
    assert schema["properties"]["x"] == {"$ref": "#/$defs/C"}
    assert "d" in schema["description"]


def test_a_choice_at_the_top_of_a_tool_is_told_under_the_switch() -> None:
    native, noted = translated("09-tool-root-anyof", drop=True)
    assert native["tools"][0]["input_schema"].keys().isdisjoint({"anyOf", "oneOf", "allOf"})
    assert '"anyOf"' in native["tools"][0]["description"]
    assert noted == (f"tools[].function.parameters.anyOf={TOLD}",)


def test_claudes_own_word_for_thinking() -> None:
    native, _ = translated("11-thinking-param")
    assert native["thinking"] == CASES["11-thinking-param"]["body"]["thinking"]


def test_an_image_in_the_result_of_a_function() -> None:
    native, _ = translated("12-tool-image-gemini3")
    (part,) = native["contents"][2]["parts"]
    assert part["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]


def test_a_later_system_message_stays_in_its_place() -> None:
    native, _ = translated("14-system-later")
    given = CASES["14-system-later"]["body"]["messages"]
    assert (native["system"], native["messages"]) == (given[0]["content"], given[1:])


def test_a_begun_answer_ends_the_contents() -> None:
    native, _ = translated("16-prefill-gemini25")
    assert native["contents"][-1] == {"role": "model", "parts": [{"text": "{"}]}


@pytest.mark.parametrize("name", ["20-palmyra", "21-unknown-bedrock"])
def test_models_run_by_converse(name: str) -> None:
    native, _ = translated(name)
    assert native == {"messages": [{"role": "user", "content": [{"text": "Say hello."}]}]}
    assert invocation(json.dumps(CASES[name]["body"]).encode(), CASES[name]["model"]) != INVOKE


def test_a_summary_asks_for_thoughts() -> None:
    native, _ = translated("30-responses-summary-auto")
    assert native["generationConfig"]["thinkingConfig"]["includeThoughts"] is True


def test_what_every_agent_kit_asks_for_hinders_nothing() -> None:
    native, _ = translated("31-responses-encrypted")
    assert native["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_a_spoiled_call_is_an_error_with_the_providers_words(endpoint: str) -> None:
    said, answer = answered("40-answer-malformed-call", endpoint)
    assert (answer.status, answer.code) == (500, "MALFORMED_FUNCTION_CALL")
    assert "Malformed function call: print(default_api.look())" in said["error"]["message"]
    assert said.get("status", "failed") == "failed"


def test_an_image_is_in_the_output_of_a_response() -> None:
    said, answer = answered("41-answer-image-responses", RESPONSES)
    assert [item["result"] for item in said["output"] if item["type"] == "image_generation_call"] == ["iVBORw0KGgo="]
    assert (said["status"], answer.usage.output_tokens) == ("completed", 1290)


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_half_a_character_in_an_id_is_no_corrupt_row(endpoint: str) -> None:
    line = json.dumps(CASES["43-answer-surrogate-id"]["native"]).encode()
    row = ANTHROPIC.row(line, "results.jsonl", endpoint)
    assert row is not None
    assert row.ok
    assert b'"paid"' in (row.response or b"")


def test_every_case_has_its_test() -> None:
    answers = {name for name, case in CASES.items() if "native" in case}
    assert TAKEN.keys() | REFUSED.keys() | answers == CASES.keys()
