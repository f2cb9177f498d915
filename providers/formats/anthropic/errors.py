"""Anthropic's errors as OpenAI's, in whatever form a lane hands them on.

Shapes: "Errors", Claude Platform docs, 2026. Anthropic's own batches nest an envelope twice. Rows of Claude on Vertex
have an empty response and a text in `status` whose shape no page records: an envelope as JSON, a sentence, a status
number before either, or Google's own error (`google.rpc.Status`). Read are all of them.
"""

from __future__ import annotations

import re
from typing import Any

from proxy_plugin.providers.formats.json_text import read, write
from proxy_plugin.providers.formats.shapes import ErrorAnswer

Block = dict[str, Any]

_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "gateway_timeout_error": 504,
    "overloaded_error": 529,
}
_KINDS = {status: kind for kind, status in reversed(_STATUS.items())} | {500: "api_error", 503: "overloaded_error"}
# `google.rpc.Code`: number, name and the HTTP status that it is mapped to.
_GOOGLE = {
    1: ("CANCELLED", 499),
    3: ("INVALID_ARGUMENT", 400),
    4: ("DEADLINE_EXCEEDED", 504),
    5: ("NOT_FOUND", 404),
    7: ("PERMISSION_DENIED", 403),
    8: ("RESOURCE_EXHAUSTED", 429),
    9: ("FAILED_PRECONDITION", 400),
    11: ("OUT_OF_RANGE", 400),
    13: ("INTERNAL", 500),
    14: ("UNAVAILABLE", 503),
    16: ("UNAUTHENTICATED", 401),
}
_BY_NAME = dict(_GOOGLE.values())
_NUMBER = re.compile(r"(?<![\d.])(4\d\d|5\d\d)(?![\d.])")
_NAME = re.compile(rf"\b({'|'.join(_BY_NAME)})\b")
_WORD = re.compile(rf"\b({'|'.join(_STATUS)})\b")
_DEEPEST = 8  # envelopes and texts in one another


def error_row(error: bytes) -> ErrorAnswer:
    """Translate the error of a failed request: JSON of any shape, or words."""
    kind, message = _told(_decoded(error.decode(errors="replace")), _DEEPEST)
    status, fault = openai_error(kind or "api_error", message)
    if kind.isdecimal():
        status = int(kind)
        known = _KINDS.get(status) or ("invalid_request_error" if status < 500 else "api_error")
        fault |= {"type": known, "code": known}
    return ErrorAnswer(status, write({"error": fault}), str(fault["code"]))


def openai_error(kind: str, message: str) -> tuple[int, Block]:
    """Return HTTP status and OpenAI's error object for an error type of Anthropic's; an unknown one is a 500."""
    words = message or "Anthropic gave no reason for this error."
    return _STATUS.get(kind, 500), {"message": words, "type": kind, "param": None, "code": kind}


def _decoded(text: str) -> object:
    try:
        return read(text.encode(errors="surrogatepass"))
    except ValueError:
        return text


def _told(given: object, deepest: int) -> tuple[str, str]:
    """Return the error's type, or its HTTP status as text, and its words; either may be empty."""
    if deepest and isinstance(given, str):
        return _in_words(given, deepest)
    if not isinstance(given, dict):
        return "", ""
    for name in ("error", "status"):  # an envelope, or an error whose status holds another
        inner = given.get(name)
        if deepest and (isinstance(inner, dict) or (isinstance(inner, str) and name not in _said(given))):
            return _told(inner, deepest - 1)
    message = _text(given.get("message"))
    kind = _text(given.get("type"))
    if not kind:
        kind = _google(given)
    if deepest and message.lstrip().startswith("{"):
        inner_kind, inner = _told(_decoded(message), deepest - 1)
        return inner_kind or kind, inner or message
    return kind, message


def _said(given: Block) -> tuple[str, ...]:
    """Return which members are no error of their own: beside a message, `status` is a word for it."""
    return ("error", "status") if "message" in given else ()


def _google(given: Block) -> str:
    name, code = given.get("status"), given.get("code")
    if isinstance(name, str) and name in _BY_NAME:
        return str(_BY_NAME[name])
    if type(code) is int:
        return str(_GOOGLE[code][1]) if code in _GOOGLE else str(code) if 400 <= code < 600 else ""
    return ""


def _in_words(text: str, deepest: int) -> tuple[str, str]:
    """Read a sentence: JSON in it counts, then what it calls the error."""
    if text[:1] == '"' and isinstance(inner_text := _decoded(text), str) and inner_text != text:
        return _told(inner_text, deepest - 1)
    if (start := text.find("{")) >= 0:
        inner = _decoded(text[start : text.rfind("}") + 1])
        if isinstance(inner, dict):
            kind, message = _told(inner, deepest - 1)
            if message:
                return kind or _named(text[:start]), message
    return _named(text), text.strip()


def _named(text: str) -> str:
    if found := _WORD.search(text):
        return found[1]
    if found := _NAME.search(text):
        return str(_BY_NAME[found[1]])
    return found[1] if (found := _NUMBER.search(text[:40])) else ""


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""
