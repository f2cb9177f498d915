"""Rows of Mistral, xAI and Voyage as OpenAI's, and pages of results that may be cut anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineIn, LineRejected, Row, Target
from proxy_plugin.providers.formats.rows import error_of, read_row
from proxy_plugin.providers.lanes.mistral_ai.rows import result_row as mistral_row
from proxy_plugin.providers.lanes.voyage.rows import request_line as voyage_line
from proxy_plugin.providers.lanes.voyage.rows import request_params
from proxy_plugin.providers.lanes.x_ai.rows import read_page, request_line
from proxy_plugin.providers.lanes.x_ai.rows import result_row as xai_row

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
Json = dict[str, Any]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
COMPLETION = {
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}


def body_of(row: Row | None) -> Json:
    assert row is not None
    found: Json = json.loads(row.response or b"")["body"]
    return found


def mistral(**row: Any) -> Row | None:
    return mistral_row(json.dumps({"id": "batch-1", "custom_id": "a", **row}).encode(), "output.jsonl", CHAT)


def test_an_error_body_that_is_json_in_a_text_is_read() -> None:
    body = json.dumps({"object": "error", "message": "no", "type": "invalid_request_file", "code": "3310"})
    row = mistral(response={"status_code": 400, "body": body}, error=None)
    assert row is not None
    assert (row.ok, row.code) == (False, "400")
    error = {"message": "no", "type": "invalid_request_file", "param": None, "code": "3310"}
    assert body_of(row) == {"error": error}


def test_a_row_without_answer_or_error_is_empty_and_one_without_an_id_is_corrupt() -> None:
    row = mistral(response=None, error=None)
    assert row is not None
    assert row.code == "empty_result"
    assert mistral_row(b" \n", "", CHAT) is None
    with pytest.raises(ValueError, match="custom_id"):
        mistral_row(b'{"response":{}}', "", CHAT)
    with pytest.raises(ValueError, match=r".+"):
        mistral_row(b'{"custom_id":"a', "", CHAT)


@given(JSON_VALUES, st.integers(100, 599) | st.text())
def test_any_body_of_any_status_is_a_row(body: Any, status: Any) -> None:
    line = json.dumps({"custom_id": "a", "response": {"status_code": status, "body": body}}).encode()
    row = read_row(line, lambda _: error_of(500, "unread"))
    assert row is not None
    assert (row.response is None) != (row.error is None)
    json.loads(row.response or row.error or b"")


def xai(result: Any, endpoint: str = CHAT) -> Row:
    row = xai_row(json.dumps({"batch_request_id": "a", "batch_result": result}).encode(), endpoint)
    assert row is not None
    return row


def test_an_answer_stands_in_a_wrapper_of_any_name() -> None:
    row = xai({"response": {"chat_get_completion": COMPLETION}})
    assert body_of(row) == COMPLETION
    assert row.ok
    assert xai({"response": {"another": COMPLETION}}, RESPONSES).response is not None
    assert body_of(xai({"response": {"another": COMPLETION}}, RESPONSES))["object"] == "response"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        ("Batch cancelled", "batch_cancelled", "was not executed"),
        ("too long", "request_failed", "too long"),
        ({"code": 3, "message": "too long"}, "request_failed", "too long"),
        (None, "empty_result", "neither"),
    ],
)
def test_an_error_is_a_text_or_the_other_protocols_object(error: Any, code: str, words: str) -> None:
    row = xai({"error": error})
    assert (row.ok, row.code) == (False, code)
    assert words in json.loads(row.error or b"")["message"]


def test_tokens_of_thoughts_are_paid_beside_those_of_the_answer() -> None:
    usage: Json = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 17}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 10}}
    row = xai({"response": {"x": COMPLETION | {"usage": usage}}})
    assert row.usage is not None
    assert (row.usage.output_tokens, row.usage.reasoning_tokens) == (14, 10)
    inside = xai({"response": {"x": COMPLETION | {"usage": usage | {"total_tokens": 7}}}})
    assert inside.usage is not None
    assert inside.usage.output_tokens == 4


def test_of_the_turns_of_a_search_the_last_is_served() -> None:
    turns = [{"index": 0, "message": {"content": text}} for text in ("looking", "found")]
    assert body_of(xai({"response": {"x": COMPLETION | {"choices": turns}}}))["choices"] == turns[1:]
    several = [{"index": n, "message": {"content": "a"}} for n in range(2)]
    assert body_of(xai({"response": {"x": COMPLETION | {"choices": several}}}))["choices"] == several


@given(st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=3), max_size=5), st.none() | st.text(), st.data())
def test_a_page_gives_its_rows_and_a_cut_one_those_before_the_cut(rows: list[Json], token: Any, data: Any) -> None:
    text = json.dumps({"results": rows, "pagination_token": token})
    page = read_page(text)
    assert (page.whole, page.token) == (True, token or None)
    assert [json.loads(row) for row in page.rows] == rows
    cut = read_page(text[: data.draw(st.integers(0, len(text) - 1))])
    assert (cut.whole, cut.token) == (False, None)
    assert [json.loads(row) for row in cut.rows] == rows[: len(cut.rows)]


def line(body: bytes, endpoint: str = CHAT) -> LineIn:
    return LineIn("a", endpoint, body, "m")


def test_a_body_for_xai_keeps_its_bytes_but_for_what_is_not_taken() -> None:
    body = b'{"model":"m","seed":123456789012345678901234567890,"messages":[]}'
    assert request_line(line(body), Target()).data.endswith(b'"body":' + body + b"}")
    made = request_line(line(body[:-1] + b',"stream":false}'), Target(model="grok-4.3")).data
    assert b'"seed":123456789012345678901234567890' in made
    assert json.loads(made)["body"]["model"] == "grok-4.3"
    assert "stream" not in json.loads(made)["body"]
    with pytest.raises(LineRejected, match="stream"):
        request_line(line(b'{"model":"m","stream":true,"messages":[]}'), Target(drop_params=True))


def embedding(**more: Any) -> LineIn:
    return line(json.dumps({"model": "voyage-3.5", "input": ["a", "b"], **more}).encode(), EMBEDDINGS)


def test_what_is_not_text_goes_to_the_job() -> None:
    made = voyage_line(embedding(dimensions=256, input_type="query", encoding_format="float"), Target())
    assert json.loads(made.data) == {"custom_id": "a", "body": {"input": ["a", "b"]}}
    params = {"model": "voyage-3.5", "truncation": False, "output_dimension": 256, "input_type": "query"}
    assert request_params(made.partition) == params
    assert made.inputs == 2


@pytest.mark.parametrize(
    "more", [{"dimensions": 256}, {"input_type": "query"}, {"encoding_format": "base64"}, {"model": "voyage-3"}]
)
def test_lines_that_ask_for_different_things_never_share_a_job(more: Json) -> None:
    plain, other = (voyage_line(each, Target()).partition for each in (embedding(), embedding(**more)))
    assert plain != other
    assert plain == voyage_line(embedding(encoding_format="float"), Target()).partition


@pytest.mark.parametrize("more", [{"input": ["x"] * 1001}, {"truncation": "yes"}, {"input_type": "other"}])
def test_what_voyage_does_not_take_is_refused_by_name(more: Json) -> None:
    with pytest.raises(LineRejected) as refused:
        voyage_line(embedding(**more), Target())
    assert refused.value.param == next(iter(more))
