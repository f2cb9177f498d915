"""Cohere's chat answers as OpenAI's.

Shape: "Chat API v2", types of the official SDK, 7.3.1: `message.content` is a list of blocks, `tool_calls` are
OpenAI's, and tokens are told twice, as used and as billed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.embeddings.common import token_count
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.shapes import Answer, chat_tokens

REASONS = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}


def to_completion(body: Mapping[str, Any], *, model: str) -> Answer:
    """Return an answer, decoded, as a chat.completion. What is of another shape than it should be is left out."""
    message = body.get("message")
    message = message if isinstance(message, dict) else {}
    content, calls = message.get("content"), message.get("tool_calls")
    blocks = (
        [each.get("text") for each in content if isinstance(each, dict)] if isinstance(content, list) else [content]
    )
    text = "".join(each for each in blocks if isinstance(each, str))
    said: dict[str, Any] = {"role": "assistant", "content": text or None}
    if isinstance(calls, list) and calls:
        said["tool_calls"] = calls
    usage, native_id = _usage(body.get("usage")), body.get("id")
    reason = REASONS.get(str(body.get("finish_reason")), "stop")
    completion = {
        "id": native_id if isinstance(native_id, str) else "",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": said, "finish_reason": reason}],
        "usage": chat_tokens(usage),
    }
    return Answer(write(completion), usage, model)


def _usage(given: object) -> Usage:
    groups = [given.get("tokens"), given.get("billed_units")] if isinstance(given, dict) else []
    found = next((group for group in groups if isinstance(group, dict)), {})
    return Usage(token_count(found.get("input_tokens")), token_count(found.get("output_tokens")))
