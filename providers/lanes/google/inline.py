"""Results that stand in the job itself, as lines like those of a file: a tool of `apart`.

Source: types of google-genai 3.6.1: `inlinedResponses.inlinedResponses[]`, and `inlinedEmbedContentResponses` for
embeddings, each with the `metadata` of its request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from proxy_plugin.providers.apart import Cut, TooMuch
from proxy_plugin.providers.formats.members import pieces

NAMES = ("inlinedResponses", "inlinedEmbedContentResponses")
MOST = 32 << 20  # bytes of a job: its requests have 20 MB at most


def rows(source: Path, more: Mapping[str, str]) -> Iterator[bytes]:  # noqa: ARG001 - they need no more
    """Yield the results of a job. Raises Cut or TooMuch."""
    if source.stat().st_size > MOST:
        raise TooMuch
    try:
        found = _results(source.read_bytes())
        yield from (_on_one_line(bytes(each)) for each in msgspec.json.decode(found, type=list[msgspec.Raw]))
    except msgspec.DecodeError:  # halves of characters
        yield from (json.dumps(each).encode() for each in json.loads(found))
    except ValueError:
        raise Cut from None


def _results(job: bytes) -> bytes:
    told = pieces(job)
    for place in (pieces(told.get("metadata", b"null")).get("output", b"null"), told.get("response", b"null")):
        for name in NAMES:
            inner = pieces(pieces(place).get(name, b"null")).get("inlinedResponses", b"null")
            if inner.startswith(b"["):
                return inner
    return b"[]"


def _on_one_line(row: bytes) -> bytes:
    return row.replace(b"\n", b" ").replace(b"\r", b" ")
