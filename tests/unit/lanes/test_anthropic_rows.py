"""Lines out and results in, for Anthropic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineIn, LineRejected, Native, Row, Target, Usage
from proxy_plugin.providers.lanes.anthropic.lane import ANTHROPIC
from proxy_plugin.providers.lanes.anthropic.rows import custom_id_of, ends_whole

CHAT = "/v1/chat/completions"
ID = "abcdefghij0000002s"
BODY = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "hi"}]}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": "1"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 16, "cache_read_input_tokens": 4, "output_tokens": 5, "service_tier": "batch"},
}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
WORDS = st.sampled_from(["succeeded", "errored", "canceled", "expired", "paused"])
ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # with halves of pairs, as cut answers have them


def translate(body: dict[str, Any], endpoint: str = CHAT, **target: Any) -> Native:
    return ANTHROPIC.translate(LineIn(ID, endpoint, json.dumps(body, indent=1).encode(), "m"), Target(**target))


def row(result: object, **writing: Any) -> Row:
    found = ANTHROPIC.row(json.dumps({"custom_id": ID, "result": result}, **writing).encode(), "results.jsonl", CHAT)
    assert found is not None
    assert found.native_id == ID
    assert (found.response is None) != (found.error is None)
    return found


def response_of(found: Row) -> dict[str, Any]:
    response: dict[str, Any] = json.loads(found.response or b"")
    assert list(response) == ["status_code", "request_id", "body"]
    return response


# Out


def test_a_line_becomes_a_request_under_our_id() -> None:
    native = translate(BODY | {"max_tokens": 9})
    expected = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    assert json.loads(native.data) == {"custom_id": ID, "params": expected}
    assert native == Native(native.data, inputs=1, partition="", dropped=())


def test_the_targets_model_counts() -> None:
    assert json.loads(translate(BODY, model="claude-opus-5").data)["params"]["model"] == "claude-opus-5"


def test_what_is_lost_is_refused_or_noted() -> None:
    body = BODY | {"seed": 7, "logit_bias": {"50256": -100}}
    with pytest.raises(LineRejected) as caught:
        translate(body)
    assert caught.value.param in {"seed", "logit_bias"}
    assert sorted(translate(body, drop_params=True).dropped) == ["logit_bias", "seed"]


@pytest.mark.parametrize("endpoint", ["/v1/moderations", "/v1/embeddings", "/v1/messages/batches"])
def test_an_endpoint_without_a_batch_lane_is_rejected(endpoint: str) -> None:
    with pytest.raises(LineRejected, match=endpoint) as caught:
        translate(BODY, endpoint)
    assert (caught.value.code, caught.value.param) == ("unsupported_endpoint", "url")


@given(st.text(min_size=1).filter(str.strip), st.sampled_from([None, 1, "\r\n\t"]))
def test_any_text_stays_one_line_of_the_document(text: str, indent: int | str | None) -> None:
    body = json.dumps(BODY | {"messages": [{"role": "user", "content": text}]}, indent=indent, ensure_ascii=False)
    native = ANTHROPIC.translate(LineIn(ID, CHAT, body.encode("utf-8", "replace"), "m"), Target())
    assert not set(b"\r\n") & set(native.data)
    said = json.loads(native.data)["params"]["messages"][0]["content"]
    assert said == text.encode("utf-8", "replace").decode()


# In


def test_a_message_becomes_a_completion() -> None:
    found = row({"type": "succeeded", "message": MESSAGE})
    assert (found.ok, found.code, found.model) == (True, None, "claude-haiku-4-5-20251001")
    assert found.usage == Usage(input_tokens=20, output_tokens=5, cached_tokens=4)
    response = response_of(found)
    assert (response["status_code"], response["request_id"]) == (200, "msg_1")
    body = response["body"]
    assert (body["object"], body["model"]) == ("chat.completion", "claude-haiku-4-5-20251001")
    assert body["choices"][0]["message"]["content"] == "1"
    assert body["choices"][0]["finish_reason"] == "stop"


def test_the_same_result_gives_the_same_bytes() -> None:
    for result in ({"type": "succeeded", "message": MESSAGE}, {"type": "errored", "error": {}}, {"type": "expired"}):
        assert row(result) == row(result)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
        ("error_of_tomorrow", 500),
    ],
)
@pytest.mark.parametrize("request_id", [None, "req_7"])
def test_an_error_becomes_a_response_with_its_status(kind: str, status: int, request_id: str | None) -> None:
    error = {"type": kind, "message": "messages: Field required", "details": {}}
    found = row({"type": "errored", "error": {"type": "error", "error": error, "request_id": request_id}})
    assert (found.ok, found.code, found.usage) == (False, str(status), None)
    response = response_of(found)
    assert (response["status_code"], response["request_id"]) == (status, request_id or "")
    said = response["body"]["error"]
    assert (said["type"], said["code"], said["message"]) == (kind, kind, "messages: Field required")


@pytest.mark.parametrize("error", [{"type": "api_error"}, {}, None, "text", [1], 7])
def test_an_error_of_any_shape_is_an_error(error: object) -> None:
    found = row({"type": "errored", "error": error})
    assert (found.ok, found.code) == (False, "500")
    assert response_of(found)["body"]["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("canceled", "batch_cancelled", "This request was not executed because the batch was cancelled."),
        ("expired", "batch_expired", "This request could not be executed before the completion window expired."),
    ],
)
def test_a_line_that_did_not_run_says_so_in_openais_words(kind: str, code: str, message: str) -> None:
    found = row({"type": kind})
    assert (found.ok, found.code, found.response) == (False, code, None)
    assert json.loads(found.error or b"") == {"code": code, "message": message}


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "succeeded",
        {},
        {"type": ["canceled"]},
        {"type": "paused"},
        {"type": "succeeded"},
        {"type": "succeeded", "message": None},
        {"type": "succeeded", "message": "1"},
    ],
)
def test_a_result_that_says_nothing_is_an_error_of_its_line(result: object) -> None:
    found = row(result)
    assert (found.ok, found.code) == (False, "empty_result")


def test_a_cut_answer_keeps_its_half_of_an_emoji() -> None:
    cut = MESSAGE | {"content": [{"type": "text", "text": "so \ud83d"}], "stop_reason": "max_tokens"}
    found = row({"type": "succeeded", "message": cut})
    response = response_of(found)
    assert (found.ok, response["request_id"]) == (True, "msg_1")
    choice = response["body"]["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("so \ud83d", "length")


def test_a_tool_call_keeps_its_long_numbers() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 12345678901234567890123}}
    found = row({"type": "succeeded", "message": MESSAGE | {"content": [call], "stop_reason": "tool_use"}})
    (said,) = response_of(found)["body"]["choices"][0]["message"]["tool_calls"]
    assert json.loads(said["function"]["arguments"]) == {"n": 12345678901234567890123}


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"null",
        b'"text"',
        b"{}",
        b'{"custom_id":7,"result":{}}',
        b'{"result":{"type":"expired"}}',
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg',
        b'{"custom_id":"a\xff","result":{"type":"expired"}}',
        b'{"custom_id":"a","result":{"type":"expired","note":"\xff"}}',
        b'{"custom_id":"a","result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_corrupt_line_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the contract's word
        ANTHROPIC.row(line, "results.jsonl", CHAT)
    with pytest.raises(ValueError):  # noqa: PT011
        custom_id_of(line)


def test_a_blank_line_is_no_row() -> None:
    for line in (b"", b"  ", b"\r"):
        assert ANTHROPIC.row(line, "results.jsonl", CHAT) is None


@given(ANY_TEXT, st.integers(0, 10**30), st.booleans(), st.permutations(list(MESSAGE)))
def test_any_answer_comes_through(text: str, tokens: int, plain: bool, order: list[str]) -> None:
    given_message = MESSAGE | {"content": [{"type": "text", "text": text}], "usage": {"output_tokens": tokens}}
    message = {key: given_message[key] for key in order}
    plain = plain and text.isprintable()
    found = row({"message": message, "type": "succeeded"}, ensure_ascii=not plain)
    assert (found.ok, found.model) == (True, MESSAGE["model"])
    assert response_of(found)["body"]["choices"][0]["message"]["content"] == text


@given(WORDS | JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_any_result_is_one_row(kind: object, message: object, error: object) -> None:
    found = row({"type": kind, "message": message, "error": error})
    assert found.ok == (kind == "succeeded" and isinstance(message, dict))
    if not found.ok:
        assert found.code
    assert json.loads(found.response or found.error or b"")


@given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_line_is_a_row_a_blank_or_a_value_error(line: bytes) -> None:
    try:
        found = ANTHROPIC.row(line, "results.jsonl", CHAT)
    except ValueError:
        return
    assert found is None or json.loads(line)["custom_id"] == found.native_id


# Counting


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"", True),
        (b'{"custom_id":"a"}', True),
        (b'{"custom_id":"a","result":{}}\n', True),
        (b'{"custom_id":"a","result":{}}\n{"custom_id":"b","result":{}}', True),
        (b'{"custom_id":"a","result":{}}\r\n{"custom_id":"b","result":{}}\r\n  ', True),
        (b'{"custom_id":"a","result":{}}\n{"custom_id":"b","res', False),
        ((b'{"custom_id":"a","result":"' + b"x" * 700_000 + b'"}\n') * 5, True),
        (b'{"custom_id":"a","result":{"message":"' + b"x" * 3_000_000 + b'"}}', True),
        (b'{"custom_id":"a","result":{"message":"' + b"x" * 3_000_000, False),
    ],
)
def test_a_file_ends_with_a_whole_row_or_not(tmp_path: Path, data: bytes, whole: bool) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(data)
    assert ends_whole(path) is whole


@given(st.lists(ANY_TEXT, min_size=1, max_size=4), st.data())
def test_a_file_that_was_cut_in_a_row_never_ends_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    lines = [json.dumps({"custom_id": ID, "result": {"message": {"text": text}}}).encode() + b"\n" for text in texts]
    whole = b"".join(lines)
    size = data.draw(st.integers(0, len(whole) - 2))  # without its last newline alone it is whole
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    path.write_bytes(whole[:size])
    assert ends_whole(path) is (not size or b"\n" in whole[size - 1 : size + 1])


# What the provider says and what it is called by


@pytest.mark.parametrize(
    ("source", "created"),
    [
        ("results-1795953600.jsonl", 1795953600),
        ("results-0.jsonl", 0),
        ("results.jsonl", 0),  # stored by an earlier version
        ("results-.jsonl", 0),
        ("results-x.jsonl", 0),
        ("results--5.jsonl", 0),
        ("results-1.jsonl.part", 0),
        ("results-9999999999999.jsonl", 0),
    ],
)
@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/responses", "/v1/completions"])
def test_an_answer_was_created_when_its_job_ended(source: str, created: int, endpoint: str) -> None:
    result = {"type": "succeeded", "message": paid("msg_1")}
    found = ANTHROPIC.row(json.dumps({"custom_id": ID, "result": result}).encode(), source, endpoint)
    assert found is not None
    answer = json.loads(found.response or b"")["body"]
    assert answer.get("created", answer.get("created_at")) == created


def paid(name: str, model: str = "m") -> dict[str, Any]:
    return {
        "id": name,
        "type": "message",
        "role": "assistant",
        "model": model,
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "paid"}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


@pytest.mark.parametrize("name", ["\ud83d", "msg_\ude00", "\ud83d\ud83d", "", "é", "a\x00b", "\udfff9"])
@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/responses", "/v1/completions"])
def test_half_a_character_in_a_name_is_no_corrupt_row(name: str, endpoint: str) -> None:
    result = {"type": "succeeded", "message": paid(name, f"m{name}")}
    found = ANTHROPIC.row(json.dumps({"custom_id": ID, "result": result}).encode(), "results.jsonl", endpoint)
    assert found is not None
    assert found.ok
    assert b"paid" in (found.response or b"")
    assert json.loads(found.response or b"")["request_id"] == name
    (found.model or "").encode()
    (found.response or b"").decode()


@pytest.mark.parametrize("name", ["\ud83d", "req_\ude00"])
def test_half_a_character_in_a_request_id_of_an_error(name: str) -> None:
    fault = {"type": name, "message": name}
    found = row({"type": "errored", "error": {"type": "error", "error": fault, "request_id": name}})
    assert (found.ok, response_of(found)["request_id"]) == (False, name)
