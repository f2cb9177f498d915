"""The lines of a Gemini batch: judged, answered, kept as rows in the order in which they "run", a seeded shuffle.

A line that is no good has an error of its own. One marked as poison fails the whole job: whether Google ever does that
no page tells.
"""

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy_plugin.providers.sandbox.answers import POISON, Answer, Style, UnknownMarker, answer, markers, poison
from proxy_plugin.providers.sandbox.google.errors import word

CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
_REQUEST = frozenset(
    {
        "contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "safetySettings", "cachedContent",
        "system_instruction", "generation_config", "model",
    }
)  # fmt: skip
_EMBED = frozenset(
    {"content", "output_dimensionality", "task_type", "title", "outputDimensionality", "taskType", "model"}
)
Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a line: its result, whether that is an answer, whether the model ran, rows beside it."""

    found: dict[str, Any]
    ok: bool = True
    copies: int = 1
    stranger: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What `answer_all` needs to know."""

    lines: bytes | list[Line]  # a file, or the requests of an inline job
    model: str
    embeds: bool
    style: Style
    seed: int
    identity: str


def answer_all(task: Assignment) -> tuple[str, list[Row]]:
    """Return why the job fails ("" if it does not), and the rows in the order in which the lines run."""
    rows, keys = list[Row](), set[str]()
    for number, line in enumerate(_lines(task.lines), 1):
        if line is None:
            return f"Line {number} is not parseable as JSON.", []
        key = line.get("key")
        if not isinstance(key, str) or key in keys or set(line) != {"key", "request"}:
            return f"Line {number} has no request under a key of its own.", []
        keys.add(key)
        request = line["request"]
        chat = as_chat(request, embeds=task.embeds) if isinstance(request, dict) else {}
        if way := poison(CHAT, chat):
            return POISON if way == "silent" else f"Line {number}: {POISON}", []
        rows.append(_run(key, request, chat, f"{task.identity}{number:x}", task))
    if not rows:
        return "The file has no lines.", []
    random.Random(task.seed).shuffle(rows)
    return "", rows


def _lines(given: bytes | list[Line]) -> Iterable[Line | None]:
    if isinstance(given, list):
        yield from given
        return
    for raw in given.split(b"\n"):
        if not raw.strip():
            continue
        try:
            line = json.loads(raw.decode())
        except (ValueError, RecursionError):
            line = None
        yield line if isinstance(line, dict) else None


def as_chat(request: Mapping[str, Any], *, embeds: bool) -> dict[str, Any]:
    """Return a request as the body of a chat, for the rules by which all stand-ins answer."""
    turns = [request.get("content")] if embeds else request.get("contents")
    config = request.get("generationConfig")
    config = config if isinstance(config, dict) else {}
    mode = request.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode")
    tools = [each for tool in request.get("tools", []) for each in tool.get("functionDeclarations", [])]
    functions = [{"name": each["name"], "parameters": each.get("parametersJsonSchema")} for each in tools]
    chat = {
        "messages": [_turn(turn) for turn in turns or [] if isinstance(turn, dict)],
        "tools": [{"function": each} for each in functions],
        "tool_choice": "required" if mode == "ANY" else None,
        "max_tokens": config.get("maxOutputTokens"),
        "n": config.get("candidateCount"),
        "more": {name: value for name, value in request.items() if name not in {"contents", "content"}},
    }
    return {name: value for name, value in chat.items() if value}


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    parts = [part for part in turn.get("parts", []) if isinstance(part, dict)]
    if any("functionResponse" in part for part in parts):
        return {"role": "tool", "content": ""}
    texts = [{"type": "text", "text": part["text"]} for part in parts if "text" in part]
    return {"role": "assistant" if turn.get("role") == "model" else "user", "content": texts}


def _run(key: str, request: Any, chat: Mapping[str, Any], identity: str, task: Assignment) -> Row:
    if complaint := _complaint(request, task):
        return Row({"key": key, "error": _status(400, complaint)}, ok=False)
    try:
        found = answer(CHAT, chat, task.style)
        wanted = markers("\n".join(part["text"] for part in chat["messages"][-1]["content"]))
    except UnknownMarker as wrong:
        return Row({"key": key, "error": _status(400, f"The sandbox knows no marker {wrong}.")}, ok=False)
    status = 504 if {"timeout", "expire"} & wanted.keys() else int(wanted.get("error", 200))
    body = {"error": _status(status, f"The line asked the sandbox for an error {status}.")}
    if status in {0, 200}:
        made = _embedding(found) if task.embeds else _response(found, identity, task.model)
        body = {"response": made if status else {}}
    copies = 0 if "missing" in wanted else 2 if "duplicate" in wanted else 1
    stranger = {"key": wanted["foreign"] or f"stranger-{identity}", **body} if "foreign" in wanted else None
    return Row({"key": key, **body}, status in {0, 200}, copies, stranger)


def _complaint(request: Any, task: Assignment) -> str:
    if not isinstance(request, dict):
        return "The request is no object."
    known, needed = (_EMBED, "content") if task.embeds else (_REQUEST, "contents")
    if unknown := set(request) - known:
        return f'Unknown name "{min(unknown)}": Cannot find field.'
    return "" if request.get(needed) else f"{needed} is not specified"


def _status(status: int, message: str) -> dict[str, Any]:
    return {"code": word(status)[0], "message": message}


def _response(found: Answer, identity: str, model: str) -> dict[str, Any]:
    part: dict[str, Any] = {"text": found.text}
    reason: dict[str, Any] = {"finishReason": "MAX_TOKENS" if found.cut else "STOP"}
    if found.tool:
        part = {"functionCall": {"name": found.tool.name, "args": json.loads(found.tool.arguments)}}
    if found.refusal:
        part, reason = {"text": ""}, {"finishReason": "SAFETY", "finishMessage": found.refusal}
    content = {"parts": [part], "role": "model"}
    spent = {
        "promptTokenCount": found.input_tokens,
        "candidatesTokenCount": found.output_tokens,
        "totalTokenCount": found.input_tokens + found.output_tokens,
    }
    return {
        "candidates": [{"content": content, **reason, "index": number} for number in range(found.copies)],
        "usageMetadata": spent,
        "modelVersion": model.rpartition("/")[2],
        "responseId": identity,
    }


def _embedding(found: Answer) -> dict[str, Any]:
    return {"embedding": {"values": [len(found.text) / 1024, -0.25, 0.5]}, "tokenCount": found.input_tokens}
