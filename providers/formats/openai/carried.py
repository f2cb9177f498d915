"""OpenAI bodies and answers that a lane hands on as the bytes they are, in lines and rows of its own shape.

Bodies are never decoded and written again: integers beyond 64 bits, escapes and halves of characters survive only as
bytes. Rows are read with the standard library, which takes what msgspec refuses (`members`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from proxy_plugin.providers.base import LineIn, LineRejected, Row, Usage
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.members import members, read_slowly


class Native(NamedTuple):
    """A native row: whose it is, its members decoded, and as they are written."""

    custom_id: str
    fields: Mapping[str, Any]
    written: Mapping[str, bytes]


def edited(body: bytes, changes: Mapping[str, str | None]) -> bytes:
    """Return a JSON object with other texts for some members, None: without them; all else is as it was.

    Raises LineRejected for what is no object.
    """
    if not body.lstrip().startswith(b"{"):
        raise LineRejected("body must be a JSON object", code="invalid_type", param="body")
    kept = {key: write(value) for key, value in changes.items() if value is not None}
    own = [(key, body[start:end]) for key, start, end in members(body) if key not in changes]
    pairs = [*kept.items(), *own]
    inside = b",".join(write(key) + b":" + value for key, value in pairs)
    return (b"{" + inside + b"}").replace(b"\n", b" ").replace(b"\r", b" ")


def record(line: LineIn, body: bytes) -> bytes:
    """Return `{"custom_id", "body"}` on one line."""
    return b'{"custom_id":' + write(line.native_id) + b',"body":' + body + b"}"


def read_native(line: bytes) -> Native:
    """Read a row. Raises ValueError: corrupt."""
    return Native(*read_slowly(line, "result row"))


def inner(written: bytes) -> dict[str, bytes]:
    """Return the members of an object as they are written; {} for anything else."""
    return {key: written[start:end] for key, start, end in members(written)} if written.startswith(b"{") else {}


def answered(native_id: str, body: bytes, fields: Mapping[str, Any]) -> Row:
    """Return the row of an answer in OpenAI's shape; `fields` is the body, decoded."""
    model = fields.get("model")
    model = model.encode(errors="replace").decode() if isinstance(model, str) else None
    return Row(native_id, ok=True, response=_response(200, body), model=model, usage=usage_of(fields.get("usage")))


def refused(native_id: str, message: str, *, status: int = 400, code: str | None = None) -> Row:
    """Return the row of a line that was answered with an error of this HTTP status."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Row(native_id, ok=False, response=_response(status, write({"error": error})), code=str(status))


def unanswered(native_id: str, code: str, message: str) -> Row:
    """Return the row of a line that has no answer."""
    return Row(native_id, ok=False, error=write({"code": code, "message": message}), code=code)


def empty(native_id: str) -> Row:
    """Return the row of a line for which the provider says nothing."""
    return unanswered(native_id, "empty_result", "The provider returned neither a response nor an error.")


def usage_of(given: object) -> Usage | None:
    """Read token counts under their chat names."""
    if not isinstance(given, dict):
        return None
    prompt, completion = _group(given, "prompt_tokens_details"), _group(given, "completion_tokens_details")
    return Usage(
        input_tokens=_count(given, "prompt_tokens"),
        output_tokens=_count(given, "completion_tokens"),
        cached_tokens=_count(prompt, "cached_tokens"),
        reasoning_tokens=_count(completion, "reasoning_tokens"),
    )


def _response(status: int, body: bytes) -> bytes:
    return b'{"status_code":%d,"request_id":"","body":%s}' % (status, body)


def _group(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


def _count(given: Mapping[str, Any], name: str) -> int:
    found = given.get(name)
    return found if type(found) is int and found > 0 else 0
