"""Lines out and results in, for Gemini."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineIn, LineRejected, Native, Row, Target, Usage
from proxy_plugin.providers.formats.gemini.own_words import GENERATE
from proxy_plugin.providers.lanes.google.lane import GOOGLE
from proxy_plugin.providers.lanes.google.rows import results_name

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
ID = "abcdefghij0000002s"
MODEL = "gemini-2.5-flash"
SOURCE = results_name("1796000000", f"models/{MODEL}")
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
SAID = {"role": "model", "parts": [{"text": "yes"}]}
SPENT = {"promptTokenCount": 8, "candidatesTokenCount": 11, "thoughtsTokenCount": 29, "totalTokenCount": 48}
RESPONSE: dict[str, Any] = {
    "candidates": [{"content": SAID, "finishReason": "STOP", "index": 0}],
    "usageMetadata": SPENT,
    "modelVersion": "gemini-2.5-flash-001",
    "responseId": "r1",
}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # with halves of pairs, as cut answers have them


def translate(body: dict[str, Any], endpoint: str = CHAT, model: str = MODEL, **target: Any) -> Native:
    return GOOGLE.translate(LineIn(ID, endpoint, json.dumps(body, indent=1).encode(), model), Target(**target))


def row(fields: dict[str, Any], endpoint: str = CHAT, source: str = SOURCE, **writing: Any) -> Row:
    found = GOOGLE.row(json.dumps({"key": ID, **fields}, **writing).encode(), source, endpoint)
    assert found is not None
    assert found.native_id == ID
    assert (found.response is None) != (found.error is None)
    return found


def body_of(found: Row) -> dict[str, Any]:
    response = json.loads(found.response or b"")
    assert list(response) == ["status_code", "request_id", "body"]
    body: dict[str, Any] = response["body"]
    return body


# Out


def test_a_line_becomes_a_request_under_our_key() -> None:
    native = translate(BODY | {"max_tokens": 9})
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    request = {"contents": contents, "generationConfig": {"maxOutputTokens": 9}}
    assert json.loads(native.data) == {"key": ID, "request": request}
    assert native == Native(native.data, inputs=1, partition="", dropped=())


@pytest.mark.parametrize("endpoint", ["/v1/responses", "/v1/completions"])
def test_other_endpoints_run_as_chat(endpoint: str) -> None:
    body = {"model": MODEL, ("input" if endpoint == "/v1/responses" else "prompt"): "hi"}
    native = translate(body, endpoint)
    assert json.loads(native.data)["request"]["contents"][-1]["parts"] == [{"text": "hi"}]


def test_a_request_in_geminis_own_words_stays_byte_for_byte() -> None:
    body = b'{"model": "gemini-2.5-flash",\n "contents":[{"parts":[{"text":"hi"}]}], "x": 1.0e0}'
    native = GOOGLE.translate(LineIn(ID, GENERATE, body, MODEL), Target())
    assert native.data == b'{"key":"%b","request":{"contents":[{"parts":[{"text":"hi"}]}],"x":1.0e0}}' % ID.encode()
    with pytest.raises(LineRejected) as caught:
        GOOGLE.translate(LineIn(ID, GENERATE, b'{"model":"m","messages":[]}', MODEL), Target())
    assert caught.value.param == "body.contents"
    assert body_of(row({"response": RESPONSE}, GENERATE)) == RESPONSE
    assert row({"response": RESPONSE}, GENERATE).usage == row({"response": RESPONSE}).usage
    refused = row({"error": {"code": 8, "message": "Why."}}, GENERATE)
    assert (refused.code, body_of(refused)) == ("429", {"error": {"code": 8, "message": "Why."}})


def test_what_is_lost_is_refused_or_noted() -> None:
    with pytest.raises(LineRejected) as caught:
        translate(BODY | {"logit_bias": {"5": 1}})
    assert caught.value.param == "logit_bias"
    assert translate(BODY | {"logit_bias": {"5": 1}}, drop_params=True).dropped == ("logit_bias",)


@pytest.mark.parametrize("endpoint", ["/v1/moderations", "/v1/messages"])
def test_an_endpoint_that_the_lane_does_not_run_is_named(endpoint: str) -> None:
    with pytest.raises(LineRejected) as caught:
        translate(BODY, endpoint)
    assert (caught.value.code, caught.value.param) == ("unsupported_endpoint", "url")


@pytest.mark.parametrize("name", ["a/b", "../x", "gemini 2", "models/", "", "gemini:x", "models/a?b"])
def test_a_model_that_cannot_stand_in_a_path_is_refused(name: str) -> None:
    with pytest.raises(LineRejected) as caught:
        translate(BODY | {"model": name or "x"}, model=name)
    assert caught.value.param == "model"


def test_an_embedding_holds_one_text() -> None:
    native = translate({"model": "gemini-embedding-001", "input": ["a"], "dimensions": 512}, EMBEDDINGS)
    request = {"content": {"parts": [{"text": "a"}]}, "output_dimensionality": 512}
    assert json.loads(native.data) == {"key": ID, "request": request}
    packed = translate({"model": "m", "input": "a", "encoding_format": "base64"}, EMBEDDINGS)
    assert json.loads(packed.data)["key"] == f"{ID}-b64"
    with pytest.raises(LineRejected, match="a line of its own") as caught:
        translate({"model": "m", "input": ["a", "b"]}, EMBEDDINGS)
    assert caught.value.param == "input"


@given(ANY_TEXT)
def test_any_text_goes_out_on_one_line(text: str) -> None:
    native = translate(BODY | {"messages": [{"role": "user", "content": text or "x"}]})
    assert b"\n" not in native.data
    assert json.loads(native.data)["key"] == ID


# In


def test_a_response_is_an_answer() -> None:
    found = row({"response": RESPONSE})
    assert (found.ok, found.model, found.code) == (True, "gemini-2.5-flash-001", None)
    assert found.usage == Usage(input_tokens=8, output_tokens=40, reasoning_tokens=29)
    body = body_of(found)
    assert (body["object"], body["created"]) == ("chat.completion", 1796000000)
    assert body["choices"][0]["message"]["content"] == "yes"


def test_the_job_tells_what_a_response_does_not() -> None:
    found = row({"response": {**RESPONSE, "modelVersion": ""}})
    assert found.model == MODEL
    assert body_of(row({"response": RESPONSE}, source="results--.jsonl"))["created"] == 0


@pytest.mark.parametrize(
    ("code", "status"), [(3, 400), (5, 404), (7, 403), (8, 429), (9, 400), (13, 500), (14, 503), (4, 504), (16, 401)]
)
@pytest.mark.parametrize("member", ["error", "status"])
def test_an_error_has_the_status_of_its_code(code: int, status: int, member: str) -> None:
    found = row({member: {"code": code, "message": "Why."}})
    assert (found.ok, found.code, json.loads(found.response or b"")["status_code"]) == (False, str(status), status)
    assert body_of(found)["error"]["message"] == "Why."


def test_a_line_that_did_not_run_was_cancelled() -> None:
    found = row({"error": {"code": 1, "message": "Cancelled."}})
    assert (found.ok, found.code) == (False, "batch_cancelled")


@pytest.mark.parametrize("odd", [{}, {"response": None}, {"response": 7}, {"error": "x"}, {"error": None}])
def test_what_is_no_answer_is_an_error_of_its_line(odd: dict[str, Any]) -> None:
    assert row(odd).code == "empty_result"


def test_a_spoiled_answer_is_paid_for_and_no_answer() -> None:
    spoiled = {**RESPONSE, "candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL"}]}
    found = row({"response": spoiled})
    assert (found.ok, found.code) == (False, "MALFORMED_FUNCTION_CALL")
    assert found.usage is not None
    assert found.usage.output_tokens == 40


def test_the_key_may_stand_in_the_metadata() -> None:
    line = json.dumps({"response": RESPONSE, "metadata": {"key": ID}}).encode()
    found = GOOGLE.row(line, SOURCE, CHAT)
    assert found is not None
    assert (found.native_id, found.ok) == (ID, True)


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"response":{}}', b'{"key":7,"response":{}}', b"\xff"])
def test_what_is_nobodys_is_corrupt(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        GOOGLE.row(line, SOURCE, CHAT)
    assert GOOGLE.row(b" \n", SOURCE, CHAT) is None


@pytest.mark.parametrize(("form", "packed"), [("", False), ("-b64", True)])
def test_a_vector_comes_in_the_form_that_was_asked_for(form: str, packed: bool) -> None:
    line = json.dumps({"key": ID + form, "response": {"embedding": {"values": [0.5, 1e-7]}, "tokenCount": 3}}).encode()
    found = GOOGLE.row(line, results_name("", "gemini-embedding-001"), EMBEDDINGS)
    assert found is not None
    assert (found.native_id, found.ok, found.model, found.usage) == (ID, True, "gemini-embedding-001", Usage(3))
    assert isinstance(body_of(found)["data"][0]["embedding"], str) is packed
    assert row({"response": {"embedding": {}}}, EMBEDDINGS).ok is False


def test_a_row_may_be_written_as_openai_has_it() -> None:
    usage = {"promptTokens": 8, "completionTokens": 11, "totalTokens": 48}
    body = {"model": MODEL, "choices": [], "usage": usage}
    line = json.dumps({"custom_id": ID, "response": {"status_code": 200, "body": body}}).encode()
    found = GOOGLE.row(line, SOURCE, CHAT)
    assert found is not None
    assert (found.native_id, found.ok, found.model) == (ID, True, MODEL)
    assert found.usage == Usage(input_tokens=8, output_tokens=40, reasoning_tokens=29)
    bad = json.dumps({"custom_id": ID, "response": {"status_code": 429, "body": {}}}).encode()
    refused = GOOGLE.row(bad, SOURCE, CHAT)
    assert refused is not None
    assert (refused.ok, refused.code) == (False, "429")


@given(JSON_VALUES, st.booleans(), st.sampled_from(["response", "error", "status", "metadata", "custom_id"]))
def test_any_row_under_a_key_is_read(value: Any, plain: bool, member: str) -> None:
    found = GOOGLE.row(json.dumps({"key": ID, member: value}, ensure_ascii=plain).encode(), SOURCE, CHAT)
    assert found is not None
    assert found.native_id == ID


@given(ANY_TEXT)
def test_any_text_comes_in_as_it_is(text: str) -> None:
    said = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP"}
    found = row({"response": {**RESPONSE, "candidates": [said]}})
    assert body_of(found)["choices"][0]["message"]["content"] == text


@given(st.text(max_size=20), st.text(max_size=40))
def test_a_source_is_a_plain_file_name(ended: str, model: str) -> None:
    name = results_name(ended, model)
    assert "/" not in name
    assert name.isascii()
    assert row({"response": RESPONSE}, source=name).ok
