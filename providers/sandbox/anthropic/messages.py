"""Message objects, as succeeded rows carry them, around the answers of `answers`."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.sandbox.answers import Answer, Style, answer, usage

ENDPOINT = "/v1/messages"

# An alias is answered with the name of the snapshot (reference page, "Result lines").
_SNAPSHOTS = {"claude-haiku-4-5": "claude-haiku-4-5-20251001"}


def message(params: Mapping[str, Any], identity: str, style: Style) -> dict[str, Any]:
    """The answer to one request. `identity` makes the ids; all else depends on `params` and `style` alone.

    Raises `answers.UnknownMarker`.
    """
    found = answer(ENDPOINT, params, style)
    return {
        **_head(params, identity),
        "content": _content(found, params, identity),
        "stop_reason": _stop_reason(found),
        "stop_sequence": None,
        "stop_details": _stop_details(found),
        "usage": usage(ENDPOINT, found),
    }


def empty_message(params: Mapping[str, Any], identity: str) -> dict[str, Any]:
    """A succeeded answer without content."""
    spent = {**usage(ENDPOINT, answer(ENDPOINT, params)), "output_tokens": 0}
    return {
        **_head(params, identity),
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": spent,
    }


def _head(params: Mapping[str, Any], identity: str) -> dict[str, Any]:
    model = _SNAPSHOTS.get(params["model"], params["model"])
    return {"id": f"msg_{identity}", "type": "message", "role": "assistant", "model": model}


def _content(found: Answer, params: Mapping[str, Any], identity: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if found.thinking:
        hidden = params["thinking"].get("display") == "omitted"
        signature = base64.b64encode(identity.encode()).decode()
        blocks.append({"type": "thinking", "thinking": "" if hidden else found.thinking, "signature": signature})
    if found.tool:
        call = {"id": f"toolu_{identity}", "name": found.tool.name, "input": json.loads(found.tool.arguments)}
        blocks.append({"type": "tool_use", **call})
    elif found.text:
        blocks.append({"type": "text", "text": found.text})
    return blocks


def _stop_reason(found: Answer) -> str:
    if found.refusal:
        return "refusal"
    return "tool_use" if found.tool else "max_tokens" if found.cut else "end_turn"


def _stop_details(found: Answer) -> dict[str, Any] | None:
    return {"type": "refusal", "category": None, "explanation": found.refusal} if found.refusal else None
