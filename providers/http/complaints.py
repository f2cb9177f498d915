"""What a provider's error body says, whatever shape it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from typing import Any

import msgspec

_XML = re.compile(r"<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>")
_WORDS = ("message", "Message", "detail", "msg", "error_description", "error", "title")


def read_complaint(body: bytes) -> tuple[str | None, str, str | None]:
    """Return (code, message, param) of an error body in any common shape; never raises.

    Known: OpenAI's envelope, Google's (`status`, and the `reason` among its `details`), `{"error": "text"}`,
    `{"message"}`, `{"detail": text | object | list}`, OAuth's `{"error", "error_description"}`,
    S3's and STS's XML, plain text.
    """
    try:
        data = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        if text.startswith("<"):
            found = _XML.search(text)
            return (found[1] or None, unescape(found[2]), None) if found else (None, "", None)
        return None, text, None
    facts = _innermost(data)
    code = next((facts[name] for name in ("code", "type") if isinstance(facts.get(name), str)), None) or _googles(facts)
    code = code or _plain_type(facts.get("__type"))
    param = facts.get("param")
    return code or None, _words(data), param if isinstance(param, str) else None


def told_type(headers: Mapping[str, str]) -> str | None:
    """Return the code of an error that AWS names in a header: `ValidationException:http://...`."""
    return _plain_type(headers.get("x-amzn-errortype"))


def _plain_type(told: object) -> str | None:
    """Return the name of an AWS error without its namespace and what stands behind it."""
    return told.partition(":")[0].rpartition("#")[2].strip() if isinstance(told, str) and told else None


def _innermost(data: object) -> dict[str, Any]:
    facts: dict[str, Any] = data if isinstance(data, dict) else {}
    for name in ("error", "detail"):
        if isinstance(facts.get(name), dict):
            facts = facts[name]
    return facts


def _googles(facts: dict[str, Any]) -> str | None:
    """Return the word of a google.rpc.Status, whose `code` is a number: the reason of its ErrorInfo, or its status."""
    details = facts.get("details")
    reasons = [each.get("reason") for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    return next((word for word in (*reasons, facts.get("status")) if isinstance(word, str) and word.isupper()), None)


def _words(node: object, depth: int = 5) -> str:
    """Return the first text found under the usual names; a list says several things."""
    if isinstance(node, str):
        return node
    if isinstance(node, list) and depth:
        return "; ".join(filter(None, (_words(item, depth - 1) for item in node[:3])))
    if isinstance(node, dict) and depth:
        return next(filter(None, (_words(node.get(name), depth - 1) for name in _WORDS)), "")
    return ""
