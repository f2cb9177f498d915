"""Lines out and rows in, for OpenAI and the services that copy it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineIn, LineRejected, Native, Row, Target, Usage, native_id, split_native_id
from proxy_plugin.providers.formats.members import members
from proxy_plugin.providers.lanes.openai.services.openai import OPENAI

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
ID = "abcdefghij0000002s"
KEPT = Target()

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("model"), inner, max_size=4),
    max_leaves=20,
)
WRITINGS = st.sampled_from(
    [{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"indent": "\r\n\t"}]
)
# Numbers and texts that a decoder would change: beyond 64 bits, beyond a float, halves of a pair, needless escapes.
FRAGILE = (
    b'{"model":"a","seed":1234567890123456789012345,"p":1.10,"q":1e999,"s":"\\ud83d","t":"\\/\\u0041\\u00e9",'
    b'"o":{"model":"inner","b":1,"a":[{"model":2}]}}'
)


def translate(body: bytes, target: Target = KEPT, endpoint: str = CHAT) -> Native:
    return OPENAI.translate(LineIn(ID, endpoint, body, "a"), target)


def body_of(native: Native) -> bytes:
    """Return what follows `"body":` up to the record's own closing brace."""
    head, _, body = native.data.partition(b',"body":')
    assert json.loads(head + b"}") == {"custom_id": ID, "method": "POST", "url": CHAT}
    return body[:-1]


def test_a_body_passes_byte_for_byte() -> None:
    assert body_of(translate(FRAGILE)) == FRAGILE
    assert translate(FRAGILE) == Native(translate(FRAGILE).data, inputs=1, partition="", dropped=())


def test_a_models_replacement_touches_nothing_else() -> None:
    assert body_of(translate(FRAGILE, Target(model="b/é"))) == FRAGILE.replace(b'"a"', '"b/é"'.encode(), 1)


@given(st.dictionaries(st.text(), JSON_VALUES), WRITINGS)
def test_any_body_stays_one_line_and_means_the_same(fields: dict[str, Any], writing: dict[str, Any]) -> None:
    text = json.dumps(fields, **writing).encode("utf-8", "replace")
    native = translate(text)
    assert not {b"\n", b"\r"} & {native.data[place : place + 1] for place in range(len(native.data))}
    assert json.loads(native.data)["body"] == json.loads(text)


@given(st.dictionaries(st.text() | st.just("model"), JSON_VALUES), WRITINGS, st.text())
def test_any_body_gets_the_targets_model_and_keeps_its_other_members(
    fields: dict[str, Any], writing: dict[str, Any], model: str
) -> None:
    text = json.dumps(fields, **writing).encode("utf-8", "replace")
    found = json.loads(translate(text, Target(model=model)).data)["body"]
    assert found.pop("model") == model
    expected = json.loads(text)
    expected.pop("model", None)
    assert list(found.items()) == list(expected.items())


@given(st.dictionaries(st.text(), JSON_VALUES), WRITINGS)
def test_members_are_where_they_are_said_to_be(fields: dict[str, Any], writing: dict[str, Any]) -> None:
    text = json.dumps(fields, **writing).encode("utf-8", "replace")
    found = {key: json.loads(text[start:end]) for key, start, end in members(text)}
    assert found == json.loads(text)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{ }", b'{"model":"b" }'),
        (b'{"x":1}', b'{"model":"b","x":1}'),
        (b'{"model":"a","model":"z"}', b'{"model":"b","model":"b"}'),
        (b'{"mod\\u0065l" : null, "x":"model"}', b'{"mod\\u0065l" : "b", "x":"model"}'),
        (b'{"model":["a",{"model":1}],"x":2}', b'{"model":"b","x":2}'),
        (b'{"model":12.5}', b'{"model":"b"}'),
        (b'{"x":{"model":"a"}}', b'{"model":"b","x":{"model":"a"}}'),
        (b'{"x":["model"]}', b'{"model":"b","x":["model"]}'),
        (b'{"x":{"model":"a"},"mo\\u0064el":"a"}', b'{"x":{"model":"a"},"mo\\u0064el":"b"}'),
        (b'{"x":"\\u00e9 \\"model\\"", "model"\t:\n"a\\"\\\\" }', b'{"x":"\\u00e9 \\"model\\"", "model"\t: "b" }'),
        (b'{"x":"{\\"model\\":\\"a\\"}","model":"a"}', b'{"x":"{\\"model\\":\\"a\\"}","model":"b"}'),
    ],
)
def test_where_a_model_stands(body: bytes, expected: bytes) -> None:
    assert body_of(translate(body, Target(model="b"))) == expected


@pytest.mark.parametrize("body", [b"[1]", b'"text"', b"null", b"", b"  7"])
def test_a_body_that_is_no_object_is_rejected_by_name(body: bytes) -> None:
    with pytest.raises(LineRejected, match="JSON object") as caught:
        translate(body)
    assert caught.value.param == "body"


def test_an_endpoint_without_a_batch_lane_is_rejected() -> None:
    with pytest.raises(LineRejected, match="/v1/audio/speech"):
        translate(b"{}", endpoint="/v1/audio/speech")


@pytest.mark.parametrize(
    ("given_input", "count"),
    [
        (b'"one text"', 1),
        (b'["a","b","c"]', 3),
        (b"[1,2,3,4]", 1),
        (b"[[1,2],[3]]", 2),
        (b"[]", 1),
        (b"null", 1),
        (b'["\\ud83d","b"]', 2),
    ],
)
def test_embedding_inputs_are_counted(given_input: bytes, count: int) -> None:
    assert translate(b'{"model":"e","input":' + given_input + b"}", endpoint=EMBEDDINGS).inputs == count
    assert translate(b'{"model":"e","input":' + given_input + b"}", endpoint="/v1/moderations").inputs == 1


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=10, max_size=10), st.integers(0, 36**8 - 1))
def test_native_ids_come_back_from_a_row(mark: str, ordinal: int) -> None:
    line = OPENAI.translate(LineIn(native_id(mark, ordinal), CHAT, b"{}", "m"), KEPT).data
    echoed = (
        b'{"custom_id":%s,"response":null,"error":{"code":"batch_expired"}}'
        % json.dumps(json.loads(line)["custom_id"]).encode()
    )
    found = row(echoed)
    assert split_native_id(found.native_id) == (mark, ordinal)


def row(line: bytes, source: str = "output.jsonl") -> Row:
    found = OPENAI.row(line, source, CHAT)
    assert found is not None
    assert (found.response is None) != (found.error is None)
    return found


def line_of(response: bytes | None = None, error: bytes | None = None) -> bytes:
    parts = [b'"id":"batch_req_1"', b'"custom_id":"%s"' % ID.encode()]
    parts += [b'"response":' + response] if response is not None else []
    parts += [b'"error":' + error] if error is not None else []
    return b"{" + b", ".join(parts) + b"}"


def answered(body: bytes, status: bytes = b"200") -> bytes:
    return line_of(b'{"status_code": ' + status + b', "request_id":"r", "body":' + body + b"}", b"null")


RESPONSES_USAGE = (
    b'{"input_tokens":9,"output_tokens":2,"input_tokens_details":{"cached_tokens":8},'
    b'"output_tokens_details":{"reasoning_tokens":1}}'
)
CHAT_BODY = (
    b'{"id":"c","model":"gpt-4.1-nano-2025","choices":[{"message":{"content":"\\u00e9\\/ 1.10"}}],"seed":'
    b'1234567890123456789012345,"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,'
    b'"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}'
)


def test_an_answer_keeps_its_bytes_and_tells_model_and_usage() -> None:
    found = row(answered(CHAT_BODY))
    assert found == Row(
        ID,
        ok=True,
        response=b'{"status_code": 200, "request_id":"r", "body":' + CHAT_BODY + b"}",
        model="gpt-4.1-nano-2025",
        usage=Usage(input_tokens=11, output_tokens=7, cached_tokens=4, reasoning_tokens=3),
    )


def test_half_an_emoji_in_an_answer_changes_nothing() -> None:
    body = CHAT_BODY.replace(b"1.10", b"\\ud83d")
    with pytest.raises(msgspec.DecodeError):  # the reason for the slower way
        msgspec.json.decode(body)
    plain, odd = row(answered(CHAT_BODY)), row(answered(body))
    assert odd.response == (plain.response or b"").replace(b"1.10", b"\\ud83d")
    assert (odd.ok, odd.model, odd.usage) == (plain.ok, plain.model, plain.usage)
    deep = b'{"model":"m","x":' + b"[" * 300 + b"]" * 300 + b',"y":"\\ud83d"}'
    assert row(answered(deep)).model == "m"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (b'{"prompt_tokens":5,"total_tokens":5}', Usage(input_tokens=5)),
        (RESPONSES_USAGE, Usage(input_tokens=9, output_tokens=2, cached_tokens=8, reasoning_tokens=1)),
        (b'{"prompt_tokens":5,"completion_tokens":null,"prompt_tokens_details":null}', Usage(input_tokens=5)),
        (b'{"prompt_tokens":"5","completion_tokens":-3}', Usage()),
        (b"{}", Usage()),
        (b"null", None),
        (b'"none"', None),
    ],
)
def test_usage_is_read_under_every_name(usage: bytes, expected: Usage | None) -> None:
    assert row(answered(b'{"usage":' + usage + b"}")).usage == expected


def test_an_http_failure_keeps_its_response_and_has_no_error() -> None:
    body = (
        b'{"error":{"message":"Invalid temperature","type":"invalid_request_error","param":"temperature","code":null}}'
    )
    found = row(answered(body, b"400"), "error.jsonl")
    assert (found.ok, found.error, found.code, found.usage) == (False, None, "400", None)
    assert json.loads(found.response or b"")["body"] == json.loads(body)


@pytest.mark.parametrize("status", [b"0", b"null", b'"nonsense"', b"199", b"300", b"true", b"-200"])
def test_any_status_but_2xx_is_a_failure(status: bytes) -> None:
    found = row(answered(b'{"choices":[]}', status))
    assert not found.ok
    assert found.response is not None
    assert found.code


@pytest.mark.parametrize("status", [b"200", b"201", b"299", b'"200"'])
def test_every_2xx_is_an_answer(status: bytes) -> None:
    assert row(answered(b'{"choices":[]}', status)).ok


@pytest.mark.parametrize("code", ["batch_cancelled", "batch_expired", "request_timeout"])
def test_a_line_that_did_not_run_keeps_its_error(code: str) -> None:
    error = b'{"code": "%s", "message":"This request  was not executed."}' % code.encode()
    found = row(line_of(b"null", error), "error.jsonl")
    assert found == Row(ID, ok=False, error=error, code=code)


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (line_of(b"null", b'"out of memory"'), "provider_error", "out of memory"),
        (line_of(None, b'["a"]'), "provider_error", '["a"]'),
        (line_of(b'{"status_code":500,"body":null}', b'"worker died"'), "provider_error", "worker died"),
        (line_of(b'{"status_code":200,"body":null}', b'{"code":17,"message":"m"}'), "17", "m"),
        (line_of(b"null", b"null"), "empty_result", None),
        (line_of(), "empty_result", None),
        (line_of(b'{"status_code":200,"body":null}', b"null"), "empty_result", None),
        (line_of(b'{"status_code":200}', b'""'), "empty_result", None),
        (line_of(b'"text"', b"{}"), "empty_result", None),
    ],
)
def test_rows_of_copies_of_the_api(line: bytes, code: str, message: str | None) -> None:
    found = row(line)
    assert (found.ok, found.code) == (False, code)
    error = json.loads(found.error or b"")
    assert error["message"] == (message or error["message"])
    assert str(error["code"]) == code


def test_a_failure_with_a_status_and_no_words_keeps_its_response() -> None:
    assert row(line_of(b'{"status_code":503}', b"null")).response == b'{"status_code":503}'


def test_a_body_that_is_no_object_is_still_an_answer() -> None:
    found = row(answered(b'["a"]'))
    assert (found.ok, found.model, found.usage) == (True, None, None)


@pytest.mark.parametrize("blank", [b"", b"\n", b" \r\n"])
def test_blank_lines_are_skipped(blank: bytes) -> None:
    assert OPENAI.row(blank, "output.jsonl", CHAT) is None


def test_line_ends_and_a_byte_order_mark_do_not_matter() -> None:
    assert row(answered(CHAT_BODY) + b"\r\n") == row(b"\xef\xbb\xbf" + answered(CHAT_BODY)) == row(answered(CHAT_BODY))


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"a","response":{"status_code":200',
        b"not json",
        b'["custom_id"]',
        b'{"response":null}',
        b'{"custom_id":7}',
        b'{"custom_id":"a"} {"custom_id":"b"}',
        answered(b'{"content":"\xff"}'),
        answered(b"[" * 4000 + b"]" * 4000),
    ],
)
def test_a_corrupt_line_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the contract's word, whatever the text
        OPENAI.row(line, "output.jsonl", CHAT)


@given(st.dictionaries(st.sampled_from(["custom_id", "response", "error"]), JSON_VALUES), JSON_VALUES, JSON_VALUES)
def test_any_row_is_read_or_corrupt(fields: dict[str, Any], status: object, body: object) -> None:
    for line in (
        fields,
        {"custom_id": ID, **fields},
        {"custom_id": ID, "response": {"status_code": status, "body": body}},
    ):
        try:
            found = row(json.dumps(line).encode())
        except ValueError:
            assert not isinstance(line.get("custom_id"), str)
            continue
        assert found.ok == (found.code is None)
        assert json.loads(found.response or found.error or b"") is not None
