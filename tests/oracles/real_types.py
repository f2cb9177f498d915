"""Pictures that are of another type than they say: ours sends and records the real one, litellm what is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy_plugin.providers.formats.file_types import type_of
from tests.oracles.meaning import Json, Pair

_RECORDED = ".image_url.url="


def real_types(pair: Pair) -> None:
    """Take the type that ours recorded for what the data URI says, wherever a format names it."""
    told = [name.partition("url=")[2] for name in pair.dropped if _RECORDED in name]
    for block in _objects(pair.theirs) if told else ():
        _retype(block, told)


def _retype(block: Json, told: list[str]) -> None:
    for key, place in (("media_type", "data"), ("mimeType", "data"), ("format", "source"), ("url", "url")):
        held = block.get(place) if key in block else None
        data = held.get("bytes") if isinstance(held, dict) else held
        found = type_of(data.rpartition(",")[2]) if isinstance(data, str) else None
        if found in told and found is not None:
            block[key] = _named(found, key, str(data))


def _named(media: str, key: str, data: str) -> str:
    if key == "url":
        return f"data:{media};base64,{data.rpartition(',')[2]}"
    return media.removeprefix("image/") if key == "format" else media


def _objects(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)
