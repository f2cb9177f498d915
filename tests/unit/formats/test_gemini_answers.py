"""generateContent responses as chat completions, and Google's errors as OpenAI's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.gemini.answers import error_row, to_completion

Json = dict[str, Any]

USAGE = {"promptTokenCount": 8, "candidatesTokenCount": 11, "totalTokenCount": 19}


def response(*parts: object, finish: str | None = "STOP", **more: object) -> Json:
    """Return a response of one candidate; `more` are further members of it."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, "index": 0, **more}
    return answered(candidate)


def answered(*candidates: object, **more: object) -> Json:
    return {
        "candidates": list(candidates),
        "usageMetadata": USAGE,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
        **more,
    }


def complete(native: Json) -> Json:
    """Return the completion as OpenAI's SDK reads it."""
    body = to_completion(json.dumps(native).encode()).body
    assert b"\n" not in body
    ChatCompletion.model_validate_json(body)
    completion: Json = json.loads(body)
    return completion


def choice(native: Json) -> Json:
    found: Json = complete(native)["choices"][0]
    return found


def said(native: Json) -> Json:
    found: Json = choice(native)["message"]
    return found


def test_the_plainest_answer() -> None:
    assert complete(response({"text": "1"})) == {
        "id": "r1",
        "object": "chat.completion",
        "created": 0,
        "model": "gemini-2.5-flash",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "1", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 8,
            "completion_tokens": 11,
            "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_what_a_response_does_not_tell() -> None:
    bare = to_completion(b'{"candidates":[]}', created=7, model="m")
    told = json.loads(bare.body)
    assert (told["created"], told["model"], bare.model, bare.usage) == (7, "m", "m", Usage())
    assert told["id"].startswith("chatcmpl-")
    assert to_completion(b'{"candidates":[]}', created=7, model="m") == bare
    assert json.loads(to_completion(b'{"candidates":[{}]}').body)["id"] != told["id"]


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2026-04-13T10:18:18.102004123Z", 1_776_075_498),
        ("2026-04-13T12:18:18+02:00", 1_776_075_498),
        ("2026-04-13T10:18:18", 7),
        ("soon", 7),
        (3, 7),
    ],
)
def test_the_time_is_the_responses_own(moment: object, seconds: int) -> None:
    native = json.dumps(answered(createTime=moment)).encode()
    assert json.loads(to_completion(native, created=7).body)["created"] == seconds


def test_texts_are_joined_and_thoughts_stand_apart() -> None:
    found = said(
        response(
            {"text": "first", "thought": True},
            {"text": "a"},
            {"text": "second", "thought": True},
            {"text": "b", "thought": False, "thoughtSignature": "c2ln"},
            {"executableCode": {"code": "1"}},
            {"of_tomorrow": {}},
        )
    )
    assert found["content"] == "ab"
    assert found["reasoning_content"] == "first\n\nsecond"
    assert found["extra_content"] == {"google": {"thought_signature": "c2ln"}}


def test_tool_calls() -> None:
    native = response(
        {"functionCall": {"id": "given", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "f"}},
        {"functionCall": {"name": "g", "args": None}},
    )
    ended = choice(native)
    assert (ended["finish_reason"], ended["message"]["content"]) == ("tool_calls", None)
    calls = ended["message"]["tool_calls"]
    assert calls[0] == {
        "id": "given",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a": 1}'},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    assert [call["function"]["arguments"] for call in calls[1:]] == ["{}", "{}"]
    assert len({call["id"] for call in calls}) == 3
    assert complete(native) == complete(native)


def test_ids_differ_between_answers() -> None:
    part = {"functionCall": {"name": "f", "args": {}}}
    candidate = {"content": {"parts": [part]}}
    found = complete(answered(candidate, {**candidate, "index": 1}))["choices"]
    other = complete(answered(candidate, responseId="r2"))["choices"]
    ids = {each["message"]["tool_calls"][0]["id"] for each in (*found, *other)}
    assert len(ids) == 3


def arguments(args: str, text: str = "a") -> str:
    """Return what becomes of a call's args, beside a text that may not be Unicode."""
    part = f'{{"functionCall":{{"name":"f","args":{args}}}}}'
    native = f'{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}},{part}]}}}}]}}'
    message = json.loads(to_completion(native.encode()).body)["choices"][0]["message"]
    found: str = message["tool_calls"][0]["function"]["arguments"]
    return found


def test_arguments_keep_their_own_text() -> None:
    args = r'{"n": 1234567890123456789012345, "f":1.10,"h":1e999, "z":"\/", "n":-0}'
    assert arguments(args) == args
    halves = r'{"n":1234567890123456789012345,"s":"\ud83d"}'
    assert arguments(halves) == halves
    assert arguments(halves, "\\ud83d") == halves


def test_calls_beside_odd_parts() -> None:
    native = {"candidates": [None, {"content": {"parts": [7, {"functionCall": {"name": "f", "args": {"a": 1}}}]}}]}
    calls = said(native)["tool_calls"]
    assert [call["function"] for call in calls] == [{"name": "f", "arguments": '{"a":1}'}]


def test_several_answers_in_their_order() -> None:
    second = {"content": {"parts": [{"text": "b"}]}, "index": 1, "finishReason": "MAX_TOKENS"}
    first = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "index": 0}
    found = complete(answered(second, first))["choices"]
    assert [(each["index"], each["message"]["content"]) for each in found] == [(0, "a"), (1, "b")]
    assert [each["finish_reason"] for each in found] == ["stop", "length"]


FINISH = [
    ("STOP", "stop", None),
    ("MAX_TOKENS", "length", None),
    ("CONTINUATION", "length", "CONTINUATION"),
    ("MALFORMED_FUNCTION_CALL", "stop", "MALFORMED_FUNCTION_CALL"),
    ("UNEXPECTED_TOOL_CALL", "stop", "UNEXPECTED_TOOL_CALL"),
    ("FINISH_REASON_UNSPECIFIED", "stop", "FINISH_REASON_UNSPECIFIED"),
    ("OF_TOMORROW", "stop", "OF_TOMORROW"),
    (None, "stop", None),
]
WITHHELD = [
    "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "NO_IMAGE", "MODEL_ARMOR",
]  # fmt: skip


@pytest.mark.parametrize(("reason", "word", "native"), FINISH)
def test_reasons(reason: str | None, word: str, native: str | None) -> None:
    ended = choice(response({"text": "a"}, finish=reason))
    assert (ended["finish_reason"], ended.get("native_finish_reason")) == (word, native)
    assert ended["message"] == {"role": "assistant", "content": "a", "refusal": None}


@pytest.mark.parametrize("reason", WITHHELD)
def test_withheld_answers(reason: str) -> None:
    ended = choice(response(finish=reason, finishMessage="why"))
    assert (ended["finish_reason"], ended["native_finish_reason"]) == ("content_filter", reason)
    assert ended["message"] == {"role": "assistant", "content": None, "refusal": "why"}
    begun = said(response({"text": "a"}, finish=reason))
    assert begun["content"] == "a"
    assert begun["refusal"]


def test_a_cut_off_call_is_cut_off() -> None:
    assert choice(response({"functionCall": {"name": "f"}}, finish="MAX_TOKENS"))["finish_reason"] == "length"


@pytest.mark.parametrize("reason", ["SAFETY", "JAILBREAK", "OF_TOMORROW"])
def test_blocked_prompts(reason: str) -> None:
    native = {"promptFeedback": {"blockReason": reason, "blockReasonMessage": "why"}, "usageMetadata": USAGE}
    ended = choice(native)
    assert (ended["finish_reason"], ended["native_finish_reason"]) == ("content_filter", reason)
    assert ended["message"] == {"role": "assistant", "content": None, "refusal": "why"}
    assert said({"promptFeedback": {"blockReason": reason}})["refusal"]


def test_no_candidates_and_no_reason() -> None:
    assert choice({}) == {
        "index": 0,
        "message": {"role": "assistant", "content": None, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }


def test_images() -> None:
    blob = {"mimeType": "image/png", "data": "iVBORw0KGgo="}
    found = said(
        response({"text": "see"}, {"inlineData": blob}, {"inlineData": {"mimeType": "audio/L16", "data": "YQ=="}})
    )
    assert found["content"] == "see"
    assert found["images"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]


def test_log_probabilities() -> None:
    chosen = [{"token": "a", "tokenId": 3, "logProbability": -0.5}, {"token": "b", "logProbability": 0}]
    tops = [{"candidates": [{"token": "a", "logProbability": -0.5}, {"token": "c", "logProbability": -2.5}]}]
    native = response({"text": "ab"}, logprobsResult={"chosenCandidates": chosen, "topCandidates": tops})
    a = {"token": "a", "logprob": -0.5, "bytes": None}
    assert choice(native)["logprobs"] == {
        "content": [
            {**a, "top_logprobs": [a, {"token": "c", "logprob": -2.5, "bytes": None}]},
            {"token": "b", "logprob": 0, "bytes": None, "top_logprobs": []},
        ],
        "refusal": None,
    }


def cite(start: int, end: int, url: str, title: str) -> Json:
    place = {"start_index": start, "end_index": end, "url": url, "title": title}
    return {"type": "url_citation", "url_citation": place}


def test_sources_with_places_in_characters() -> None:
    grounds = {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}, {"maps": {}}],
        "groundingSupports": [
            {"segment": {"endIndex": 5}, "groundingChunkIndices": [0]},
            {"segment": {"partIndex": 2, "startIndex": 1, "endIndex": 3}, "groundingChunkIndices": [1, 2, 9, "x"]},
            {"groundingChunkIndices": [0]},
        ],
    }
    parts = [{"text": "漢é"}, {"text": "no", "thought": True}, {"text": "xyz"}]
    found = said(response(*parts, groundingMetadata=grounds))
    assert found["annotations"] == [cite(0, 2, "https://a", "A"), cite(3, 5, "https://b", "https://b")]


def test_quoted_sources() -> None:
    citations = [{"startIndex": 1, "endIndex": 2, "uri": "https://a"}, {"endIndex": 2, "license": "mit"}]
    found = said(response({"text": "abc"}, citationMetadata={"citations": citations}))
    assert found["annotations"] == [cite(1, 2, "https://a", "https://a")]


def test_usage_adds_up() -> None:
    counts = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "toolUsePromptTokenCount": 7,
        "candidatesTokenCount": 11,
        "thoughtsTokenCount": 829,
    }
    native = json.dumps({**response({"text": "a"}), "usageMetadata": counts}).encode()
    assert to_completion(native).usage == Usage(107, 840, 60, 829)


@pytest.mark.parametrize("native", [b"", b"[]", b"null", b"{"])
def test_no_response(native: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        to_completion(native)


STATUSES = [
    ({"code": 3, "message": "m"}, 400, "INVALID_ARGUMENT"),
    ({"code": 8, "message": "m"}, 429, "RESOURCE_EXHAUSTED"),
    ({"code": 13, "message": "m"}, 500, "INTERNAL"),
    ({"code": 1, "message": "m"}, 499, "CANCELLED"),
    ({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}, 429, "RESOURCE_EXHAUSTED"),
    ({"message": "m", "status": "NOT_FOUND"}, 404, "NOT_FOUND"),
    ({"code": 503, "message": "m"}, 503, "UNAVAILABLE"),
    ({"code": 418, "message": "m"}, 418, "INVALID_ARGUMENT"),
    ({"code": 99, "message": "m"}, 500, "UNKNOWN"),
    ({"message": "m"}, 500, "UNKNOWN"),
    ('Bad Request: {"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}', 400, "INVALID_ARGUMENT"),
    ("m", 500, "UNKNOWN"),
]


@pytest.mark.parametrize(("status", "http", "code"), STATUSES)
def test_errors(status: object, http: int, code: str) -> None:
    row = error_row(json.dumps(status).encode())
    assert (row.status, row.code) == (http, code)
    assert json.loads(row.body) == {"error": {"message": "m", "type": code, "param": None, "code": code}}


def test_errors_without_a_word() -> None:
    assert json.loads(error_row(b"{}").body)["error"]["message"]
    assert error_row(b"null").status == 500
    assert json.loads(error_row(b'"odd {"').body)["error"]["message"] == "odd {"
    with pytest.raises(ValueError, match=r"."):
        error_row(b"Bad Request")


NAMES = st.sampled_from(
    [
        "content", "parts", "text", "thought", "functionCall", "name", "args", "id", "finishReason", "index",
        "finishMessage", "inlineData", "mimeType", "data", "logprobsResult", "chosenCandidates", "topCandidates",
        "candidates", "groundingMetadata", "groundingChunks", "groundingSupports", "segment", "web", "uri",
        "groundingChunkIndices", "startIndex", "partIndex", "citationMetadata", "citations", "thoughtSignature",
    ]
)  # fmt: skip
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | st.integers(-(2**40), 2**70) | FLOATS | st.text(max_size=4)
ANYTHING = st.recursive(
    LEAVES | st.just("SAFETY"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=15,
)
TOP = st.sampled_from(
    ["candidates", "usageMetadata", "promptFeedback", "modelVersion", "responseId", "createTime", "other"]
)


@given(st.dictionaries(TOP, ANYTHING, max_size=5), st.lists(ANYTHING, max_size=2), st.lists(ANYTHING, max_size=2))
def test_no_answer_is_refused(native: Json, candidates: list[Any], parts: list[Any]) -> None:
    line = {"candidates": [{"content": {"parts": parts}}, *candidates], **native}
    data = json.dumps(line).encode()
    answer = to_completion(data)
    ChatCompletion.model_validate_json(answer.body)
    assert to_completion(data) == answer


@given(ANYTHING)
def test_no_error_is_refused(status: object) -> None:
    row = error_row(json.dumps(status).encode())
    assert 400 <= row.status <= 599
    assert json.loads(row.body)["error"]["message"]
