"""What a later step says of a chat body, in the words of the Responses body that it was made of.

A loss inside of `input` names its place there: `messages[2].content[0].image_url.url` of a chat is
`input[3].content[0].image_url`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.formats.openai.responses_items import places

_PARAMETERS = (
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("max_completion_tokens", "max_output_tokens"),
    ("reasoning_effort", "reasoning.effort"),
    ("reasoning_summary", "reasoning.summary"),
    ("verbosity", "text.verbosity"),
    ("logprobs", "include"),
    ("web_search_options", "tools[]"),
)
_TOOL = re.compile(r"^(tools\[\d*\])\.function")
_INSIDE = (  # of an item or a part: what a chat wraps stands beside the type there
    (re.compile(r"\.tool_calls\[\d*\](?:\.function)?"), ""),
    (re.compile(r"^\.function(?=\.|$)"), ""),
    (re.compile(r"\.images(?:\[\d*\]\.image_url\.url)?"), ".result"),
    (re.compile(r"^\.image_url\.url"), ".result"),
    (re.compile(r"(?<=\])\.image_url\.url"), ".image_url"),
    (re.compile(r"(?<=\])\.image_url\.detail"), ".detail"),
    (re.compile(r"(?<=\])\.file\.(?=file)"), "."),
    (re.compile(r"\.tool_call_id"), ".call_id"),
)
_NOWHERE: Mapping[str, str] = {}


def own_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return chat parameters as a later step has dropped them: places without numbers, a value of ours behind `=`."""
    return tuple(_own(name, _NOWHERE) for name in names)


def own_refusal(error: LineRejected, body: bytes) -> LineRejected:
    """Return a later step's refusal under the name that the caller used; `body` is the Responses body."""
    if not any(_own(param, _NOWHERE) != param for param in error.params):
        return error
    where = _places(body) if any(param.startswith("messages") for param in error.params) else _NOWHERE
    own = tuple(_own(param, where) for param in error.params)
    message = error.message
    for param, word in zip(error.params, own, strict=True):
        message = message.replace(f"{param}: ", f"{word}: ", 1)
    return LineRejected(message, code=error.code, param=own[0], params=own)


def _places(body: bytes) -> Mapping[str, str]:
    given = read(body)
    return places(given.get("input"), given.get("instructions")) if isinstance(given, dict) else _NOWHERE


def _own(name: str, where: Mapping[str, str]) -> str:
    path, equals, value = name.partition("=")
    return f"{_own_path(path, where)}{equals}{value}"


def _own_path(path: str, where: Mapping[str, str]) -> str:
    if path.startswith("messages"):
        return _own_place(path, where)
    for word, own in _PARAMETERS:
        if path == word or path.startswith((f"{word}.", f"{word}[")):
            return own + path[len(word) :]
    return _TOOL.sub(r"\1", path)


def _own_place(path: str, where: Mapping[str, str]) -> str:
    known = [place for place in where if path == place or path.startswith((f"{place}.", f"{place}["))]
    if known:
        place = max(known, key=len)
        start, rest = where[place], path[len(place) :]
    else:
        start, rest = "input" + ("[]" if path.startswith("messages[]") else ""), path.partition("]")[2]
    for pattern, own in _INSIDE:
        rest = pattern.sub(own, rest)
    return start + rest
