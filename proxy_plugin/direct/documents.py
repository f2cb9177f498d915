"""The records of a part that have no row yet, as its document has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

_READ_BYTES = 256 * 1024
_BODY = b',"body":'
_BYTES_EACH = 4  # of a token, about
_ASKED_TOKENS = re.compile(rb'"max_(?:completion_|output_)?tokens"\s*:\s*(\d{1,7})')
_USED_TOKENS = re.compile(rb'(?<!\\)"total_tokens"\s*:\s*(\d{1,9})')


class DocumentLine(NamedTuple):
    """One line of the document, `n` counts them from 0."""

    n: int
    native_id: str
    endpoint: str
    body: bytes


class _Head(msgspec.Struct):
    custom_id: str
    url: str = ""


def records(path: Path, has: Callable[[int], bool], endpoint: str) -> Iterator[DocumentLine]:
    """Yield the records that `has` does not know. The last member of each is `body`, which is taken as it stands."""
    with path.open("rb", buffering=_READ_BYTES) as stream:
        for n, line in enumerate(stream):
            if has(n) or not line.strip():
                continue
            yield record_in(line.rstrip(), endpoint, n)


def record_in(line: bytes, endpoint: str, n: int = 0) -> DocumentLine:
    """Return what a line holds, without its newline."""
    head, _, body = line.partition(_BODY)
    named = msgspec.json.decode(head + b"}", type=_Head)
    return DocumentLine(n, named.custom_id, named.url or endpoint, body[:-1])


def likely_tokens(body: bytes) -> int:
    """Return how many tokens a call will about use: what is sent, and the longest answer that it asks for."""
    asked = _ASKED_TOKENS.search(body)
    return len(body) // _BYTES_EACH + (int(asked[1]) if asked else 0)


def used_tokens(answer: bytes) -> int | None:
    """Return how many tokens an answer says that its call has used."""
    found = _USED_TOKENS.findall(answer)
    return int(found[-1]) if found else None
