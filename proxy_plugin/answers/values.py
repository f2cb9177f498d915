"""A kept answer as bytes: it says whose it is and when it was given, and proves that it is whole.

    format u8 | checksum, 16 bytes | when f64, Unix seconds | length of meta u32 | meta, JSON | text, JSON

little-endian, no padding. The checksum is over the key and all that follows, so an answer under another key is none.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import NamedTuple

import msgspec

FORMAT = 1
_HEAD, _WHEN = Struct("<B16s"), Struct("<dI")


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which answer it is: the mark of the part that had it, and the model that gave it."""

    mark: str
    model: str | None = None


class Answer(NamedTuple):
    """The `response` of an OpenAI output row; `at` is when it was collected, Unix seconds."""

    at: float
    origin: Origin
    text: bytes


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Origin).decode


def packed(key: bytes, answer: Answer) -> bytes:
    """Return the bytes that are kept under a key."""
    origin = _encode(answer.origin)
    content = _WHEN.pack(answer.at, len(origin)) + origin + answer.text
    return _HEAD.pack(FORMAT, _checksum(key, content)) + content


def unpacked(key: bytes, value: bytes) -> Answer | None:
    """Return the answer; None for what `packed` has not made of this key, or not all of it."""
    if len(value) < _HEAD.size + _WHEN.size:
        return None
    kind, checksum = _HEAD.unpack_from(value)
    content = memoryview(value)[_HEAD.size :]
    if kind != FORMAT or checksum != _checksum(key, content):
        return None
    at, length = _WHEN.unpack_from(content)
    begun = _WHEN.size + length
    try:
        return Answer(at, _decode(content[_WHEN.size : begun]), bytes(content[begun:]))
    except msgspec.MsgspecError:
        return None


def _checksum(key: bytes, content: bytes | memoryview) -> bytes:
    found = hashlib.blake2b(key, digest_size=16)
    found.update(content)
    return found.digest()
