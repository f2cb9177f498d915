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

_DATA = re.compile(r"data:[^,]*;base64,(.*)", re.DOTALL | re.IGNORECASE)
_PROPERTY = re.compile(r"\.(properties|\$defs)\.[^.\[]+")
Path = tuple[str | int, ...]

# Values that ask for what happens anyway where a request has one answer, of text, and nothing is stored.
_DEFAULTS: dict[str, tuple[object, ...]] = {
    "n": (1,), "stream": (False,), "store": (False,), "logprobs": (False,), "service_tier": ("auto", "default"),
    "verbosity": ("medium",), "frequency_penalty": (0,), "presence_penalty": (0,), "temperature": (1,), "top_p": (1,),
    "top_logprobs": (0,), "parallel_tool_calls": (True,), "tool_choice": ("auto",), "truncation": ("disabled",),
    "text.format.type": ("text",), "response_format.type": ("text",), "modalities[]": ("text",),
    "repetition_penalty": (1,), "length_penalty": (1,), "min_p": (0,), "top_a": (0,), "top_k": (0, -1),
    "messages[].content[].image_url.detail": ("auto",),
}  # fmt: skip
# Paths whose value is nowhere, with the reason.
SAME: dict[str, str] = {
    "messages[].tool_calls[].id": "pairs a call with its result; both get one id, or stand in one order",
    "messages[].tool_calls[].index": "left by clients that join a stream: the place in the list",
    "messages[].tool_calls[].type": "every call is one of a function",
    "messages[].tool_call_id": "see messages[].tool_calls[].id",
    "messages[].content[].type": "the kind of a part is its place in the native body",
    "messages[].content[].file.filename": "the kind of a file; formats without a place for names have no use of it",
    "messages[].content[].input_audio.format": "the media type of the data",
    "tools[].type": "every tool is a function",
    "response_format.json_schema.name": "labels a schema; no model sees it",
    "response_format.json_schema.strict": "a schema that is sent is enforced, one that is told is recorded",
    "input[].type": "the kind of an item is its place in the native body",
    "input[].id": "labels an item; no model sees it",
    "input[].status": "of an item that has ended",
    "input[].call_id": "see messages[].tool_calls[].id",
    "input[].content[].type": "the kind of a part is its place in the native body",
    "input[].output[].type": "see input[].content[].type",
    "input[].content[].filename": "see messages[].content[].file.filename",
}
# Paths whose value stands in the native body in other words.
MAPPED = frozenset(
    {
        *("messages[].role", "input[].role", "tool_choice", "tool_choice.type", "function_call", "parallel_tool_calls"),
        *("reasoning_effort", "reasoning.effort", "reasoning.summary", "user", "safety_identifier", "stop"),
        *("messages[].content[].image_url.detail", "tools[].function.strict", "tools[].strict", "logprobs"),
        *("text.format.type", "input[].content[].detail", "input[].content[].file_data"),
        *("messages[].content[].cache_control.type", "web_search_options", "web_search_options.search_context_size"),
        *(
            "response_format.type",
            "messages[].content[].file.file_data",
            "modalities[]",
            "messages[].cache_control.type",
        ),
    }
)


# Parameters that say nothing without one of their members: these go as a whole.
_WHOLE = ("response_format", "tool_choice", "function_call", "web_search_options")


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
    stands = _Values(json.loads(made.body))
    names = {name.partition("=")[0] for name in made.dropped}
    for path, value in _leaves(line.body):
        name = _name(path)
        if _says_nothing(name, value) or _recorded(name, names) or stands.holds(path, value):
            continue
        if name in MAPPED and _matters(lane, line, path, made, drop=drop):
            continue
        if name not in SAME and not _is_of_result(line, path):
            yield name


def _is_of_result(line: Line, path: Path) -> bool:
    """Whether a member is the name of a tool's result, which its call says too."""
    return len(path) == 3 and path[-1] == "name" and line.body["messages"][path[1]]["role"] in ("tool", "function")


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
    """Return a path as losses are recorded: without numbers, and without the names of properties, which are content."""
    name = "".join("[]" if isinstance(each, int) else f".{each}" for each in path)
    return _PROPERTY.sub(r".\1", name.removeprefix("."))


def _says_nothing(name: str, value: object) -> bool:
    if name == "web_search_options":
        return value is None
    return value is None or (isinstance(value, str | list | dict) and not value) or _is_default(name, value)


def _is_default(name: str, value: object) -> bool:
    return any(type(value) in (type(each), float) and value == each for each in _DEFAULTS.get(name, ()))


def _recorded(name: str, names: set[str]) -> bool:
    """Whether a loss is this member, what holds it, or what it holds."""
    return any(name == each or name.startswith((f"{each}.", f"{each}[")) for each in names)


class _Values:
    """What stands in a native body, also inside of texts that are JSON: all texts, numbers, and named booleans."""

    def __init__(self, native: object) -> None:
        self.texts: list[str] = []
        self.numbers: set[float] = set()
        self.flags: set[tuple[str | int, bool]] = set()
        self._add(native)
        self.all = "\x00".join(self.texts)

    def _add(self, native: object) -> None:
        for path, value in _leaves(native):
            self.texts += [str(each) for each in path]
            if isinstance(value, bool):
                self.flags.add((path[-1], value))
            elif isinstance(value, int | float):
                self.numbers.add(float(value))
            elif isinstance(value, str):
                self.texts.append(value)
                if isinstance(inner := _read(value), dict):
                    self._add(inner)

    def holds(self, path: Path, value: object) -> bool:
        if isinstance(value, bool):
            return (path[-1], value) in self.flags
        if isinstance(value, int | float):
            return float(value) in self.numbers
        if not isinstance(value, str):
            return False
        found = _DATA.fullmatch(value)
        inner = None if found else _read(value)
        if (found[1] if found else value) in self.all:
            return True
        return isinstance(inner, dict) and all(
            leaf in ({}, None) or self.holds(at, leaf) for at, leaf in _leaves(inner)
        )


def _read(text: str) -> object:
    """Return the JSON in a text, also behind words that introduce it."""
    try:
        return json.loads(text[text.index("{") :])
    except ValueError:
        return None


def _matters(lane: Lane, line: Line, path: Path, made: Translated, *, drop: bool) -> bool:
    """Whether the native body, or what is recorded, is another one without the members of this name."""
    body: Json = json.loads(json.dumps(line.body))
    same = [each for each, _ in _leaves(line.body) if _name(each) == _name(path)]
    for other in [path[:1]] if path[0] in _WHOLE else same:
        holder: Any = body
        for key in other[:-1]:
            holder = holder[key]
        if isinstance(holder, dict):
            del holder[other[-1]]
    try:
        without = translated(lane, line._replace(body=body), drop_params=drop)
    except LineRejected:
        return True  # it was needed
    return (without.body, without.dropped) != (made.body, made.dropped)
