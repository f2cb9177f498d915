"""Response bodies of OpenAI's endpoints, as batch rows carry them, around the answers of `answers`."""

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy_plugin.providers.sandbox.answers import Answer, Style, answer, canonical, usage

JSON = Mapping[str, Any]

DIMENSIONS = 8  # where the request names none; OpenAI's 1536 would only make tests slow


def response_body(
    endpoint: str, body: JSON, *, identity: str, created: int, style: Style
) -> tuple[dict[str, Any], int, int]:
    """The 200 body for one line, with its input and output tokens as batch usage counts them.

    `identity` makes the ids, `created` is in Unix seconds; all else depends on `body` and `style` alone.
    Raises `answers.UnknownMarker`.
    """
    found = answer(endpoint, body, style)
    spent = usage(endpoint, found)
    made = _WRITERS[endpoint](_Line(body, found, identity, created))
    if spent:
        made["usage"] = spent
    given = spent.get("prompt_tokens", spent.get("input_tokens", 0))
    return made, given, spent.get("total_tokens", 0) - given


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error envelope (reference page, "Auth and base")."""
    kinds = {429: "requests", 403: "permission_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = "rate_limit_exceeded" if status == 429 and code is None else code
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def vector(text: Any, dimensions: int) -> list[float]:
    """The embedding of one input: `dimensions` numbers in [-1, 1), exact in 32 bits."""
    seed = canonical({"input": text})
    wide = b"".join(hashlib.sha256(seed + block.to_bytes(4)).digest() for block in range(dimensions // 16 + 1))
    return [number / 32768 for number in struct.unpack(f">{dimensions}h", wide[: dimensions * 2])]


@dataclass(frozen=True, slots=True)
class _Line:
    body: JSON
    found: Answer
    identity: str
    created: int


def _chat(line: _Line) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": line.found.text or None, "refusal": line.found.refusal}
    if line.found.tool:
        function = {"name": line.found.tool.name, "arguments": line.found.tool.arguments}
        message["tool_calls"] = [{"id": f"call_{line.identity}", "type": "function", "function": function}]
    reason = "tool_calls" if line.found.tool else "length" if line.found.cut else "stop"
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
        for index in range(line.found.copies)
    ]
    return {
        "id": f"chatcmpl-{line.identity}",
        "object": "chat.completion",
        "created": line.created,
        "model": line.body.get("model"),
        "choices": choices,
        "service_tier": "default",
        "system_fingerprint": "fp_sandbox",
    }


def _completion(line: _Line) -> dict[str, Any]:
    reason = "length" if line.found.cut else "stop"
    text = line.found.refusal or line.found.text
    return {
        "id": f"cmpl-{line.identity}",
        "object": "text_completion",
        "created": line.created,
        "model": line.body.get("model"),
        "choices": [
            {"text": text, "index": index, "logprobs": None, "finish_reason": reason}
            for index in range(line.found.copies)
        ],
    }


def _response(line: _Line) -> dict[str, Any]:
    return {
        "id": f"resp_{line.identity}",
        "object": "response",
        "created_at": line.created,
        "status": "incomplete" if line.found.cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if line.found.cut else None,
        "instructions": line.body.get("instructions"),
        "max_output_tokens": line.body.get("max_output_tokens"),
        "metadata": line.body.get("metadata") or {},
        "model": line.body.get("model"),
        "output": [_output_item(line.found, line.identity)],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": 1.0,
        "tool_choice": line.body.get("tool_choice", "auto"),
        "tools": line.body.get("tools", []),
        "top_p": 1.0,
    }


def _output_item(found: Answer, identity: str) -> dict[str, Any]:
    status = "incomplete" if found.cut else "completed"
    if found.tool:
        call = {"call_id": f"call_{identity}", "name": found.tool.name, "arguments": found.tool.arguments}
        return {"id": f"fc_{identity}", "type": "function_call", "status": status, **call}
    said: dict[str, Any] = {"type": "output_text", "text": found.text, "annotations": []}
    if found.refusal:
        said = {"type": "refusal", "refusal": found.refusal}
    return {"id": f"msg_{identity}", "type": "message", "status": status, "role": "assistant", "content": [said]}


def _inputs(body: JSON) -> list[Any]:
    """The separate inputs of an embeddings or moderations body; a list of token numbers is one input."""
    given = body.get("input", "")
    return given if isinstance(given, list) and not (given and isinstance(given[0], int)) else [given]


def input_count(body: JSON) -> int:
    """How many embedding inputs a line asks for; a batch may hold 50,000 in total."""
    return len(_inputs(body))


def _embeddings(line: _Line) -> dict[str, Any]:
    wanted = line.body.get("dimensions")
    dimensions = wanted if isinstance(wanted, int) and 0 < wanted <= 4096 else DIMENSIONS
    packed = line.body.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(_inputs(line.body)):
        numbers = vector(text, dimensions)
        value = base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode() if packed else numbers
        data.append({"object": "embedding", "index": index, "embedding": value})
    return {"object": "list", "data": data, "model": line.body.get("model")}


def _moderation(line: _Line) -> dict[str, Any]:
    results = []
    for text in _inputs(line.body):
        score = (vector(text, 1)[0] + 1) / 2
        flagged = {"hate": False, "violence": score >= 0.5}
        scores = {"hate": 0.0, "violence": score}
        results.append({"flagged": score >= 0.5, "categories": flagged, "category_scores": scores})
    return {
        "id": f"modr-{line.identity}",
        "model": line.body.get("model", "omni-moderation-latest"),
        "results": results,
    }


def _image(line: _Line) -> dict[str, Any]:
    picture = base64.b64encode(json.dumps(line.found.text).encode()).decode()
    return {"created": line.created, "data": [{"b64_json": picture}] * line.found.copies}


def _video(line: _Line) -> dict[str, Any]:
    return {
        "id": f"video_{line.identity}",
        "object": "video",
        "created_at": line.created,
        "status": "queued",
        "progress": 0,
        "model": line.body.get("model"),
        "prompt": line.found.text,
    }


_WRITERS = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/responses": _response,
    "/v1/embeddings": _embeddings,
    "/v1/moderations": _moderation,
    "/v1/images/generations": _image,
    "/v1/images/edits": _image,
    "/v1/videos": _video,
}
ENDPOINTS = tuple(_WRITERS)
