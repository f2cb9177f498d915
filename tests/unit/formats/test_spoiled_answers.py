"""Answers that were paid and cannot be used: errors that hold all that came. And ids that are no Unicode."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.bedrock import answers as bedrock
from proxy_plugin.providers.formats.gemini import answers as gemini
from proxy_plugin.providers.formats.openai.through_chat import CHAT, COMPLETIONS, RESPONSES, answer
from proxy_plugin.providers.formats.shapes import Answer

Json = dict[str, Any]

WORDS = "Malformed function call: print(default_api.look())"
GOOGLE = [
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
]
PARTS: list[list[Json]] = [
    [],
    [{"text": "I"}],
    [{"text": "hm", "thought": True}, {"text": "I"}],
    [{"functionCall": {"name": "f", "args": {"a": 1}}}],
]
HALF = "\ud83d"


def candidate(finish: str, *parts: Json, **more: object) -> Json:
    content: Json = {"role": "model", "parts": list(parts)} if parts else {"role": "model"}
    return {"content": content, "finishReason": finish, "index": 0, **more}


def google(*candidates: Json, **more: object) -> Answer:
    counts = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}
    native = {"candidates": list(candidates), "usageMetadata": counts, "responseId": "r", **more}
    return gemini.to_completion(json.dumps(native).encode(), model="m")


def converse(reason: str, *content: Json) -> Answer:
    message = {"role": "assistant", "content": list(content)}
    counts = {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8}
    native = {"output": {"message": message}, "stopReason": reason, "usage": counts}
    return bedrock.to_completion(json.dumps(native).encode(), model="m")


@pytest.mark.parametrize("reason", GOOGLE)
@pytest.mark.parametrize("parts", PARTS)
def test_a_spoiled_call_of_gemini_is_an_error_that_holds_all_of_it(reason: str, parts: list[Json]) -> None:
    found = google(candidate(reason, *parts, finishMessage=WORDS))
    assert (found.status, found.code, found.usage) == (500, reason, Usage(9, 2))
    told = json.loads(found.body)
    assert told["error"]["code"] == reason
    assert WORDS in told["error"]["message"]
    choice = told["choices"][0]
    assert (choice["native_finish_reason"], choice["native_finish_message"]) == (reason, WORDS)
    plain = google(candidate("STOP", *parts))
    assert choice["message"] == json.loads(plain.body)["choices"][0]["message"]
    assert (plain.status, "error" in json.loads(plain.body)) == (200, False)
    ChatCompletion.model_validate_json(found.body)


def test_a_candidate_that_can_be_used_is_an_answer() -> None:
    found = google(candidate("STOP", {"text": "a"}), candidate(GOOGLE[0], finishMessage=WORDS))
    told = json.loads(found.body)
    assert (found.status, "error" in told) == (200, False)
    assert told["choices"][1]["native_finish_reason"] == GOOGLE[0]
    assert told["choices"][1]["native_finish_message"] == WORDS


def test_without_words_of_its_own() -> None:
    assert json.loads(google(candidate(GOOGLE[1])).body)["error"]["message"].endswith(f"({GOOGLE[1]}).")
    assert google(candidate("A_REASON_OF_NEXT_YEAR", {"text": "a"})).status == 200


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
@pytest.mark.parametrize(
    "content",
    [
        [],
        [{"text": "I"}],
        [{"text": "I"}, {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}],
        [{"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": "I"}],
    ],
)
def test_a_spoiled_answer_of_converse_is_an_error_that_holds_all_of_it(reason: str, content: list[Json]) -> None:
    found = converse(reason, *content)
    told = json.loads(found.body)
    assert (found.status, found.code, found.usage) == (500, reason, Usage(5, 3))
    assert told["error"]["code"] == told["choices"][0]["native_finish_reason"] == reason
    assert told["choices"][0]["message"] == json.loads(converse("end_turn", *content).body)["choices"][0]["message"]
    ChatCompletion.model_validate_json(found.body)


@pytest.mark.parametrize("spoiled", [google(candidate(GOOGLE[0], {"text": "I"})), converse("malformed_tool_use")])
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, COMPLETIONS])
def test_an_error_stays_one_at_every_endpoint(spoiled: Answer, endpoint: str) -> None:
    found = answer(endpoint, spoiled)
    told = json.loads(found.body)
    assert (found.status, found.code, found.usage) == (500, spoiled.code, spoiled.usage)
    assert spoiled.code in told["error"]["message"]
    if endpoint == RESPONSES:
        assert told["status"] == "failed"
        assert told["native_finish_reason"] == spoiled.code
        Response.model_validate(told, strict=True)


@given(st.text(alphabet=st.characters(categories=["Cs", "Lu"]), min_size=1, max_size=4))
def test_ids_and_names_that_are_no_unicode(odd: str) -> None:
    part = {"functionCall": {"id": odd, "name": odd, "args": {odd: odd}}, "thoughtSignature": odd}
    told = google(candidate("STOP", part, {"text": odd}), responseId=odd, modelVersion=odd)
    uses = converse("tool_use", {"toolUse": {"toolUseId": odd, "name": odd, "input": {odd: odd}}})
    chat = {"id": odd, "model": odd, "choices": [{"message": {"content": odd}, "finish_reason": odd}]}
    open_model = bedrock.to_completion(json.dumps(chat).encode(), model="m")
    for each in (told, uses, open_model):
        for endpoint in (CHAT, RESPONSES, COMPLETIONS):
            body = answer(endpoint, each).body
            assert b"\n" not in body
            assert json.loads(body)
    assert json.loads(told.body)["id"] == odd
    assert json.loads(told.body)["choices"][0]["message"]["tool_calls"][0]["id"] == odd


PNG: Json = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
SPEECH: Json = {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "YQ=="}}
PAID: list[list[Json]] = [
    [PNG],
    [PNG, PNG],
    [{"text": "see"}, PNG],
    [SPEECH],
    [SPEECH, SPEECH],
    [{"text": "hear"}, SPEECH],
    [PNG, SPEECH],
    [{"text": "hm", "thought": True}, PNG],
    [{"functionCall": {"name": "f", "args": {}}}, PNG],
]


@pytest.mark.parametrize("parts", PAID)
def test_no_paid_image_or_speech_is_lost_on_the_way_to_a_response(parts: list[Json]) -> None:
    completion = google(candidate("STOP", *parts))
    ChatCompletion.model_validate_json(completion.body)
    response = json.loads(answer(RESPONSES, completion).body)
    Response.model_validate(response, strict=True)
    for found in (completion.body.decode(), json.dumps(response["output"])):
        for part in parts:
            data = part.get("inlineData", {}).get("data", "")
            assert found.count(data) >= parts.count(part)


def test_errors_that_are_no_unicode() -> None:
    error = json.dumps({"error": {"code": 400, "message": HALF, "status": HALF}}).encode()
    assert json.loads(gemini.error_row(error).body)["error"]["message"] == HALF
    record = json.dumps({"error": {"errorCode": HALF, "errorMessage": HALF}}).encode()
    assert json.loads(bedrock.error_row(record).body)["error"]["message"] == HALF
