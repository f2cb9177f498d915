"""The members of a JSON object as the bytes they are written in, for lines that msgspec refuses.

Measured with msgspec 0.22: it refuses a lone surrogate escape (`"\\ud83d"`) even in a value it only skips, and answers
cut off by `max_tokens` hold such halves of emoji.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

_TOKEN = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")(\s*:\s*)?|([\[{])|[\]}]')
_SCALAR = re.compile(rb"[-0-9a-zA-Z][^\s,\]}]*")

_RAWS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LETTERS = (4, 5, 6, 7)  # the first digit of what they are in ASCII
_MODEL = re.compile(rb'"model"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')


class _Model(msgspec.Struct):
    """A body whose own `model` is a text."""

    model: str


def members(body: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield (key, start, end) for each member of a valid JSON object: its value is `body[start:end]`."""
    found = _evenly(body)
    return _tokens(body) if found is None else iter(found)


def _evenly(body: bytes) -> list[tuple[str, int, int]] | None:
    """Return the members of an object that is written as most are: 4 us a line where `_tokens` takes 20 [measured].

    No blanks at the top, or one behind each colon and comma, no escapes in keys, none of them twice. What is read is
    put together again: only where that is the same text are the places right.
    """
    try:
        given = _RAWS(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    key = next(iter(given), "")
    colon, comma = (b'": ', b", ") if body[len(key.encode()) + 4 : len(key.encode()) + 5] == b" " else (b'":', b",")
    found, texts, at = list[tuple[str, int, int]](), list[bytes | memoryview](), 1
    for key, raw in given.items():
        head, value = b'"' + key.encode() + colon, memoryview(raw)
        at += len(head)
        found.append((key, at, at + value.nbytes))
        at += value.nbytes + len(comma)
        texts += (head, value, comma)
    return found if b"".join([b"{", *texts[:-1], b"}"]) == body else None


def _tokens(body: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the members of any valid JSON object."""
    depth, key, start = 0, "", 0
    for token in _TOKEN.finditer(body):
        text, colon, opened = token.groups()
        if text is None:
            depth += 1 if opened else -1
            if depth == 1 and not opened:
                yield key, start, token.end()
        elif depth == 1 and not colon:
            yield key, *token.span(1)
        elif depth == 1:
            key, start = json.loads(text), token.end()
            if scalar := _SCALAR.match(body, start):
                yield key, *scalar.span()


def may_name(body: bytes, *names: str) -> bool:
    """Whether some member may have one of these names of letters and _: by its bytes, or by an escape that it needs."""
    if any(b'"%s"' % name.encode() in body for name in names):
        return True
    return b"\\u00" in body and any(b"\\u00%d" % row in body for row in _LETTERS)


def replace_model(body: bytes, model: str) -> bytes:
    """Return the JSON object with another `model` and every other byte as it was.

    Every top-level `model` is replaced: of two equal keys a provider may read either. Without one it becomes the first.
    """
    text, pieces, copied = msgspec.json.encode(model), [], 0
    if place := _only_model(body):
        return body[: place[0]] + text + body[place[1] :]
    for key, start, end in members(body):
        if key == "model":
            pieces += [body[copied:start], text]
            copied = end
    if pieces:
        return b"".join([*pieces, body[copied:]])
    inside = body.index(b"{") + 1
    comma = b"" if body[inside:].lstrip().startswith(b"}") else b","
    return body[:inside] + b'"model":' + text + comma + body[inside:]


def _only_model(body: bytes) -> tuple[int, int] | None:
    """Return where `model` has its value if that word is in the body once: 2 us a line, `members` takes 19 [measured].

    A quoted `model` is a whole JSON string, as quotes inside of one are escaped; an escaped spelling holds `\\u006`.
    """
    if body.count(b'"model"') != 1 or b"\\u006" in body:
        return None
    try:
        msgspec.json.decode(body, type=_Model)
    except (msgspec.DecodeError, RecursionError):
        return None
    found = _MODEL.search(body)
    return found.span(1) if found else None


def read_slowly(line: bytes, what: str) -> tuple[str, dict[str, Any], dict[str, bytes]]:
    """Read a result line: its custom_id, its members decoded, and as they are written. `what` is its name in errors.

    Raises ValueError if the standard library refuses the line too, or it has no custom_id.
    """
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    custom_id = fields.get("custom_id") if isinstance(fields, dict) else None
    if not isinstance(custom_id, str):
        raise ValueError(f"not a {what} with a custom_id")  # noqa: TRY004 - the contract's word for a corrupt line
    return custom_id, fields, {key: line[start:end] for key, start, end in members(line)}


def pieces(text: bytes) -> dict[str, bytes]:
    """Return the members of a JSON object as they are written; {} for what is no object. Raises ValueError: no JSON."""
    if text == b"null":  # a member that is not there: an error would take 2 us
        return {}
    try:
        return {key: bytes(raw) for key, raw in msgspec.json.decode(text, type=dict[str, msgspec.Raw]).items()}
    except msgspec.ValidationError:
        return {}
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        whole = isinstance(json.loads(text), dict)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return {key: text[start:end] for key, start, end in members(text)} if whole else {}
