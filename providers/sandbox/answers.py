"""What the stand-ins' models answer: a pure function of a line's body.

An answer quotes a hash of the canonical body and echoes the last user text, so a row that was swapped, altered or
answered twice is noticed by whoever knows the input: compare with `expected_text` and `expected_usage`.

Markers in the user text choose an odd behaviour, `[[sandbox:NAME]]` or `[[sandbox:NAME=VALUE]]`; they are listed in
`providers.sandbox.core`. A marker that does not exist is answered with an error, so that a typing error in a test
does not pass unnoticed.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON = Mapping[str, Any]

ECHO_CHARACTERS = 1000
LONGEST = 50_000_000  # characters of an answer
CHARACTERS_PER_TOKEN = 4

MARKERS = frozenset(
    {"error", "refusal", "tool_call", "expire", "missing", "duplicate", "foreign", "timeout", "length"},
)
_MARKER = re.compile(r"\[\[sandbox:([^\]=]*)(?:=([^\]]*))?\]\]")
_NUMBERED = frozenset({"error", "length"})

# Where each endpoint keeps what the user said.
_SOURCE = {
    "/v1/chat/completions": "messages",
    "/v1/responses": "input",
    "/v1/embeddings": "input",
    "/v1/moderations": "input",
}


class UnknownMarker(ValueError):
    """The user text holds a marker that the stand-ins do not know."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one function; `arguments` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One model answer. Exactly one of `text`, `refusal` and `tool` carries it; `cut`: a token limit ended it."""

    text: str
    refusal: str | None
    tool: ToolCall | None
    cut: bool
    copies: int
    input_tokens: int
    output_tokens: int


def canonical(body: JSON) -> bytes:
    """Sorted, compact, ASCII: two bodies are equal exactly when these bytes are."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode("ascii")


def digest(body: JSON) -> str:
    """16 hexadecimal digits of the SHA-256 of the canonical body."""
    return hashlib.sha256(canonical(body)).hexdigest()[:16]


def expected_text(endpoint: str, body: JSON) -> str:
    """The text that the answer to `body` must carry: content, refusal, or the arguments of the tool call."""
    found = answer(endpoint, body)
    return found.tool.arguments if found.tool else found.refusal or found.text


def markers(text: str) -> dict[str, str]:
    """Markers in `text`, name to value ("" without one). Raises `UnknownMarker`."""
    found = {name: value or "" for name, value in _MARKER.findall(text)}
    wrong = [
        name for name, value in found.items() if name not in MARKERS or (name in _NUMBERED and not value.isdigit())
    ]
    if wrong:
        raise UnknownMarker(wrong[0])
    return found


def user_text(endpoint: str, body: JSON) -> str:
    """The last user message of a conversation, or the whole of a plain input."""
    source = body.get(_SOURCE.get(endpoint, "messages" if "messages" in body else "prompt"))
    if endpoint in {"/v1/embeddings", "/v1/moderations"} or not isinstance(source, list):
        return "\n".join(_texts(source))
    turns = [turn for turn in source if isinstance(turn, dict) and turn.get("role") == "user"]
    return "\n".join(_texts(turns[-1].get("content"))) if turns else "\n".join(_texts(source))


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return [text for text in texts if isinstance(text, str)]


def answer(endpoint: str, body: JSON) -> Answer:
    """The model's answer to one body. Raises `UnknownMarker`."""
    plain = canonical(body)
    key = hashlib.sha256(plain).hexdigest()[:16]
    said = user_text(endpoint, body)
    wanted = markers(said)
    tool = _tool_call(body, wanted, key)
    refusal = f"I cannot help with that. [{key}]" if "refusal" in wanted and tool is None else None
    text = "" if tool or refusal else _text(key, said, wanted)
    short = _within_token_limit(text, body)
    copies = _count(body.get("n"), default=1)
    length = len(tool.arguments if tool else refusal or short)
    return Answer(
        text=short,
        refusal=refusal,
        tool=tool,
        cut=len(short) < len(text),
        copies=copies,
        input_tokens=_tokens(len(plain)),
        output_tokens=_tokens(length) * copies,
    )


def _text(key: str, said: str, wanted: Mapping[str, str]) -> str:
    text = f"[{key}] {said[:ECHO_CHARACTERS]}"
    if (length := min(int(wanted.get("length", 0)), LONGEST)) > len(text):
        filler = f" {key}" * ((length - len(text)) // (len(key) + 1) + 1)
        text = (text + filler)[:length]
    return text


def _within_token_limit(text: str, body: JSON) -> str:
    limits = [body.get(name) for name in ("max_completion_tokens", "max_output_tokens", "max_tokens")]
    limit = next((_count(limit, default=0) for limit in limits if limit is not None), 0)
    return text[: limit * CHARACTERS_PER_TOKEN] if limit else text


def _count(value: Any, *, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default


def _tokens(characters: int) -> int:
    return max(1, -(-characters // CHARACTERS_PER_TOKEN))


def _tool_call(body: JSON, wanted: Mapping[str, str], key: str) -> ToolCall | None:
    choice, tools = body.get("tool_choice"), body.get("tools")
    offered = [found for tool in tools if (found := _function(tool))] if isinstance(tools, list) else []
    named = _function(choice) if isinstance(choice, dict) else None
    if not offered or not ("tool_call" in wanted or choice == "required" or named):
        return None
    name, schema = next((tool for tool in offered if named and tool[0] == named[0]), offered[0])
    arguments = sample(schema, key) if schema else {}
    return ToolCall(name, json.dumps(arguments, separators=(",", ":")))


def _function(tool: Any) -> tuple[str, Any] | None:
    """Name and parameter schema of a function tool, in the chat, responses or messages form."""
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return None
    return inner["name"], inner.get("parameters") or inner.get("input_schema")


def sample(schema: Any, key: str) -> Any:
    """A value that fits the common parts of a JSON schema, made from `key`."""
    if not isinstance(schema, dict):
        return key
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        return {name: sample(part, key) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample(schema.get("items"), key)]
    number = int(key[:6], 16)
    plain = {"integer": number, "number": number / 16, "boolean": number % 2 == 0, "null": None}
    return plain.get(kind, key) if isinstance(kind, str) else key


def expected_usage(endpoint: str, body: JSON) -> dict[str, Any]:
    """The `usage` object of the answer to `body`, named as `endpoint` names it; empty where it has none."""
    return usage(endpoint, answer(endpoint, body))


def usage(endpoint: str, found: Answer) -> dict[str, Any]:
    """`expected_usage` of an answer at hand. Moderations and videos report none."""
    given, made = found.input_tokens, found.output_tokens
    if endpoint in {"/v1/moderations", "/v1/videos"}:
        return {}
    if endpoint == "/v1/embeddings":
        return {"prompt_tokens": given, "total_tokens": given}
    if endpoint in {"/v1/chat/completions", "/v1/completions"}:
        return {
            "prompt_tokens": given,
            "completion_tokens": made,
            "total_tokens": given + made,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": given + made,
    }
