"""Bodies of creates and uploads in parts that cannot be: each request, and the whole error that answers it."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.api.bad_input.rig import JSON, LANE, ORDER, Case

TOO_LARGE = "The request body may have at most 1048576 bytes."
NOT_AN_OBJECT = "The request body must be a JSON object."
NOT_UTF8 = "The request body is not UTF-8; send a JSON object in UTF-8."
ENCODINGS = "This gateway takes bodies as they are or with `Content-Encoding: gzip`, once; send it that way."
ENDPOINTS = (
    "'endpoint' must be one of /v1/responses, /v1/chat/completions, /v1/embeddings, /v1/completions, /v1/moderations, "
    "/v1/images/generations, /v1/images/edits, /v1/videos; or, for a file that mixes them, a list of these or 'auto'."
)
EXPIRY = "'output_expires_after' must be an object with 'anchor': 'created_at' and 'seconds'."
EXPIRY_SECONDS = "'output_expires_after.seconds' must be an integer from 3600 to 2592000."
STRINGS = "Every value of 'metadata' must be a string of at most 512 characters."


def unreadable(line: int, column: int) -> str:
    return f"The request body cannot be read as JSON, see its line {line}, column {column}; send one JSON object."


def body(name: str, content: bytes, message: str, **headers: str) -> Case:
    """A create with a body that is refused before any of its fields is looked at."""
    sent = JSON | LANE | {key.replace("_", "-"): value for key, value in headers.items()}
    status, param, code = 400, None, None
    if message == TOO_LARGE:
        status, code = 413, "request_too_large"
    elif message == ENCODINGS:
        status, param, code = 415, "Content-Encoding", "unsupported_content_encoding"
    elif message.startswith("The gzip"):
        param, code = "Content-Encoding", "invalid_gzip"
    return Case(name, status, message, param, code, headers=sent, body=content)


WHOLE = json.dumps(ORDER).encode()
BODIES = [
    body("nothing", b"", "The request body is empty; send a JSON object."),
    body("only space", b" \r\n\t", "The request body is empty; send a JSON object."),
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
    body("a gzip bomb", gzip.compress(bytes(64 * 2**20)), TOO_LARGE, content_encoding="gzip"),
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
        "The request body begins with a byte-order mark; send the JSON object without one.",
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


def metadata(name: str, value: object, message: str) -> Case:
    return wrong(name, message, "metadata", metadata=value)


def expiry(name: str, value: object, message: str) -> Case:
    return wrong(name, message, "output_expires_after", output_expires_after=value)


MISSING = "missing_required_parameter"
UNKNOWN_FILE = "No file of purpose 'batch' found with id 'file-unknown'."
FIELDS = [
    wrong("no file", "Missing required parameter: 'input_file_id'.", "input_file_id", MISSING, input_file_id=None),
    wrong("a file of a wrong type", "'input_file_id' must be a non-empty string.", "input_file_id", input_file_id=7),
    wrong("an empty file id", "'input_file_id' must be a non-empty string.", "input_file_id", input_file_id=""),
    wrong("an unknown file", UNKNOWN_FILE, "input_file_id", status=404),
    wrong("no endpoint", "Missing required parameter: 'endpoint'.", "endpoint", MISSING, endpoint=None),
    wrong("an unknown endpoint", ENDPOINTS, "endpoint", endpoint="/v1/nope"),
    wrong("an endpoint of a wrong type", ENDPOINTS, "endpoint", endpoint=7),
    wrong("a wrong window", "'completion_window' must be '24h'.", "completion_window", completion_window="48h"),
    wrong("a window of a wrong type", "'completion_window' must be '24h'.", "completion_window", completion_window=24),
    metadata("17 pairs", {str(n): "x" for n in range(17)}, "'metadata' may have at most 16 pairs."),
    metadata("pairs in an array", [["a", "b"]], "'metadata' must be an object of strings."),
    metadata("pairs in a string", '{"a": "b"}', "'metadata' must be an object of strings."),
    metadata("a long key", {"k" * 65: "v"}, "A key of 'metadata' may have at most 64 characters."),
    metadata("a long value", {"k": "v" * 513}, STRINGS),
    metadata("a number as value", {"k": 1}, STRINGS),
    expiry("an unknown anchor", {"anchor": "completed_at", "seconds": 3600}, EXPIRY),
    expiry("no object", 3600, EXPIRY),
    expiry("too few seconds", {"anchor": "created_at", "seconds": 3599}, EXPIRY_SECONDS),
    expiry("too many seconds", {"anchor": "created_at", "seconds": 2_592_001}, EXPIRY_SECONDS),
    expiry("a boolean", {"anchor": "created_at", "seconds": True}, EXPIRY_SECONDS),
    expiry("a float", {"anchor": "created_at", "seconds": 3600.0}, EXPIRY_SECONDS),
]
UPLOAD = {"bytes": 10, "filename": "in.jsonl", "mime_type": "application/jsonl", "purpose": "batch"}
SIZE = "`bytes` is required: the size of the whole file, as a whole number above 0."


def announced(name: str, message: str, param: str, code: str | None = None, **fields: Any) -> Case:
    content, status = json.dumps(UPLOAD | fields).encode(), 413 if code else 400
    return Case(name, status, message, param, code, path="/uploads", headers=JSON, body=content)


UPLOADS = [
    announced("bytes as text", SIZE, "bytes", bytes="10"),
    announced("no bytes", SIZE, "bytes", bytes=0),
    announced(
        "too many bytes",
        "The file exceeds 1048576 bytes, this gateway's limit; split it into several.",
        "bytes",
        "request_too_large",
        bytes=2**40,
    ),
    announced("no name", "`filename` is required, as a string that is not empty.", "filename", filename=None),
    announced(
        "a type that is none", "`mime_type` is required, as a string that is not empty.", "mime_type", mime_type=3
    ),
    announced(
        "another purpose",
        "An upload in parts takes the purpose `batch` only; send a file for another purpose in one piece to "
        "`POST /v1/files`.",
        "purpose",
        purpose="fine-tune",
    ),
    announced(
        "an expiry that is none",
        "`expires_after` has to be one object with `anchor` and `seconds`.",
        "expires_after",
        expires_after=3600,
    ),
]
