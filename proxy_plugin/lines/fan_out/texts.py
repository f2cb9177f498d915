"""JSON objects and lists as their parts, whose texts keep every byte: long numbers and halves of emoji included."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from proxy_plugin.ground.surrogates import marked, unmarked

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_entries = msgspec.json.Decoder(list[Raw]).decode
_ODD = (msgspec.MsgspecError, UnicodeDecodeError)


def members(text: bytes) -> dict[str, bytes]:
    """Return the members of a JSON object. Raises ValueError for anything else."""
    try:
        return {name: bytes(value) for name, value in _members(text).items()}
    except _ODD:
        pass
    try:  # msgspec refuses an escaped half of a surrogate pair even in a value that it only steps over
        return {name: unmarked(bytes(value)) for name, value in _members(marked(text)).items()}
    except _ODD:
        raise ValueError("not an object") from None


def entries(text: bytes) -> list[bytes]:
    """Return the entries of a JSON list. Raises ValueError for anything else."""
    try:
        return [bytes(value) for value in _entries(text)]
    except _ODD:
        pass
    try:
        return [unmarked(bytes(value)) for value in _entries(marked(text))]
    except _ODD:
        raise ValueError("not a list") from None


def value(text: bytes) -> Any:
    """Return what a JSON text says. Raises ValueError."""
    try:
        return msgspec.json.decode(text)
    except _ODD:
        return json.loads(text)


def object_of(parts: Mapping[str, bytes]) -> bytes:
    """Return the JSON object of these members."""
    return b"{%s}" % b",".join(b"%s:%s" % (msgspec.json.encode(name), text) for name, text in parts.items())


def list_of(parts: Iterable[bytes]) -> bytes:
    """Return the JSON list of these entries."""
    return b"[%s]" % b",".join(parts)
