"""Files whose lines are wrong: the batch fails before anything is sent, and says which line, which field, what to do.

And files that only look odd: they are taken, and every byte of their bodies reaches the provider's model.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from tests.api.bad_input.rig import MAX_LINE, Rig
from tests.support.lines import chat_lines, jsonl

LINE = chat_lines(1)[0]
TEXT = json.dumps(LINE).encode()
URL = "/v1/chat/completions"


@dataclass(frozen=True)
class Bad:
    """A second line, behind a good one, and the only error of its batch; or with `line` 1 a whole file."""

    name: str
    content: bytes
    code: str
    message: str
    param: str | None = None
    line: int | None = 2

    def __str__(self) -> str:
        return self.name

    @property
    def file(self) -> bytes:
        """The upload."""
        return self.content if self.line != 2 else jsonl([LINE | {"custom_id": "first"}]) + self.content + b"\n"

    @property
    def error(self) -> dict[str, Any]:
        """The entry of `errors.data`; what is absent is left out."""
        told = {"code": self.code, "message": self.message, "param": self.param, "line": self.line}
        return {name: value for name, value in told.items() if value is not None}


def with_field(**fields: Any) -> bytes:
    return json.dumps(LINE | fields).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in LINE.items() if name != field}).encode()


def with_parameter(text: bytes) -> bytes:
    return TEXT.replace(b'"messages"', text + b', "messages"')


def long(size: int) -> bytes:
    """Return a good line of so many bytes."""
    return with_field(x="a" * (size - len(with_field(x=""))))


def syntax(name: str, content: bytes, message: str, line: int = 2) -> Bad:
    return Bad(name, content, "invalid_json_line", message, None, line)


def missing(field: str) -> Bad:
    message = f"Missing required parameter: '{field}'."
    return Bad(f"no {field}", without(field), "missing_required_parameter", message, field)


UNPARSED = "This line is not parseable as valid JSON. "
NO_JSON = f"{UNPARSED}Write one request object per line."
NO_OBJECT = "The line is not a JSON object; write one request object per line."
ENDS = f"{UNPARSED}It ends in the middle of its JSON; write each request on one line, without line breaks."
DEEP = "The line nests objects and arrays deeper than 200 levels; flatten the request."
NOT_UTF8 = f"{UNPARSED}It is not valid UTF-8; save the file as UTF-8 and upload it again."
NUL = f"{UNPARSED}It holds a NUL byte, as UTF-16 files do; save the file as UTF-8 and upload it again."
TYPE = "Invalid type for '{}': expected {}, but got {} instead."
EMPTY_ID = (
    "Invalid 'custom_id': empty string. Expected a string with minimum length 1, but got an empty string instead."
)
METHOD = "Invalid value: '{}'. Supported values are: 'POST'."
OTHER_URL = "The URL provided for this request does not match the batch endpoint."
STREAM = "Chat Completions: Streaming is not supported in the Batch API."
MODEL = "Model parameter is required."
PACKED = (
    "The file is packed (gzip), and batch files are not unpacked; upload the .jsonl file itself, or pack the whole "
    "request and say so with the header Content-Encoding: gzip."
)
NAN = f"{UNPARSED}It holds NaN at byte {TEXT.index(b'messages') + 9}, which is not JSON; use a number or null."
QUOTES = f"{UNPARSED}There is: object keys must be strings at byte 2; write one request object per line."
MARK = f"{UNPARSED}It starts with a byte-order mark, as when files are joined; remove the mark."
UTF16 = f"{UNPARSED}It is UTF-16; save the file as UTF-8 and upload it again."
TOO_LONG = "The line is longer than the limit of 4000 bytes; shorten or split the request."
TWICE = (
    "The custom_id for this request is a duplicate of another request. The custom_id parameter must be unique for each "
    "request in a batch; line 1 has it first."
)
EMPTY = "The file holds no request; write one JSON object per line."
BAD = [
    syntax("not JSONL", b"hello world\n", NO_JSON, 1),
    syntax("a JSON array", json.dumps([LINE]).encode(), NO_OBJECT, 1),
    syntax("CSV", b"first,POST,/v1/chat/completions,{}", NO_JSON),
    syntax("a JSON string", b'"hello"', NO_OBJECT),
    syntax("truncated", TEXT[:-20], ENDS),
    syntax(
        "single quotes",
        b"{'custom_id': 'a'}",
        QUOTES,
    ),
    syntax("a byte-order mark inside", b"\xef\xbb\xbf" + TEXT, MARK),
    syntax("NaN", with_parameter(b'"top_p": NaN'), NAN),
    syntax("300 levels", with_parameter(b'"x": ' + b"[" * 300 + b"]" * 300), DEEP),
    syntax("1,000 levels", with_parameter(b'"x": ' + b"[" * 1000 + b"]" * 1000), DEEP),
    syntax("invalid UTF-8", TEXT.replace(b"Say", b"S\xff"), NOT_UTF8),
    syntax("Latin-1", TEXT.replace(b"Say", "é".encode("latin-1")), NOT_UTF8),
    syntax("UTF-16", TEXT.decode().encode("utf-16"), UTF16, 1),
    syntax("UTF-16 without a mark", TEXT.decode().encode("utf-16-le"), NUL, 1),
    syntax("a NUL byte", TEXT.replace(b"Say", b"S\0"), NUL),
    syntax("a packed file", gzip.compress(TEXT), PACKED, 1),
    Bad("one byte too long", long(MAX_LINE + 1), "line_too_long", TOO_LONG),
    Bad("a custom_id twice", with_field(custom_id="first"), "duplicate_custom_id", TWICE, "custom_id"),
    Bad(
        "a custom_id twice, spelled otherwise",
        with_field(custom_id="first").replace(b'"first"', b'"f\\u0069rst"'),
        "duplicate_custom_id",
        TWICE,
        "custom_id",
    ),
    Bad(
        "a number as custom_id",
        with_field(custom_id=7),
        "invalid_type",
        TYPE.format("custom_id", "a string", "an integer"),
        "custom_id",
    ),
    Bad("an empty custom_id", with_field(custom_id=""), "empty_string", EMPTY_ID, "custom_id"),
    *map(missing, ("custom_id", "method", "url", "body")),
    Bad("GET", with_field(method="GET"), "invalid_value", METHOD.format("GET"), "method"),
    Bad("post", with_field(method="post"), "invalid_value", METHOD.format("post"), "method"),
    Bad("another url", with_field(url="/v1/embeddings"), "invalid_url", OTHER_URL, "url"),
    Bad("a whole url", with_field(url=f"https://host.example{URL}"), "invalid_url", OTHER_URL, "url"),
    Bad("a url that is none", with_field(url=7), "invalid_type", TYPE.format("url", "a string", "an integer"), "url"),
    Bad("a body as text", with_field(body="{}"), "invalid_type", TYPE.format("body", "an object", "a string"), "body"),
    Bad("no model", with_field(body={"messages": []}), "invalid_request", MODEL, "body.model"),
    Bad("an empty model", with_field(body={"model": "", "messages": []}), "invalid_request", MODEL, "body.model"),
    Bad("stream", with_field(body=LINE["body"] | {"stream": True}), "streaming_unsupported", STREAM, "body.stream"),
    Bad("only blank lines", b"\n \n\t\n", "empty_file", EMPTY, None, None),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_line_fails_its_batch_by_name(rig: Rig, bad: Bad) -> None:
    batch = rig.until(rig.create(rig.upload(bad.file))["id"])
    assert batch["status"] == "failed"
    assert batch["errors"] == {"object": "list", "data": [{"param": None, "line": None} | bad.error]}
    assert batch["output_file_id"] is None
    assert batch["error_file_id"] is None


BIG = 1234567890123456789012345
GOOD = {
    "a byte-order mark first": b"\xef\xbb\xbf" + TEXT,
    "no newline at the end": TEXT,
    "CRLF": TEXT + b"\r\n" + with_field(custom_id="second") + b"\r\n",
    "blank lines": b"\n\n" + TEXT + b"\n \t\n" + with_field(custom_id="second") + b"\n\n",
    "a line at the limit": long(MAX_LINE) + b"\n",
    "a line at the limit, with CRLF": long(MAX_LINE) + b"\r\n",
    "three identical bodies": jsonl(LINE | {"custom_id": str(n)} for n in range(3)),
    "integers of 25 digits": with_parameter(b'"seed": %d, "logit_bias": {"7": -%d}' % (BIG, BIG)),
    "a lone surrogate": TEXT.replace(b"Say", b"S\\ud83d"),
    "a lone surrogate in custom_id": TEXT.replace(b"line/", b"\\udc00line/"),
    "200 levels": with_parameter(b'"x": ' + b"[" * 198 + b"]" * 198),
    "stream: false": with_field(body=LINE["body"] | {"stream": False}),
    "a key twice": TEXT.replace(b'"method": "POST"', b'"method": "GET", "method": "POST"'),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_only_looks_odd_is_answered_as_it_was_asked(rig: Rig, name: str) -> None:
    """The stand-in's answer holds a hash of the body that it was sent."""
    asked = [json.loads(line) for line in GOOD[name].removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    file_id = rig.upload(GOOD[name])
    batch = rig.until(rig.create(file_id)["id"])
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", len(asked))
    rows = rig.rows(batch["output_file_id"])
    assert [row["custom_id"] for row in rows] == [line["custom_id"] for line in asked]
    texts = [row["response"]["body"]["choices"][0]["message"]["content"] for row in rows]
    assert texts == [expected_text(URL, line["body"]) for line in asked]
    assert rig.call("GET", f"/files/{file_id}/content") == GOOD[name], "the upload comes back byte for byte"


MESSAGES = "Messages parameter is required."


def test_what_a_body_lacks_is_told_beside_other_faults(rig: Rig) -> None:
    """One line without a model, one without messages, one without both; and a line that lacks nothing."""
    bodies: list[dict[str, Any]] = [{"messages": []}, {"model": "m"}, {}, LINE["body"]]
    lines = [with_field(custom_id=str(n), body=body) for n, body in enumerate(bodies)]
    batch = rig.until(rig.create(rig.upload(b"\n".join(lines)))["id"])
    told = [(each["line"], each["param"], each["message"], each["code"]) for each in batch["errors"]["data"]]
    assert told == [
        (1, "body.model", MODEL, "invalid_request"),
        (2, "body.messages", MESSAGES, "invalid_request"),
        (3, "body.model", MODEL, "invalid_request"),
        (3, "body.messages", MESSAGES, "invalid_request"),
    ]


def test_escapes_of_lone_surrogates_stay_escapes(rig: Rig) -> None:
    text = TEXT.replace(b"line/", b"\\udc00line/")
    batch = rig.until(rig.create(rig.upload(text))["id"])
    rows = rig.call("GET", f"/files/{batch['output_file_id']}/content")
    assert b'"custom_id":"\\udc00line/0' in rows


def test_an_integer_of_25_digits_reaches_the_provider_digit_by_digit(rig: Rig) -> None:
    other = rig.until(rig.create(rig.upload(with_parameter(b'"seed": %d' % (BIG + 1))))["id"])
    batch = rig.until(rig.create(rig.upload(with_parameter(b'"seed": %d' % BIG)))["id"])
    texts = [
        rig.rows(each["output_file_id"])[0]["response"]["body"]["choices"][0]["message"]["content"]
        for each in (batch, other)
    ]
    assert texts[0] != texts[1], "the two differ in their last digit alone"


def test_a_hundred_faults_are_shown_of_many_and_none_quotes_the_file(rig: Rig) -> None:
    content = b"".join(b"the secret of line %d\n" % n for n in range(250))
    batch = rig.until(rig.create(rig.upload(content))["id"])
    data = batch["errors"]["data"]
    assert [each["line"] for each in data] == list(range(1, 101))
    assert "secret" not in json.dumps(batch)
    assert "secret" not in rig.log.read_text()
