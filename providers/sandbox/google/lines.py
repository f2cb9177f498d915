"""The lines of a Gemini batch, and its rows.

A line that is no good has an error of its own. One marked as poison fails the whole job: whether Google ever does that
no page tells.
"""

import json
from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.sandbox.kit.lines import CANCELLED, EMPTY, JSON, Bad, Form, Outcome, Wrong, dumps

CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
WORDS = {  # HTTP status -> number and name among those of google.rpc
    400: (3, "INVALID_ARGUMENT"),
    401: (16, "UNAUTHENTICATED"),
    403: (7, "PERMISSION_DENIED"),
    404: (5, "NOT_FOUND"),
    409: (10, "ABORTED"),
    429: (8, "RESOURCE_EXHAUSTED"),
    500: (13, "INTERNAL"),
    503: (14, "UNAVAILABLE"),
    504: (4, "DEADLINE_EXCEEDED"),
}
FIELDS = {
    CHAT: frozenset(
        {
            *("contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "safetySettings", "model"),
            *("cachedContent", "system_instruction", "generation_config"),
        }
    ),
    EMBED: frozenset(
        {"content", "output_dimensionality", "task_type", "title", "outputDimensionality", "taskType", "model"}
    ),
}
NEEDED = {CHAT: "contents", EMBED: "content"}


def word(status: int) -> tuple[int, str]:
    """The number and the name of an HTTP status among those of google.rpc."""
    return WORDS.get(status, WORDS[500 if status >= 500 else 400])


class Lines(Form):
    """A line is `{"key", "request"}`; model and kind are the job's."""

    key, unique, halves, empty = "key", True, True, EMPTY

    def check(self, line: JSON, order: JSON) -> None:  # noqa: ARG002
        if not isinstance(line.get("key"), str) or set(line) != {"key", "request"}:
            raise Bad("no request under a key of its own")

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        """As OpenAI has it, for the rules by which all stand-ins answer."""
        request, endpoint = line["request"], EMBED if order["embeds"] else CHAT
        if not isinstance(request, dict):
            raise Wrong("The request is no object.")
        if unknown := set(request) - FIELDS[endpoint]:
            raise Wrong(f'Unknown name "{min(unknown)}": Cannot find field.')
        if not request.get(NEEDED[endpoint]):
            raise Wrong(f"{NEEDED[endpoint]} is not specified")
        return endpoint, {"model": order["model"], **(_texts(request) if order["embeds"] else _chat(request))}

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:
        if outcome.status == 0:
            code, words = (1, "The batch was cancelled.") if outcome == CANCELLED else (4, "Deadline expired.")
            return dumps({"key": custom_id, "error": {"code": code, "message": words}})
        if not outcome.well:
            return dumps({"key": custom_id, "error": {"code": word(outcome.status)[0], "message": outcome.words}})
        if outcome == EMPTY:
            return dumps({"key": custom_id, "response": {}})
        response = _embedding(outcome.body) if outcome.endpoint == EMBED else _response(outcome.body, identity)
        return dumps({"key": custom_id, "response": response})


def _texts(request: JSON) -> JSON:
    texts = [part["text"] for part in request["content"].get("parts", []) if "text" in part]
    size = request.get("output_dimensionality", request.get("outputDimensionality"))
    return {"input": "\n".join(texts)} | ({"dimensions": size} if size else {})


def _chat(request: JSON) -> JSON:
    config = request.get("generationConfig")
    config = config if isinstance(config, dict) else {}
    mode = request.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode")
    tools = [each for tool in request.get("tools", []) for each in tool.get("functionDeclarations", [])]
    functions = [{"name": each["name"], "parameters": each.get("parametersJsonSchema")} for each in tools]
    chat = {
        "messages": [_turn(turn) for turn in request["contents"] if isinstance(turn, dict)],
        "tools": [{"function": each} for each in functions],
        "tool_choice": "required" if mode == "ANY" else None,
        "max_tokens": config.get("maxOutputTokens"),
        "n": config.get("candidateCount"),
        "more": {name: value for name, value in request.items() if name != "contents"},
    }
    return {name: value for name, value in chat.items() if value}


def _turn(turn: Mapping[str, Any]) -> JSON:
    parts = [part for part in turn.get("parts", []) if isinstance(part, dict)]
    if any("functionResponse" in part for part in parts):
        return {"role": "tool", "content": ""}
    texts = [{"type": "text", "text": part["text"]} for part in parts if "text" in part]
    return {"role": "assistant" if turn.get("role") == "model" else "user", "content": texts}


def _response(made: JSON, identity: str) -> JSON:
    used = made["usage"]
    spent = {
        "promptTokenCount": used["prompt_tokens"],
        "candidatesTokenCount": used["completion_tokens"],
        "totalTokenCount": used["total_tokens"],
    }
    candidates = [_candidate(each) for each in made["choices"]]
    return {"candidates": candidates, "usageMetadata": spent, "modelVersion": made["model"], "responseId": identity}


def _candidate(choice: JSON) -> JSON:
    said = choice["message"]
    part: JSON = {"text": said["content"] or ""}
    reason = {"finishReason": "MAX_TOKENS" if choice["finish_reason"] == "length" else "STOP"}
    for call in said.get("tool_calls", ()):
        function = call["function"]
        part = {"functionCall": {"name": function["name"], "args": json.loads(function["arguments"])}}
    if said["refusal"]:
        reason = {"finishReason": "SAFETY", "finishMessage": said["refusal"]}
    return {"content": {"parts": [part], "role": "model"}, **reason, "index": choice["index"]}


def _embedding(made: JSON) -> JSON:
    return {"embedding": {"values": made["data"][0]["embedding"]}, "tokenCount": made["usage"]["prompt_tokens"]}
