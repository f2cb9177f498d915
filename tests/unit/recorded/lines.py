"""The input files of the recorded batches: the same bytes on every machine, every time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]
CHAT, EMBEDDINGS, RESPONSES = "/v1/chat/completions", "/v1/embeddings", "/v1/responses"
WORDS = (
    "parcel",
    "délai",
    "Größe",
    "発送",
    "🙂",
    'say "no"',
    "back\\slash",
    "tab\there",
    "two\nlines",
    "\u2028 and \u2029",
)
SCHEMA: Json = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Name"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FUNCTION: Json = {"name": "get_weather", "description": "Looks it up.", "parameters": SCHEMA}
TOOLS: list[Json] = [{"type": "function", "function": FUNCTION}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def file_of(bodies: Iterable[Mapping[str, Any]], url: str = CHAT, *, odd: bool = True) -> bytes:
    """Return an input file. `odd`: with a byte-order mark, blank lines, carriage returns, escapes and no last break."""
    lines = [line_of(n, body, url) for n, body in enumerate(bodies)]
    if not odd:
        return b"".join(line + b"\n" for line in lines)
    ends = (b"\n", b"\r\n", b"\n\n", b"\n  \n")
    return b"\xef\xbb\xbf" + b"".join(line + ends[n % len(ends)] for n, line in enumerate(lines[:-1])) + lines[-1]


def line_of(n: int, body: Mapping[str, Any], url: str = CHAT) -> bytes:
    """Return a line; ids, spaces and escapes differ from line to line."""
    line = {"custom_id": f"{n}/{WORDS[n % len(WORDS)]}", "method": "POST", "url": body.get("url", url)}
    line["body"] = {name: value for name, value in body.items() if name != "url"}
    if n % 5 == 3:
        line = dict(reversed(line.items()))
    separators = (",", ":") if n % 3 == 1 else None
    return json.dumps(line, ensure_ascii=n % 2 == 0, separators=separators).encode()


def text(n: int, more: str = "") -> str:
    """Return what the user says in a line."""
    said = " ".join(WORDS[(n * 7 + at) % len(WORDS)] for at in range(1 + n % 6))
    return f"{n}: {said} {more}".strip()


def plain(count: int, model: str, marker: Mapping[int, str] | None = None, **more: Any) -> list[Json]:
    """Return chat bodies of different shapes; `marker` puts sandbox markers into some texts."""
    return [chat(n, model, f"[[sandbox:{marker[n]}]]" if marker and n in marker else "", **more) for n in range(count)]


def chat(n: int, model: str, marker: str = "", **more: Any) -> Json:
    """Return one chat body."""
    said: Any = text(n, marker)
    if n % 4 == 2:
        said = [{"type": "text", "text": text(n)}, {"type": "text", "text": marker or "and that is all"}]
    messages: list[Json] = [{"role": "user", "content": said}]
    if n % 3 == 0:
        messages = [{"role": "system", "content": "Answer shortly."}, *messages]
    if n % 5 == 4:
        messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}, *messages]
    body: Json = {"model": model, "messages": messages, "max_tokens": 40 + n}
    if n % 2:
        body |= {"temperature": 0.5, "stop": ["END"]}
    return body | more


def tools(count: int, model: str) -> list[Json]:
    """Return bodies with tools: asked for, called and answered."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Köln"}'}}
    told = [
        {"role": "user", "content": "How is it in Köln?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "22 °C"},
    ]
    found = list[Json]()
    for n in range(count):
        said = {"role": "user", "content": text(n, "[[sandbox:tool_call]]" if n % 3 == 0 else "")}
        messages = [*told, said] if n % 3 == 1 else [said]
        choice = {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}} if n % 3 == 2 else {}
        found.append({"model": model, "max_tokens": 200, "messages": messages, "tools": TOOLS, **choice})
    return found


def schemas(count: int, model: str) -> list[Json]:
    """Return bodies that want JSON, by a schema or without one."""
    wanted: Json = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}
    return plain(count, model, response_format=wanted)


def pictures(count: int, model: str) -> list[Json]:
    """Return bodies with a picture in them."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    said = ({"role": "user", "content": [{"type": "text", "text": text(n)}, picture]} for n in range(count))
    return [{"model": model, "max_tokens": 50, "messages": [each]} for each in said]


def embeddings(count: int, model: str, **more: Any) -> list[Json]:
    """Return bodies of embeddings, of one input each."""
    return [{"model": model, "input": text(n), **more} for n in range(count)]
