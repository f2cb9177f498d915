"""One line: what is accepted keeps its exact bytes; what is refused says why, and never quotes the line."""

from __future__ import annotations

import json
import pickle
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.envelope import Envelope, EnvelopeFault, decode_envelope

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


PIECES = [
    "SECRET",
    '"',
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\\",
    "\\u",
    "\\ud83d",
    "\\udc00",
    "é",
    "NaN",
    "-",
    "1",
    ".",
    "e",
    " ",
]
PIECES += ['"model"', '"m"', '"stream"', "true", "false", "null", "\r", "\t", "\x00", "\x7f", "custom_id", "\\u006d"]
json_soup = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def judged_by_the_standard_library(text: bytes) -> dict[str, Any] | None:
    """Return the parsed line, or None if it is to be refused: `json` and plain comparisons."""

    def refuse(_: str) -> NoReturn:
        raise ValueError

    try:
        value = json.loads(text.decode(), parse_constant=refuse)
    except ValueError:
        return None
    custom_id, body = value.get("custom_id"), value.get("body")
    if not isinstance(body, dict) or not isinstance(custom_id, str) or not custom_id:
        return None
    model, stream = body.get("model"), body.get("stream")
    named = isinstance(model, str) and model and not any(0xD800 <= ord(each) < 0xE000 for each in model)
    return value if named and (stream is None or stream is False) else None


@settings(max_examples=100, deadline=None)
@given(key=st.sampled_from(["custom_id", "body", "other", "model"]), soup=json_soup, quoted=st.booleans())
@example(key="body", soup='{"model":"m","stream":0}', quoted=False)
def test_the_verdict_is_the_standard_librarys(key: str, soup: str, quoted: bool) -> None:
    value = f'"{soup}"' if quoted else soup
    text = texts(body=f'{{"model":{value}}}') if key == "model" else texts()[:-1] + f',"{key}":{value}}}'.encode()
    expected = judged_by_the_standard_library(text)
    if expected is None:
        assert "SECRET" not in fault(text).message
        return
    envelope = decode_envelope(text)
    assert envelope.custom_id == expected["custom_id"] == json.loads(envelope.custom_id_json)
    assert envelope.model == expected["body"]["model"]
    assert json.loads(envelope.body) == expected["body"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
any_text = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates included


@settings(deadline=None)
@given(
    custom_id=any_text.filter(bool),
    extra=st.dictionaries(any_text, json_values | any_text, max_size=4),
    space=st.text(" \t\r", max_size=2),
    indent=st.booleans(),
)
def test_id_and_body_come_back_as_spelled(custom_id: str, extra: dict[str, Any], space: str, indent: bool) -> None:
    content = extra | {"model": "m", "stream": False}
    body = json.dumps(content, separators=(", ", " : ") if indent else (",", ":"))
    spelled = json.dumps(custom_id)
    envelope = decode_envelope(texts(custom_id=f"{space}{spelled}{space}", body=f"{space}{body}{space}"))
    assert envelope.body == body.encode()
    assert (envelope.custom_id, envelope.custom_id_json) == (json.loads(spelled), spelled.encode())


@settings(deadline=None)
@given(key=st.sampled_from(["custom_id", "method", "url", "body", "model", "stream"]), value=json_values)
def test_no_fault_quotes_the_line(key: str, value: object) -> None:
    marked = ["SECRET", value]
    text = line(body=CHAT | {key: marked}) if key in {"model", "stream"} else line(**{key: marked})
    found = fault(text)
    assert "SECRET" not in found.message + found.code + str(found)
