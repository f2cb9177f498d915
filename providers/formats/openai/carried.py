"""OpenAI bodies and answers that a lane hands on as the bytes they are, in lines and rows of its own shape.

Bodies are never decoded and written again: integers beyond 64 bits, escapes and halves of characters survive only as
bytes. Rows are read with the standard library, which takes what msgspec refuses (`members`); they are written by
`formats.rows`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.members import may_name, members, read_slowly


class Native(NamedTuple):
    """A native row: whose it is, its members decoded, and as they are written."""

    custom_id: str
    fields: Mapping[str, Any]
    written: Mapping[str, bytes]


def edited(body: bytes, changes: Mapping[str, str | None]) -> bytes:
    """Return a JSON object with other texts for some members, None: without them; all else is as it was.

    Raises LineRejected for what is no object.
    """
    if not body.lstrip().startswith(b"{"):
        raise LineRejected("body must be a JSON object", code="invalid_type", param="body")
    kept = {key: write(value) for key, value in changes.items() if value is not None}
    own = [(key, body[start:end]) for key, start, end in members(body) if key not in changes]
    pairs = [*kept.items(), *own]
    inside = b",".join(write(key) + b":" + value for key, value in pairs)
    return (b"{" + inside + b"}").replace(b"\n", b" ").replace(b"\r", b" ")


def require_one_answer(body: bytes, title: str) -> None:
    """Raise LineRejected for a body that asks for several answers with `n`."""
    if any(value not in (b"1", b"null") for value in _values(body, "n")):
        message = f"n: {title} gives one answer to a request; repeat the line under other custom_ids."
        raise LineRejected(message, param="n")


def require_one_prompt(body: bytes, title: str) -> None:
    """Raise LineRejected for a body of `/v1/completions` with a list of several prompts."""
    for value in _values(body, "prompt"):
        texts = json.loads(value) if value.startswith(b"[") else []
        if len(texts) > 1 and all(isinstance(text, str) for text in texts):
            message = f"prompt: {title} takes one prompt a request; send a line for each."
            raise LineRejected(message, code="unsupported_value", param="prompt")


def _values(body: bytes, name: str) -> list[bytes]:
    """Return what a member has as its value, which may be written twice."""
    if not may_name(body, name):
        return []
    return [body[start:end] for key, start, end in members(body) if key == name]


def record(native_id: str, body: bytes) -> bytes:
    """Return `{"custom_id", "body"}` on one line."""
    return b'{"custom_id":' + write(native_id) + b',"body":' + body + b"}"


def read_native(line: bytes) -> Native:
    """Read a row. Raises ValueError: corrupt."""
    return Native(*read_slowly(line, "result row"))


def inner(written: bytes) -> dict[str, bytes]:
    """Return the members of an object as they are written; {} for anything else."""
    return {key: written[start:end] for key, start, end in members(written)} if written.startswith(b"{") else {}
