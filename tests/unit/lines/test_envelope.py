"""One line: what is accepted keeps its exact bytes; what is refused says why, and never quotes the line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.lines import envelope
from proxy_plugin.lines.envelope import Envelope, EnvelopeFault, decode_envelope, decode_scanned

CHAT = {"model": "m-1", "messages": [{"role": "user", "content": "hi"}]}
GOOD: dict[str, Any] = {"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}


def line(**changes: object) -> bytes:
    return json.dumps(GOOD | changes, ensure_ascii=False).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in GOOD.items() if name != field}).encode()


def texts(custom_id: str = '"r-1"', method: str = '"POST"', url: str = '"/v1/x"', body: str = '{"model":"m"}') -> bytes:
    return f'{{"custom_id":{custom_id},"method":{method},"url":{url},"body":{body}}}'.encode()


def fault(text: bytes) -> EnvelopeFault:
    with pytest.raises(EnvelopeFault) as caught:
        decode_envelope(text)
    return caught.value


def nested(levels: int) -> bytes:
    """Return a line whose deepest value lies in so many objects and arrays, the envelope and body included."""
    inner = levels - 2
    return texts(body='{"model":"m","x":' + "[" * inner + "]" * inner + "}")


def test_a_good_line_gives_its_facts() -> None:
    assert decode_envelope(line()) == Envelope(
        custom_id="r-1",
        custom_id_json=b'"r-1"',
        url="/v1/chat/completions",
        method="POST",
        body=json.dumps(CHAT).encode(),
        model="m-1",
        stream=False,
    )


@pytest.mark.parametrize(
    ("text", "code", "param", "remedy"),
    [
        (without("custom_id"), "missing_required_parameter", "custom_id", "custom_id"),
        (without("method"), "missing_required_parameter", "method", "method"),
        (without("url"), "missing_required_parameter", "url", "url"),
        (without("body"), "missing_required_parameter", "body", "body"),
        (b"{}", "missing_required_parameter", "custom_id", "custom_id"),
        (line(custom_id=7), "invalid_type", "custom_id", "expected a string, but got an integer instead."),
        (line(custom_id=1.5), "invalid_type", "custom_id", "got a decimal number"),
        (line(custom_id=-3), "invalid_type", "custom_id", "got an integer"),
        (line(custom_id=True), "invalid_type", "custom_id", "got a boolean"),
        (line(custom_id={}), "invalid_type", "custom_id", "got an object"),
        (line(custom_id=None), "invalid_type", "custom_id", "got null"),
        (line(custom_id=""), "empty_string", "custom_id", "minimum length 1"),
        (line(custom_id=["r-1"]), "invalid_type", "custom_id", "got an array"),
        (line(method="GET"), "invalid_value", "method", "Invalid value: 'GET'. Supported values are: 'POST'."),
        (line(method="post"), "invalid_value", "method", "'post'"),
        (line(method="my own words"), "invalid_value", "method", "Invalid value. Supported"),
        (line(method=None), "invalid_type", "method", "got null"),
        (line(method={"POST": 1}), "invalid_type", "method", "got an object"),
        (line(url=7), "invalid_type", "url", "got an integer"),
        (line(url=None), "invalid_type", "url", "got null"),
        (texts(url=r'"/v1/\ud83d"'), "invalid_url", "url", "does not match"),
        (line(body=None), "invalid_type", "body", "expected an object, but got null"),
        (line(body=[CHAT]), "invalid_type", "body", "got an array"),
        (line(body=json.dumps(CHAT)), "invalid_type", "body", "got a string"),
        (line(body={}), "invalid_request", "body.model", "Model parameter is required."),
        (line(body={"model": 7}), "invalid_type", "body.model", "expected a string, but got an integer"),
        (line(body={"model": ""}), "invalid_request", "body.model", "Model parameter is required."),
        (line(body={"model": None}), "invalid_request", "body.model", "Model parameter is required."),
        (texts(body=r'{"model":"\ud83d"}'), "invalid_request", "body.model", "Model parameter is required."),
        (
            line(body=CHAT | {"stream": True}),
            "streaming_unsupported",
            "body.stream",
            "Chat Completions: Streaming is not supported in the Batch API.",
        ),
        (
            line(body=CHAT | {"stream": "yes"}),
            "streaming_unsupported",
            "body.stream",
            "Chat Completions: Streaming is not supported in the Batch API.",
        ),
        (b"", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        (b"7", "invalid_json_line", None, "not a JSON object"),
        (b"null", "invalid_json_line", None, "not a JSON object"),
        (b"[" + line() + b"]", "invalid_json_line", None, "not a JSON object"),
        (b"hello", "invalid_json_line", None, "This line is not parseable as valid JSON."),
        (b"{", "invalid_json_line", None, "without line breaks"),
        (line()[:-9], "invalid_json_line", None, "without line breaks"),
        (line() + line(), "invalid_json_line", None, "one request object per line"),
        (line() + b"x", "invalid_json_line", None, "one request object per line"),
        (line().replace(b":", b"=", 1), "invalid_json_line", None, "at byte 13"),
        (texts(body='{"model":"m",}'), "invalid_json_line", None, "trailing comma"),
        (texts(body="{'model':'m'}"), "invalid_json_line", None, "not parseable as valid JSON. There is"),
        (texts(body='{"model":"m","x":01}'), "invalid_json_line", None, "invalid number"),
        (texts(body='{"model":"m","x":"\t"}'), "invalid_json_line", None, "invalid character"),
        (texts(body=r'{"model":"m","x":"\ud83d\q"}'), "invalid_json_line", None, "invalid escaped character"),
        (texts(body='{"model":"m","x":NaN}'), "invalid_json_line", None, "NaN"),
        (texts(body='{"model":"m","x":[Infinity]}'), "invalid_json_line", None, "Infinity"),
        (texts(body='{"model":"m","x":-Infinity}'), "invalid_json_line", None, "Infinity"),
        (texts(custom_id="NaN"), "invalid_json_line", None, "NaN at byte 14"),
        (line().replace(b"hi", b"h\0i"), "invalid_json_line", None, "NUL"),
        (line().decode().encode("utf-16-le"), "invalid_json_line", None, "as UTF-8"),
        (line().decode().encode("utf-16-be"), "invalid_json_line", None, "as UTF-8"),
        (b"\xff\xfe" + line().decode().encode("utf-16-le"), "invalid_json_line", None, "UTF-16"),
        (b"\xfe\xff" + line().decode().encode("utf-16-be"), "invalid_json_line", None, "UTF-16"),
        (b"\xef\xbb\xbf" + line(), "invalid_json_line", None, "remove the mark"),
        (line().replace(b"hi", b"\xe9"), "invalid_json_line", None, "not valid UTF-8"),
        (line().replace(b"hi", b"\xed\xa0\xbd"), "invalid_json_line", None, "not valid UTF-8"),
        (line().replace(b"hi", b"\xff\xff"), "invalid_json_line", None, "not valid UTF-8"),
        (line().replace(b"hi", b"x" * 65_535 + b"\xe9"), "invalid_json_line", None, "not valid UTF-8"),
    ],
)
def test_a_bad_line_is_refused_with_code_param_and_remedy(
    text: bytes, code: str, param: str | None, remedy: str
) -> None:
    found = fault(text)
    assert (found.code, found.param) == (code, param)
    assert remedy in found.message


@pytest.mark.parametrize("text", [line(body=CHAT | {"stream": False}), line(body=CHAT | {"stream": None})])
def test_stream_may_be_false_or_null(text: bytes) -> None:
    assert decode_envelope(text).stream is False


def test_unknown_keys_are_tolerated() -> None:
    assert decode_envelope(line(priority=[1, {"a": None}], comment="é")).custom_id == "r-1"


def test_a_carriage_return_is_whitespace() -> None:
    assert decode_envelope(
        b' \t\r{"custom_id"\r:\r"a","method":"POST","url":"u","body":\r{"model":"m"\r}\r}\r'
    ).body == (b'{"model":"m"\r}')


@pytest.mark.parametrize(
    "body",
    [
        '{ "z" : 1 , "model":"m", "a":12345678901234567890123456, "b":-0.0, "c":1.10, "d":1E+2, "e":1e400 }',
        r'{"model":"m","x":"\u00e9\/\"\\ é😀 \ud83d\ude00"}',
        r'{"model":"m","x":"cut \ud83d"}',
        r'{"model":"m","x":"\uDE00\uD83D \\ud83d \\\ud83d","\udc00":["\uDFFF"]}',
        '{"model":"m","x":"' + "[{" * 400 + '"}',
        r'{"model":"m","x":"' + r"\"[{\\" * 400 + '"}',
        r'{"model":"m","x":["a\\","' + "[" * 400 + '"]}',
        '{"model":"m","x":[' + ",".join(["[{}]"] * 400) + "]}",
    ],
)
def test_the_body_survives_byte_for_byte(body: str) -> None:
    assert decode_envelope(texts(body=body)).body == body.encode()


@pytest.mark.parametrize(
    "custom_id",
    [
        "with space",
        "é漢字😀",
        "x" * 200,
        "../../etc/passwd",
        "a/b\\c",
        'say "hi"',
        "\u0000",
        "\x7f",
        "\ud83d",
        " ",
        "{[",
        "null",
        "\u2028",
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_any_string_is_a_custom_id(custom_id: str, ascii_only: bool) -> None:
    ascii_only = ascii_only or custom_id == "\ud83d"  # which UTF-8 cannot spell otherwise
    spelled = json.dumps(custom_id, ensure_ascii=ascii_only)
    envelope = decode_envelope(texts(custom_id=spelled))
    assert (envelope.custom_id, envelope.custom_id_json) == (custom_id, spelled.encode())


def test_an_escaped_id_is_decoded_and_kept_as_spelled() -> None:
    envelope = decode_envelope(texts(custom_id=r'"\u0041\/b"'))
    assert (envelope.custom_id, envelope.custom_id_json) == ("A/b", rb'"\u0041\/b"')


@pytest.mark.parametrize(
    "text",
    [
        b'{"custom_id":1,"method":"GET","url":null,"body":[],' + texts()[1:],
        b'{"cust\\u006fm_id":"x","method":"PUT",' + texts()[1:],
        texts(body=r'{"model":7,"stream":true,"stream":"\ud83d","model":"m","stream":false}'),
        texts(body='{"model":7,"stream":true,"model":"m","stream":false}'),
    ],
)
def test_of_equal_keys_the_last_wins(text: bytes) -> None:
    envelope, parsed = decode_envelope(text), json.loads(text)
    assert (envelope.custom_id, envelope.url, envelope.model) == ("r-1", "/v1/x", "m")
    assert json.loads(envelope.body) == parsed["body"]


def test_a_bad_last_key_is_found_behind_a_good_one() -> None:
    assert fault(texts()[:-1] + b',"method":"GET"}').param == "method"
    assert fault(texts(body='{"model":"m","stream":false,"stream":true}')).param == "body.stream"


@pytest.mark.parametrize("levels", [3, 199, 200])
def test_nesting_of_200_is_allowed(levels: int) -> None:
    assert decode_envelope(nested(levels)).model == "m"


@pytest.mark.parametrize("levels", [201, 300, 1000, 100_000])
def test_deeper_nesting_is_refused_by_name(levels: int) -> None:
    found = fault(nested(levels))
    assert found.code == "invalid_json_line"
    assert "deeper than 200" in found.message


def test_nesting_is_measured_across_pieces_of_a_long_line() -> None:
    filler = '"' + "x[" * 40_000 + '",'

    def split(levels: int) -> bytes:
        inner = levels - 103  # besides the envelope, the body, x and the first hundred
        return texts(body='{"model":"m","x":[' + filler + "[" * 100 + filler + "[" * inner + "]" * (101 + inner) + "}")

    assert "deeper than 200" in fault(split(201)).message
    assert decode_envelope(split(200)).model == "m"


@pytest.mark.parametrize("unit", [rb"\"", rb"\\", b'""', b'"\\', b"[", b'{"":', rb"\ud83d", rb"\u0041", b'"[",'])
def test_hostile_lines_take_no_quadratic_time(unit: bytes) -> None:
    """Linear code takes 0.1 s here; quadratic code takes minutes, and would meet the time-out."""
    with pytest.raises(EnvelopeFault):
        decode_envelope(b'{"custom_id":"' + unit * (1_000_000 // len(unit)))
    with pytest.raises(EnvelopeFault):
        decode_envelope(b'{"a":' + unit * (1_000_000 // len(unit)))


def test_a_fault_travels_between_processes() -> None:
    found = fault(line(method="GET"))
    copy = pickle.loads(pickle.dumps(found))
    assert (copy.code, copy.message, copy.param) == (found.code, found.message, found.param)


PUT = [b"", b" ", b"}", b"{", b'"', b"\\", b"\\u0061", b"\xff", "é".encode(), b"null", b"1", b"\r", b"\x00", b"[" * 201]
MEMBERS = [b'"body":{},', b',"url":"/v1/y"', b',"model":"n"', b'"stream":true,', b',"body":{"model":"n"}', b"[]" * 101]
EDITS = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 12), st.sampled_from([*PUT, *MEMBERS])), max_size=3)


def outcome(decode: Callable[[bytes], Envelope], text: bytes) -> object:
    try:
        return decode(text)
    except EnvelopeFault as refused:
        return refused.args


@given(st.sampled_from([b" ", b""]), EDITS)
@settings(max_examples=400, deadline=None)
def test_the_quick_way_says_what_the_careful_one_says(space: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    text = line(url="/v1/x", body={"model": "m"}).replace(b" ", space)
    for at, gone, put in edits:
        text = text[:at] + put + text[at + gone :]
    said = outcome(envelope._examine, text)
    assert outcome(decode_envelope, text) == said
    if isinstance(said, Envelope):
        assert decode_scanned(text) == said
