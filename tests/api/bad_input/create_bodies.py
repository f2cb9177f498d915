"""Bodies of creates and uploads in parts that cannot be: each request, and the whole error that answers it."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.api.bad_input.rig import JSON, LANE, ORDER, Case

URL = "/v1/chat/completions"

TOO_LARGE = "The request body may have at most 1048576 bytes."
TOO_LARGE_INLINE = (
    "A create may have at most 16777216 bytes with its 'requests'. Upload them as a file (POST /files, purpose 'batch')"
    " and send its id as 'input_file_id'."
)
NOT_AN_OBJECT = "The request body must be a JSON object."
UNPARSED = "We could not parse the JSON body of your request: "
NOT_UTF8 = f"{UNPARSED}it is not UTF-8; send a JSON object in UTF-8."
ENCODINGS = "This gateway takes bodies as they are or with 'Content-Encoding: gzip', once; send it that way."
ENDPOINTS = (
    "Supported values are: '/v1/responses', '/v1/chat/completions', '/v1/embeddings', '/v1/completions', "
    "'/v1/moderations', '/v1/images/generations', '/v1/images/edits', '/v1/videos', '/v1/messages', "
    "'/v1beta/generateContent', '/model/invoke', '/v2/chat', '/v2/embed', and '/v1/rerank'. For a file that mixes "
    "endpoints send a list of these, or 'auto'."
)
EXPIRY = "output_expires_after"


def unreadable(line: int, column: int) -> str:
    return f"{UNPARSED}see its line {line}, column {column}; send one JSON object."


def body(name: str, content: bytes, message: str, **headers: str) -> Case:
    """A create with a body that is refused before any of its fields is looked at."""
    sent = JSON | LANE | {key.replace("_", "-"): value for key, value in headers.items()}
    status, param, code = 400, None, None
    if message == TOO_LARGE:
        status, code = 413, "request_too_large"
    elif message == TOO_LARGE_INLINE:
        status, param, code = 413, "requests", "request_too_large"
    elif message == ENCODINGS:
        status, param, code = 415, "Content-Encoding", "unsupported_content_encoding"
    elif message.startswith("The gzip"):
        param, code = "Content-Encoding", "invalid_gzip"
    return Case(name, status, message, param, code, headers=sent, body=content)


WHOLE = json.dumps(ORDER).encode()
BODIES = [
    body("nothing", b"", f"{UNPARSED}it is empty; send a JSON object."),
    body("only space", b" \r\n\t", f"{UNPARSED}it is empty; send a JSON object."),
    body("not JSON", b'{\n  "a": nope}', unreadable(2, 8)),
    body("cut", WHOLE[:-9], unreadable(1, len(WHOLE) - 8)),
    body("two objects", b"{} {}", unreadable(1, 4)),
    body("JSON lines", b"{}\n{}\n", unreadable(2, 1)),
    body("an array", b"[]", NOT_AN_OBJECT),
    body("a number", b"7", NOT_AN_OBJECT),
    body("null", b"null", NOT_AN_OBJECT),
    body("a string", b'"{}"', NOT_AN_OBJECT),
    body("100,000 arrays deep", b"[" * 100_000 + b"]" * 100_000, unreadable(1, 1026)),
    body("100,000 objects deep", b'{"m":' * 100_000 + b"1" + b"}" * 100_000, unreadable(1, 5122)),
    body("a deep field", b'{"metadata":' + b"[" * 100_000 + b"]" * 100_000 + b"}", unreadable(1, 1037)),
    body("10 MB", b'{"a":"' + b"x" * (10 * 2**20) + b'"}', TOO_LARGE),
    body("a gzip bomb", gzip.compress(bytes(64 * 2**20)), TOO_LARGE_INLINE, content_encoding="gzip"),
    body("gzip that is none", WHOLE, "The gzip stream of the body is damaged.", content_encoding="gzip"),
    body("gzip cut off", gzip.compress(WHOLE)[:-9], "The gzip stream of the body ends early.", content_encoding="gzip"),
    body("gzip that is not announced", gzip.compress(WHOLE), NOT_UTF8),
    body("brotli", WHOLE, ENCODINGS, content_encoding="br"),
    body("twice gzip", WHOLE, ENCODINGS, content_encoding="gzip, gzip"),
    body("UTF-16", WHOLE.decode().encode("utf-16"), NOT_UTF8),
    body("invalid UTF-8", b'{"a":"\xff"}', NOT_UTF8),
    body(
        "a byte-order mark",
        b"\xef\xbb\xbf" + WHOLE,
        f"{UNPARSED}it begins with a byte-order mark; send the JSON object without one.",
    ),
    body("a NUL byte", b'{"a":"\0"}', unreadable(1, 7)),
    body("NaN", b'{"metadata":NaN}', unreadable(1, 13)),
    body("a form", b"input_file_id=x", unreadable(1, 1), content_type="application/x-www-form-urlencoded"),
    body("plain text", b"hello", unreadable(1, 1), content_type="text/plain"),
    body("no content type", b"hello", unreadable(1, 1), content_type=""),
    body("multipart", b"--x--", unreadable(1, 2), content_type="multipart/form-data; boundary=x"),
]


def wrong(name: str, message: str, param: str, code: str | None = None, *, status: int = 400, **fields: Any) -> Case:
    content = json.dumps(ORDER | fields).encode()
    return Case(name, status, message, param, code, headers=JSON | LANE, body=content)


def typed(name: str, param: str, expected: str, got: str, **fields: Any) -> Case:
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return wrong(name, message, param, "invalid_type", **fields)


def metadata(name: str, value: object, message: str, param: str, code: str) -> Case:
    return wrong(name, message, param, code, metadata=value)


def expiry(name: str, value: object, message: str, param: str, code: str) -> Case:
    return wrong(name, message, f"{EXPIRY}.{param}", code, output_expires_after=value)


def empty(name: str) -> str:
    return f"Invalid '{name}': empty string. Expected a string with minimum length 1, but got an empty string instead."


MISSING, VALUE = "missing_required_parameter", "invalid_value"
UNKNOWN_FILE = "No file of purpose 'batch' found with id 'file-unknown'."
WINDOW = "Supported values are: '24h', '1h', and 'immediate'."
LONG = "Expected a string with maximum length {}, but got a string with length {} instead."
MANY = (
    "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object with 17 "
    "properties instead."
)
NAMES_LONG = f"Invalid property name in 'metadata': a name is too long. {LONG.format(64, 65)}"
OUT_OF_RANGE = "Invalid 'output_expires_after.seconds': integer {} value. Expected a value {}, but got {} instead."
BELOW = OUT_OF_RANGE.format("below minimum", ">= 3600", 3599)
ABOVE = OUT_OF_RANGE.format("above maximum", "<= 2592000", 2_592_001)
FIELDS = [
    wrong("no file", "Missing required parameter: 'input_file_id'.", "input_file_id", MISSING, input_file_id=None),
    typed("a file of a wrong type", "input_file_id", "a string", "an integer", input_file_id=7),
    wrong("an empty file id", empty("input_file_id"), "input_file_id", "empty_string", input_file_id=""),
    wrong("an unknown file", UNKNOWN_FILE, "input_file_id", status=404),
    wrong("no endpoint", "Missing required parameter: 'endpoint'.", "endpoint", MISSING, endpoint=None),
    wrong("an unknown endpoint", f"Invalid value: '/v1/nope'. {ENDPOINTS}", "endpoint", VALUE, endpoint="/v1/nope"),
    wrong("an endpoint that is a talk", f"Invalid value. {ENDPOINTS}", "endpoint", VALUE, endpoint="Dear Ms Smith,"),
    wrong("an endpoint that is a key", f"Invalid value. {ENDPOINTS}", "endpoint", VALUE, endpoint=f"sk-{'a1B2' * 8}"),
    typed("an endpoint of a wrong type", "endpoint", "one of a string or array of strings", "an integer", endpoint=7),
    wrong("an unknown one of several", f"Invalid value: 'x'. {ENDPOINTS}", "endpoint", VALUE, endpoint=[URL, "x"]),
    wrong("a wrong window", f"Invalid value: '48h'. {WINDOW}", "completion_window", VALUE, completion_window="48h"),
    wrong("an empty window", f"Invalid value: ''. {WINDOW}", "completion_window", VALUE, completion_window=""),
    typed("a window of a wrong type", "completion_window", "a string", "an integer", completion_window=24),
    metadata("17 pairs", {str(n): "x" for n in range(17)}, MANY, "metadata", "object_above_max_properties"),
    typed("pairs in an array", "metadata", "a metadata object", "an array", metadata=[["a", "b"]]),
    typed("pairs in a string", "metadata", "a metadata object", "a string", metadata='{"a": "b"}'),
    metadata("a long key", {"k" * 65: "v"}, NAMES_LONG, "metadata", "property_name_above_max_length"),
    metadata(
        "a long value",
        {"k": "v" * 513},
        f"Invalid 'metadata.k': string too long. {LONG.format(512, 513)}",
        "metadata.k",
        "string_above_max_length",
    ),
    typed("an array as value", "metadata.tags", "a string", "an array", metadata={"tags": ["a", "b"]}),
    typed("a number as value", "metadata.k", "a string", "an integer", metadata={"k": 1}),
    typed("a decimal as value", "metadata.k", "a string", "a decimal number", metadata={"k": 1.5}),
    typed("a boolean as value", "metadata.k", "a string", "a boolean", metadata={"k": True}),
    typed("an object as value", "metadata.k", "a string", "an object", metadata={"k": {}}),
    typed("null as value", "metadata.k", "a string", "null", metadata={"k": None}),
    typed("a key that is a talk", "metadata", "a string", "an integer", metadata={"Dear Ms Smith, about": 1}),
    expiry(
        "an unknown anchor",
        {"anchor": "completed_at", "seconds": 3600},
        "Invalid value: 'completed_at'. Supported values are: 'created_at'.",
        "anchor",
        VALUE,
    ),
    expiry("no anchor", {"seconds": 3600}, f"Missing required parameter: '{EXPIRY}.anchor'.", "anchor", MISSING),
    expiry(
        "no seconds", {"anchor": "created_at"}, f"Missing required parameter: '{EXPIRY}.seconds'.", "seconds", MISSING
    ),
    typed("no object", EXPIRY, "an object", "an integer", output_expires_after=3600),
    expiry("too few seconds", {"anchor": "created_at", "seconds": 3599}, BELOW, "seconds", "integer_below_min_value"),
    expiry("too many", {"anchor": "created_at", "seconds": 2_592_001}, ABOVE, "seconds", "integer_above_max_value"),
    *(
        typed(
            name,
            f"{EXPIRY}.seconds",
            "an integer",
            name,
            output_expires_after={"anchor": "created_at", "seconds": each},
        )
        for name, each in (("a boolean", True), ("a decimal number", 3600.0), ("a string", "3600"))
    ),
]
UPLOAD = {"bytes": 10, "filename": "in.jsonl", "mime_type": "application/jsonl", "purpose": "batch"}
RANGE = "Invalid 'bytes': integer below minimum value. Expected a value >= 1, but got 0 instead."
TYPE = "Invalid type for 'bytes': expected an integer, but got a string instead."
TYPE_OF = "Invalid type for '{}': expected {}, but got an integer instead."


def announced(name: str, message: str, param: str, code: str | None = None, **fields: Any) -> Case:
    content, status = json.dumps(UPLOAD | fields).encode(), 413 if code == "request_too_large" else 400
    return Case(name, status, message, param, code, path="/uploads", headers=JSON, body=content)


UPLOADS = [
    announced("bytes as text", TYPE, "bytes", "invalid_type", bytes="10"),
    announced("no bytes", RANGE, "bytes", "integer_below_min_value", bytes=0),
    announced(
        "too many bytes",
        "The file exceeds 1048576 bytes, this gateway's limit; split it into several.",
        "bytes",
        "request_too_large",
        bytes=2**40,
    ),
    announced("no name", "Missing required parameter: 'filename'.", "filename", MISSING, filename=None),
    announced("an empty name", empty("filename"), "filename", "empty_string", filename=" "),
    announced("a type that is none", TYPE_OF.format("mime_type", "a string"), "mime_type", "invalid_type", mime_type=3),
    announced(
        "another purpose",
        "An upload in parts takes the purpose 'batch' only; send a file for another purpose in one piece to "
        "'POST /v1/files'.",
        "purpose",
        purpose="fine-tune",
    ),
    announced(
        "an expiry that is none",
        TYPE_OF.format("expires_after", "an object"),
        "expires_after",
        "invalid_type",
        expires_after=3600,
    ),
]
