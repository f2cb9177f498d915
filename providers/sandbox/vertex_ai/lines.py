"""Lines and rows of Vertex AI's batches in the words of each family of models.

Shapes: the project's reference page of Vertex AI, sections 3 to 5, and update 2. Not told by any page, so a guess: that
a line which cannot be read fails its job, and the bare answer in the rows of open models.
"""

import json
from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.sandbox.kit.lines import JSON, Bad, Form, Outcome, dumps

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
WORDS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
_REQUEST = frozenset(
    {
        *("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "labels"),
        "cachedContent",
    }
)
_EMBED = frozenset({"content", "embed_content_config", "output_dimensionality", "task_type", "title", "labels"})
_VERSIONS = frozenset({"vertex-2023-10-16", "vertex-2025-08-04"})


def family(model: str) -> str:
    """In whose words the lines of a model are."""
    publisher, _, name = model.removeprefix("publishers/").partition("/models/")
    if publisher in {"google", "projects"} or model.startswith("projects/"):
        return "older" if name.startswith("text-embedding-0") else "vector" if "embedding" in name else "gemini"
    return "claude" if publisher == "anthropic" else "open"


class Lines(Form):
    """See `kit.lines.Form`. `order` names the model."""

    def check(self, line: JSON, order: JSON) -> None:
        {
            "gemini": _check_gemini,
            "vector": _check_vector,
            "older": _check_older,
            "claude": _check_claude,
            "open": _check_open,
        }[family(order["model"])](line)

    def asked(self, line: JSON, order: JSON) -> tuple[str, JSON]:
        kind, model = family(order["model"]), order["model"].rpartition("/")[2]
        if kind == "open":
            return str(line["url"]), line["body"]
        if kind == "older":
            return EMBEDDINGS, {"model": model, "input": line["content"]}
        request = line["request"]
        if kind == "vector":
            return EMBEDDINGS, {"model": model, "input": request["content"]["parts"][0]["text"]}
        return CHAT, {"model": model, **(_chat_of_claude(request) if kind == "claude" else _chat_of_gemini(request))}

    def result(self, custom_id: str, identity: str, outcome: Outcome) -> bytes:
        """A row of nobody's, which has an id alone."""
        return self.result_of({"key": custom_id}, {"model": "publishers/google/models/any"}, identity, outcome)

    def result_of(self, line: JSON, order: JSON, identity: str, outcome: Outcome) -> bytes:
        """What did not run has no row. The line comes back with the answer: without a `key`, if the job says so."""
        if not outcome.status:
            return b""
        kind, model = family(order["model"]), order["model"].rpartition("/")[2]
        fault = "" if outcome.well else _fault(outcome, claude=kind == "claude")
        shown: dict[str, Any] = {"status": fault, "processed_time": "2026-11-29T10:18:18.102004+00:00"}
        if kind == "older":
            return dumps({**shown, "instance": dict(line), **_older(outcome)})
        made = {"gemini": _gemini, "vector": _vector, "claude": _claude, "open": _open}[kind]
        response = made(outcome.body, model, identity) if outcome.well else None if kind == "claude" else {}
        return dumps({**line, **shown, "response": response})


def _fault(outcome: Outcome, *, claude: bool) -> str:
    if claude:
        error = {"type": "invalid_request_error" if outcome.status < 500 else "api_error", "message": outcome.words}
        return json.dumps({"type": "error", "error": error})
    word = WORDS.get(outcome.status, "INTERNAL" if outcome.status >= 500 else "INVALID_ARGUMENT")
    status = {"code": outcome.status, "message": outcome.words, "status": word}
    return f"Bad Request: {json.dumps({'error': status})}"


# What lines must be


def _object(line: JSON, name: str, known: frozenset[str] | None = None) -> JSON:
    found = line.get(name)
    if not isinstance(found, dict):
        raise Bad(f"{name} is missing")
    if known is not None and (unknown := set(found) - known):
        raise Bad(f'Unknown name "{min(unknown)}": Cannot find field.')
    return found


def _check_gemini(line: JSON) -> None:
    request = _object(line, "request", _REQUEST)
    turns = request.get("contents")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) and turn.get("parts") for turn in turns):
        raise Bad("contents is not specified")
    _check_labels(request.get("labels", {}))


def _check_labels(labels: Any) -> None:
    for name, value in labels.items():
        plain = (text.replace("_", "").replace("-", "") for text in (name, value))
        if not all(text.isalnum() and text == text.lower() for text in plain) or max(len(name), len(value)) > 63:
            raise Bad(f"label {name}: lowercase letters, digits, _ and -, up to 63 of them")


def _check_vector(line: JSON) -> None:
    content = _object(_object(line, "request", _EMBED), "content")
    if not content.get("parts") or "text" not in content["parts"][0]:
        raise Bad("content.parts is not specified")


def _check_older(line: JSON) -> None:
    if not isinstance(line.get("content"), str):
        raise Bad("content is not specified")


def _check_claude(line: JSON) -> None:
    request = _object(line, "request")
    if not isinstance(line.get("custom_id"), str) or not request.get("messages") or not request.get("max_tokens"):
        raise Bad("custom_id, messages and max_tokens are required")
    if request.get("anthropic_version") not in _VERSIONS or {"model", "stream"} & request.keys():
        raise Bad("anthropic_version is wrong, or model or stream is there: they belong to the job")


def _check_open(line: JSON) -> None:
    body = _object(line, "body")
    if line.get("method") != "POST" or ("messages" if line.get("url") == CHAT else "input") not in body:
        raise Bad("method, url or body is not that of a request")


# What the model sees


def _chat_of_gemini(request: JSON) -> dict[str, Any]:
    config, mode = request.get("generationConfig", {}), request.get("toolConfig", {}).get("functionCallingConfig", {})
    tools = [each for tool in request.get("tools", []) for each in tool.get("functionDeclarations", [])]
    functions = [{"name": each["name"], "parameters": each.get("parametersJsonSchema")} for each in tools]
    chat = {
        "messages": [_turn(turn) for turn in request["contents"]],
        "tools": [{"function": each} for each in functions],
        "tool_choice": "required" if mode.get("mode") == "ANY" else None,
        "max_tokens": config.get("maxOutputTokens"),
        "n": config.get("candidateCount"),
    }
    return {name: value for name, value in chat.items() if value}


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    if any("functionResponse" in part for part in turn["parts"]):
        return {"role": "tool", "content": ""}
    texts = [{"type": "text", "text": part["text"]} for part in turn["parts"] if "text" in part]
    return {"role": "assistant" if turn.get("role") == "model" else "user", "content": texts}


def _chat_of_claude(request: JSON) -> dict[str, Any]:
    tools = [{"function": {"name": t["name"], "parameters": t["input_schema"]}} for t in request.get("tools", [])]
    forced = {"tool_choice": "required"} if request.get("tool_choice", {}).get("type") == "any" else {}
    return {"messages": request["messages"], "max_tokens": request["max_tokens"], "tools": tools, **forced}


# What comes back


def _gemini(made: JSON, model: str, identity: str) -> dict[str, Any]:
    """A refusal is a prompt that was blocked: it has no candidates."""
    used = made["usage"]
    tokens = {"promptTokenCount": used["prompt_tokens"], "totalTokenCount": used["total_tokens"]}
    rest = {"modelVersion": model, "responseId": identity}
    if words := made["choices"][0]["message"]["refusal"]:
        feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": words}
        return {"promptFeedback": feedback, "usageMetadata": tokens, **rest}
    tokens["candidatesTokenCount"] = used["completion_tokens"]
    return {"candidates": [_candidate(each) for each in made["choices"]], "usageMetadata": tokens, **rest}


def _candidate(choice: JSON) -> dict[str, Any]:
    said = choice["message"]
    parts: list[dict[str, Any]] = [{"text": said["content"]}] if said["content"] else []
    for call in said.get("tool_calls", []):
        function = call["function"]
        parts.append({"functionCall": {"name": function["name"], "args": json.loads(function["arguments"])}})
    reason = "MAX_TOKENS" if choice["finish_reason"] == "length" else "STOP"
    return {"index": choice["index"], "content": {"role": "model", "parts": parts}, "finishReason": reason}


def _claude(made: JSON, model: str, identity: str) -> dict[str, Any]:
    choice, used = made["choices"][0], made["usage"]
    said = choice["message"]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": said["refusal"] or said["content"] or ""}]
    for call in said.get("tool_calls", []):
        function = call["function"]
        made_of = {"name": function["name"], "input": json.loads(function["arguments"])}
        blocks.append({"type": "tool_use", "id": f"toolu_{identity}", **made_of})
    reason = {"length": "max_tokens", "tool_calls": "tool_use"}.get(choice["finish_reason"], "end_turn")
    message = {"id": f"msg_{identity}", "type": "message", "role": "assistant", "model": model, "content": blocks}
    tokens = {"input_tokens": used["prompt_tokens"], "output_tokens": used["completion_tokens"]}
    return {**message, "stop_reason": "refusal" if said["refusal"] else reason, "usage": tokens}


def _open(made: JSON, model: str, identity: str) -> dict[str, Any]:  # noqa: ARG001
    return dict(made)


def _vector(made: JSON, model: str, identity: str) -> dict[str, Any]:  # noqa: ARG001
    tokens = {"promptTokenCount": made["usage"]["prompt_tokens"]}
    return {"embedding": {"values": made["data"][0]["embedding"]}, "usageMetadata": tokens}


def _older(outcome: Outcome) -> dict[str, Any]:
    if not outcome.well:
        return {"predictions": []}
    statistics = {"token_count": outcome.body["usage"]["prompt_tokens"], "truncated": False}
    values = outcome.body["data"][0]["embedding"]
    return {"predictions": [{"embeddings": {"statistics": statistics, "values": values}}]}
