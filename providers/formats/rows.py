"""Result rows in OpenAI's shape, made of what a provider wrote: shared by lanes whose results need more than a copy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from proxy_plugin.providers.base import Row, Usage
from proxy_plugin.providers.formats.json_text import read, write
from proxy_plugin.providers.formats.members import pieces
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer, count

# OpenAI's texts, "Batch API" guide, copy of 2026-06-27.
CANCELLED = ("batch_cancelled", "This request was not executed because the batch was cancelled.")
EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
EMPTY = ("empty_result", "The provider returned neither a response nor an error for this request.")
_WORDS = ("message", "detail", "msg", "error", "title")
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


def read_row(line: bytes, answer: Callable[[bytes], Answer | ErrorAnswer]) -> Row | None:
    """Read `{"id", "custom_id", "response": {"status_code", "body"}, "error"}`; None for a blank line.

    `answer` reads the body of a success. The body of an error may be JSON inside of a text. Raises ValueError: corrupt.
    """
    if not line.strip():
        return None
    row = pieces(line)
    native_id, request_id = text_of(row.get("custom_id", b"")), text_of(row.get("id", b""))
    if not native_id:
        raise ValueError("not a result row with a custom_id")
    response = pieces(row.get("response", b"null"))
    body, digits = response.get("body", b"null"), response.get("status_code", b"").strip(b'"')
    status = int(digits[:4]) if digits.isdigit() else 0
    if 200 <= status <= 299 and body.startswith(b"{"):
        found = answer(body)
        return answered(native_id, request_id, found) if isinstance(found, Answer) else failed(native_id, "", found)
    if status:
        return failed(native_id, request_id, error_of(status, read(body)))
    error = row.get("error", b"null")
    if error not in {b"null", b'""', b"{}"}:
        return failed(native_id, request_id, error_of(500, read(error)))
    return unanswered(native_id, *EMPTY)


def text_of(raw: bytes) -> str:
    """Return a JSON text's value; "" for what is no text."""
    value = read(raw) if raw.startswith(b'"') else ""
    return value if isinstance(value, str) else ""


def answered(native_id: str, request_id: str, answer: Answer) -> Row:
    """Return the row of a line that was answered; with an answer's own status, of one that was spoiled."""
    response = _response(answer.status, request_id, answer.body)
    model = answer.model.encode(errors="replace").decode()  # a name is stored as UTF-8
    ok = 200 <= answer.status <= 299
    return Row(native_id, ok=ok, response=response, code=answer.code or None, model=model or None, usage=answer.usage)


def carried(native_id: str, body: bytes, fields: Mapping[str, Any]) -> Row:
    """Return the row of an answer in OpenAI's shape, handed on as it is; `fields` is the body, decoded."""
    model, usage = fields.get("model"), fields.get("usage")
    row = answered(native_id, "", Answer(body, tokens_of(usage), model if isinstance(model, str) else ""))
    return row if isinstance(usage, dict) else replace(row, usage=None)


def failed(native_id: str, request_id: str, error: ErrorAnswer) -> Row:
    """Return the row of a line that was answered with an error."""
    response = _response(error.status, request_id, error.body)
    return Row(native_id, ok=False, response=response, code=str(error.status))


def refused(native_id: str, message: str, *, status: int = 400, code: str | None = None) -> Row:
    """Return the row of a line that was answered with an error in these words."""
    return failed(native_id, "", error_of(status, {"message": message, "code": code}))


def unanswered(native_id: str, code: str, message: str) -> Row:
    """Return the row of a line that no model answered."""
    return Row(native_id, ok=False, error=write({"code": code, "message": message}), code=code)


def error_of(status: int, given: Any) -> ErrorAnswer:
    """Return OpenAI's error for a body of any common shape: an object, a `detail`, a text, JSON inside of a text."""
    if isinstance(given, str) and given.lstrip().startswith(("{", "[")):
        with contextlib.suppress(ValueError, RecursionError):
            given = json.loads(given)
    facts = given if isinstance(given, dict) else {}
    facts = facts["error"] if isinstance(facts.get("error"), dict) else facts
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code, own = facts.get("code"), facts.get("type")
    error = {
        "message": _words(given) or f"The provider answered with status {status} and gave no reason.",
        "type": own if isinstance(own, str) else kind,
        "param": facts["param"] if isinstance(facts.get("param"), str) else None,
        "code": str(code) if isinstance(code, str | int) else None,
    }
    return ErrorAnswer(status, write({"error": error}), str(status))


def tokens_of(usage: object) -> Usage:
    """Read token counts under their names in a chat.completion."""
    given = usage if isinstance(usage, dict) else {}
    return Usage(
        input_tokens=count(given, "prompt_tokens"),
        output_tokens=count(given, "completion_tokens"),
        cached_tokens=count(given.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=count(given.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _response(status: int, request_id: str, body: bytes) -> bytes:
    return b'{"status_code":%d,"request_id":%s,"body":%s}' % (status, write(request_id), body)


def _words(node: object, depth: int = 5) -> str:
    """Return the first text found under the usual names; a list says several things."""
    if isinstance(node, str):
        return node
    if isinstance(node, list) and depth:
        return "; ".join(filter(None, (_words(item, depth - 1) for item in node[:3])))
    if isinstance(node, dict) and depth:
        return next(filter(None, (_words(node.get(name), depth - 1) for name in _WORDS)), "")
    return ""
