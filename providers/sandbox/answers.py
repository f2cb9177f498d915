"""What the stand-ins' models answer: a pure function of a line's body.

An answer quotes a hash of the canonical body and echoes the last user text, so a row that was swapped, altered or
answered twice is noticed by whoever knows the input: compare with `expected_text` and `expected_usage`. With the style
"echo" the text depends on the last user text alone ("echo: ..."), so that one line gets one text from every stand-in,
whatever its own form of the body is. With "calm" it is the same text, and markers are plain text: a line that fails at
one stand-in is answered by another.

Markers in the user text choose an odd behaviour, `[[sandbox:NAME]]` or `[[sandbox:NAME=VALUE]]`; they are listed in
README.md. A marker that does not exist is answered with an error, so that a typing error in a test
does not pass unnoticed.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

JSON = Mapping[str, Any]
Style = Literal["digest", "echo", "calm"]

ECHO_CHARACTERS = 1000
LONGEST = 50_000_000  # characters of an answer
CHARACTERS_PER_TOKEN = 4

MARKERS = frozenset(
    {"error", "refusal", "tool_call", "expire", "missing", "duplicate", "foreign", "timeout", "length", "poison"},
)
_MARKER = re.compile(r"\[\[sandbox:([^\]=]*)(?:=([^\]]*))?\]\]")
_NUMBERED = frozenset({"error", "length"})
POISON = "This line is not taken."  # what a provider says of a line for which it refuses the whole job

# Where each endpoint keeps what the user said.
_SOURCE = {
    "/v1/chat/completions": "messages",
    "/v1/messages": "messages",
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
    """One model answer. Exactly one of `text`, `refusal` and `tool` carries it; `cut`: a token limit ended it.

    Only Messages bodies ask for `thinking` ("" without it) and have a `cache_ttl`, that of their last breakpoint.
    """

    text: str
    refusal: str | None
    tool: ToolCall | None
    cut: bool
    copies: int
    input_tokens: int
    output_tokens: int
    thinking: str = ""
    cache_ttl: str | None = None


def canonical(body: JSON) -> bytes:
    """Sorted, compact, ASCII: two bodies are equal exactly when these bytes are."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode("ascii")


def digest(body: JSON) -> str:
    """16 hexadecimal digits of the SHA-256 of the canonical body."""
    return hashlib.sha256(canonical(body)).hexdigest()[:16]


def expected_text(endpoint: str, body: JSON, style: Style = "digest") -> str:
    """The text that the answer to `body` must carry: content, refusal, or the arguments of the tool call.

    `body` is what the provider got: for the endpoint "/v1/messages" the `params` of a batch request.
    """
    found = answer(endpoint, body, style)
    return found.tool.arguments if found.tool else found.refusal or found.text


def markers(text: str, style: Style = "digest") -> dict[str, str]:
    """Markers in `text`, name to value ("" without one); none for a calm stand-in. Raises `UnknownMarker`."""
    if style == "calm":
        return {}
    found = {name: value or "" for name, value in _MARKER.findall(text)}
    wrong = [
        name for name, value in found.items() if name not in MARKERS or (name in _NUMBERED and not value.isdigit())
    ]
    if wrong:
        raise UnknownMarker(wrong[0])
    return found


def poison(endpoint: str, body: JSON) -> str | None:
    """What the line says of a refusal of its whole job: `named` or `silent`; None if it is no reason for one."""
    try:
        found = markers(user_text(endpoint, body))
    except UnknownMarker:
        return None
    return (found["poison"] or "named") if "poison" in found else None


def user_text(endpoint: str, body: JSON) -> str:
    """The last user message of a conversation, or the whole of a plain input."""
    source = body.get(_SOURCE.get(endpoint, "messages" if "messages" in body else "prompt"))
    if endpoint in {"/v1/embeddings", "/v1/moderations"} or not isinstance(source, list):
        return "\n".join(_texts(source))
    turns = [turn for turn in source if isinstance(turn, dict) and turn.get("role") == "user"]
    turns = [turn for turn in turns if not _only_tool_results(turn.get("content"))]
    return "\n".join(_texts(turns[-1].get("content"))) if turns else "\n".join(_texts(source))


def _only_tool_results(content: Any) -> bool:
    """Whether a user turn of a Messages body is what the other form has separate tool messages for."""
    blocks = content if isinstance(content, list) else []
    return bool(blocks) and all(isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks)


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return [text for text in texts if isinstance(text, str)]


def answer(endpoint: str, body: JSON, style: Style = "digest") -> Answer:
    """The model's answer to one body. Raises `UnknownMarker`."""
    plain = canonical(body)
    said = user_text(endpoint, body)
    wanted = markers(said, style)
    key = hashlib.sha256(plain if style == "digest" else canonical({"said": said})).hexdigest()[:16]
    tool = _tool_call(body, wanted, key)
    refusal = f"I cannot help with that. [{key}]" if "refusal" in wanted and tool is None else None
    text = "" if tool or refusal else _text(key, said, wanted, style)
    short = _within_token_limit(text, body)
    copies = _count(body.get("n"), default=1)
    length = len(tool.arguments if tool else refusal or short)
    thinking = _thinking(endpoint, body, key)
    return Answer(
        text=short,
        refusal=refusal,
        tool=tool,
        cut=len(short) < len(text),
        copies=copies,
        input_tokens=_tokens(len(plain)),
        output_tokens=_tokens(length) * copies + (_tokens(len(thinking)) if thinking else 0),
        thinking=thinking,
        cache_ttl=_cache_ttl(body) if endpoint == "/v1/messages" else None,
    )


def _text(key: str, said: str, wanted: Mapping[str, str], style: Style) -> str:
    text = f"{'echo:' if style != 'digest' else f'[{key}]'} {said[:ECHO_CHARACTERS]}"
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


def _thinking(endpoint: str, body: JSON, key: str) -> str:
    asked = body.get("thinking") if endpoint == "/v1/messages" else None
    kind = asked.get("type") if isinstance(asked, dict) else None
    return f"What does {key} ask for?" if kind in {"enabled", "adaptive"} else ""


def _cache_ttl(body: JSON) -> str | None:
    """How long the last cache breakpoint of a Messages body wants to be kept: "5m" or "1h"; None without one."""
    messages = body.get("messages")
    contents = (
        [turn.get("content") for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    )
    places = [part for part in (body.get("tools"), body.get("system"), *contents) if isinstance(part, list)]
    blocks = [body, *(block for part in places for block in part if isinstance(block, dict))]
    marks = [mark for block in blocks if isinstance(mark := block.get("cache_control"), dict)]
    return str(marks[-1].get("ttl", "5m")) if marks else None


def _tool_call(body: JSON, wanted: Mapping[str, str], key: str) -> ToolCall | None:
    choice, tools = body.get("tool_choice"), body.get("tools")
    offered = [found for tool in tools if (found := _function(tool))] if isinstance(tools, list) else []
    named = _function(choice) if isinstance(choice, dict) else None
    forced = choice == "required" or (isinstance(choice, dict) and choice.get("type") == "any")
    if not offered or not ("tool_call" in wanted or forced or named):
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


def expected_usage(endpoint: str, body: JSON, style: Style = "digest") -> dict[str, Any]:
    """The `usage` object of the answer to `body`, named as `endpoint` names it; empty where it has none."""
    return usage(endpoint, answer(endpoint, body, style))


def usage(endpoint: str, found: Answer) -> dict[str, Any]:
    """`expected_usage` of an answer at hand. Moderations and videos report none."""
    given, made = found.input_tokens, found.output_tokens
    if endpoint in {"/v1/moderations", "/v1/videos"}:
        return {}
    if endpoint == "/v1/messages":
        return _messages_usage(found)
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


def _messages_usage(found: Answer) -> dict[str, Any]:
    """Of a body with a cache breakpoint a quarter each is written to and read from the cache."""
    cached = found.input_tokens // 4 if found.cache_ttl else 0
    spent: dict[str, Any] = {
        "input_tokens": found.input_tokens - 2 * cached,
        "cache_creation_input_tokens": cached,
        "cache_read_input_tokens": cached,
        "output_tokens": found.output_tokens,
        "service_tier": "batch",
    }
    if found.cache_ttl:
        spent["cache_creation"] = {
            f"ephemeral_{ttl}_input_tokens": cached if ttl == found.cache_ttl else 0 for ttl in ("5m", "1h")
        }
    if found.thinking:
        spent["output_tokens_details"] = {"thinking_tokens": _tokens(len(found.thinking))}
    return spent
