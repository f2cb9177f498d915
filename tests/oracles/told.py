"""What ours asks for in words where it cannot be enforced: taken out again, so that the rest can be compared."""

from __future__ import annotations

import re

from proxy_plugin.providers.formats.losses import TOLD
from proxy_plugin.providers.formats.openai.chat import JSON_ONLY, SCHEMA_ONLY
from tests.oracles.meaning import Json

# A schema is one line of JSON behind its words.
_WORDS = rf"(?:{re.escape(JSON_ONLY)}|{re.escape(SCHEMA_ONLY)}[^\n]*?)"
_TURNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"<\|start_header_id\|>system<\|end_header_id\|>\n\n{_WORDS}<\|eot_id\|>",
        rf"<\|header_start\|>system<\|header_end\|>\n\n{_WORDS}<\|eot\|>",
        rf"(?<=\[INST\] ){_WORDS}\n\n",
        rf"(?:\n\n)?{_WORDS}(?=\n|<\||<｜|\Z)",
    )
)


def untold(native: Json, dropped: tuple[str, ...]) -> tuple[Json, tuple[str, ...]]:
    """Return a body without our instruction, and its losses as if there were none."""
    ending = f"={TOLD}"
    if not any(name.endswith(ending) for name in dropped):
        return native, dropped
    bare = _without(native)
    assert isinstance(bare, dict)
    return bare, tuple(name.removesuffix(ending) for name in dropped)


def _without(value: object) -> object:
    if isinstance(value, str):
        for turn in _TURNS:
            value = turn.sub("", value)
        return value
    if isinstance(value, list):
        return [found for given in value if not _is_bare(given, found := _without(given))]
    if isinstance(value, dict):
        bare = {key: _without(inner) for key, inner in value.items()}
        return {key: inner for key, inner in bare.items() if inner or not value[key]}
    return value


def _is_bare(given: object, found: object) -> bool:
    """Whether nothing but a label is left of a block or a message."""
    return found != given and isinstance(found, dict) and found.keys() <= {"type", "role"}
