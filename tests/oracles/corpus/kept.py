"""Whether every member of a body is in the native body, in the recorded losses, or in a list that people have read.

A leaf is kept if its value stands in the native body as it is. What stands there in other words (levels, modes, hashes)
is `MAPPED`: then the native body, or what is recorded, must be another one without it. What says nothing is `SAME`,
with the reason. Everything else went without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.shapes import Translated
from tests.oracles.corpus.lanes import Lane, translated
from tests.oracles.corpus.lines import Line
from tests.oracles.corpus.words import Json

_DATA = re.compile(r"data:[^,]*;base64,(.*)", re.DOTALL)
_NUMBER = re.compile(r"\[\d+\]")
Path = tuple[str | int, ...]

# Values that ask for what happens anyway where a request has one answer, of text, and nothing is stored.
_DEFAULTS: dict[str, tuple[object, ...]] = {
    "n": (1,), "stream": (False,), "store": (False,), "logprobs": (False,), "service_tier": ("auto", "default"),
    "verbosity": ("medium",), "frequency_penalty": (0,), "presence_penalty": (0,), "temperature": (1,), "top_p": (1,),
    "top_logprobs": (0,), "parallel_tool_calls": (True,), "tool_choice": ("auto",), "truncation": ("disabled",),
    "text.format.type": ("text",),
}  # fmt: skip
# Paths whose value is nowhere, with the reason.
SAME: dict[str, str] = {
    "messages[].tool_calls[].id": "pairs a call with its result; both get one id, or stand in one order",
    "messages[].tool_calls[].index": "left by clients that join a stream: the place in the list",
    "messages[].tool_calls[].type": "every call is one of a function",
    "messages[].tool_call_id": "see messages[].tool_calls[].id",
    "messages[].name": "of a tool's result: the name of its call",
    "messages[].content[].type": "the kind of a part is its place in the native body",
    "messages[].content[].file.filename": "the kind of a file; formats without a place for names have no use of it",
    "messages[].content[].image_url.detail": "auto",
    "messages[].content[].input_audio.format": "the media type of the data",
    "tools[].type": "every tool is a function",
    "response_format.type": "json_schema: where the schema stands; json_object: a mode, or recorded as told",
    "response_format.json_schema.name": "labels a schema; no model sees it",
    "response_format.json_schema.strict": "false is the default, and a schema that is sent is enforced",
    "input[].type": "the kind of an item is its place in the native body",
    "input[].id": "labels an item; no model sees it",
    "input[].status": "of an item that has ended",
    "input[].call_id": "see messages[].tool_calls[].id",
    "input[].content[].type": "the kind of a part is its place in the native body",
}
# Paths whose value stands in the native body in other words.
MAPPED = frozenset(
    {
        *("messages[].role", "input[].role", "tool_choice", "tool_choice.type", "function_call", "parallel_tool_calls"),
        *("reasoning_effort", "reasoning.effort", "reasoning.summary", "user", "safety_identifier", "stop"),
        *("messages[].content[].image_url.detail", "tools[].function.strict", "tools[].strict", "logprobs"),
        *("messages[].content[].cache_control.type", "web_search_options", "web_search_options.search_context_size"),
        *("modalities[]", "response_format.json_schema.strict", "messages[].cache_control.type"),
    }
)


def silent(lane: Lane, line: Line) -> list[str]:
    """Return the paths of members that are nowhere, neither with losses allowed nor without."""
    found: dict[str, None] = {}
    for drop in (False, True):
        try:
            made = translated(lane, line, drop_params=drop)
        except LineRejected:
            continue
        found |= dict.fromkeys(_silent(lane, line, made, drop=drop))
    return list(found)


def _silent(lane: Lane, line: Line, made: Translated, *, drop: bool) -> Iterator[str]:
    native = json.loads(made.body)
    texts, numbers = _values(native)
    names = {name.partition("=")[0] for name in made.dropped}
    for path, value in _leaves(line.body):
        name = _name(path)
        if _says_nothing(name, value) or _recorded(name, names) or _stands(value, texts, numbers):
            continue
        if name in MAPPED and _matters(lane, line, path, made, drop=drop):
            continue
        if name not in SAME:
            yield name


def _leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*path, number))
    else:
        yield path, value


def _name(path: Path) -> str:
    name = "".join("[]" if isinstance(each, int) else f".{each}" for each in path)
    return name.removeprefix(".")


def _says_nothing(name: str, value: object) -> bool:
    if name == "web_search_options":
        return False
    return value is None or (isinstance(value, str | list | dict) and not value) or _is_default(name, value)


def _is_default(name: str, value: object) -> bool:
    return any(type(value) in (type(each), float) and value == each for each in _DEFAULTS.get(name, ()))


def _recorded(name: str, names: set[str]) -> bool:
    """Whether a loss is this member, what holds it, or what it holds."""
    return any(name == each or name.startswith((f"{each}.", f"{each}[")) for each in names)


def _values(native: object) -> tuple[str, set[float]]:
    """Return all texts of a native body, joined, and all its numbers."""
    texts, numbers = [], set()
    for path, value in _leaves(native):
        texts += [str(each) for each in path]
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers.add(float(value))
    return "\x00".join(texts), numbers


def _stands(value: object, texts: str, numbers: set[float]) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return float(value) in numbers
    if not isinstance(value, str):
        return False
    found = _DATA.fullmatch(value)
    if found:
        value = found[1]
    return value in texts or _within(value, texts)


def _within(value: str, texts: str) -> bool:
    """Whether a text of JSON, such as arguments of a call, stands there as JSON."""
    try:
        given = json.loads(value)
    except ValueError:
        return False
    if given == {}:
        return True
    leaves = [leaf for _, leaf in _leaves(given)]
    return isinstance(given, dict) and all(not isinstance(leaf, str) or leaf in texts for leaf in leaves)


def _matters(lane: Lane, line: Line, path: Path, made: Translated, *, drop: bool) -> bool:
    """Whether the native body, or what is recorded, is another one without the member."""
    body: Json = json.loads(json.dumps(line.body))
    holder: Any = body
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    try:
        without = translated(lane, line._replace(body=body), drop_params=drop)
    except LineRejected:
        return True  # it was needed
    return (without.body, without.dropped) != (made.body, made.dropped)
