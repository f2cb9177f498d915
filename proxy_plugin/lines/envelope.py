"""One line of a batch input file: its envelope, with the id and the body kept as the exact bytes of the upload.

Two ways through a line. The quick one lets msgspec check the whole syntax and pick out the fields (2 us for 1 KB).
Whatever it refuses is examined a second time, slowly, and either found good after all or refused with a reason that
tells the remedy and never quotes the line. Fault codes and params are those of OpenAI's batch validation
(`batch.errors`, public live captures of 2026-09-02); the ones marked "ours" below have no counterpart there.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from typing import Literal, NoReturn

import msgspec
from msgspec import UNSET, Raw, UnsetType

from proxy_plugin.ground.surrogates import marked, unmarked

MAX_NESTING = 200  # levels, the envelope's own included; orjson cannot write 255
METHOD = "POST"

_PIECE_BYTES = 64 * 1024
_WHITESPACE = b" \t\r\n"
_STEPS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
_NOT_BRACKETS = bytes(byte for byte in range(256) if not _STEPS[byte])
_SYNTAX = re.compile(r"JSON is malformed: (?P<reason>.+) \(byte (?P<at>\d+)\)")
_NOT_NUMBERS = (b"NaN", b"Infinity")


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A valid line. `custom_id_json` and `body` are JSON texts, byte for byte as uploaded, escapes included."""

    custom_id: str  # may hold lone surrogates, as the upload may
    custom_id_json: bytes
    url: str
    method: str
    body: bytes
    model: str
    stream: bool  # always False: a line that streams is refused


class EnvelopeFault(Exception):
    """The line breaks the rules. `code` and `param` as in a batch's `errors`; `message` holds no user content."""

    def __init__(self, code: str, message: str, param: str | None) -> None:
        super().__init__(code, message, param)
        self.code, self.message, self.param = code, message, param

    def __str__(self) -> str:
        return self.message


class _Line(msgspec.Struct, gc=False):
    custom_id: Raw
    method: Literal["POST"]
    url: str
    body: Raw


class _Body(msgspec.Struct, gc=False):
    model: str
    stream: bool | None = None


class _AnyLine(msgspec.Struct, gc=False):
    custom_id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    url: Raw | UnsetType = UNSET
    body: Raw | UnsetType = UNSET


class _AnyBody(msgspec.Struct, gc=False):
    model: Raw | UnsetType = UNSET
    stream: Raw | UnsetType = UNSET


_line = msgspec.json.Decoder(_Line).decode
_body = msgspec.json.Decoder(_Body).decode
_any_line = msgspec.json.Decoder(_AnyLine).decode
_any_body = msgspec.json.Decoder(_AnyBody).decode


def decode_envelope(line: bytes) -> Envelope:
    """Decode one line, given without its newline. Where a key occurs twice the last one counts, as in JSON parsers.

    Raises EnvelopeFault with one of: invalid_json_line, missing_required_parameter, invalid_type (ours),
    invalid_method (ours), invalid_url, invalid_request (no model), streaming_unsupported.
    """
    try:
        fields = _line(line)
        facts = _body(fields.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _examine(line)
    id_json = bytes(fields.custom_id)
    plain = id_json[:1] == b'"' and len(id_json) > 2 and b"\\" not in id_json
    if not plain or facts.stream or not facts.model or not _is_utf8(line) or _nests_too_deep(line):
        return _examine(line)
    return Envelope(id_json[1:-1].decode(), id_json, fields.url, METHOD, bytes(fields.body), facts.model, False)


def _examine(line: bytes) -> Envelope:
    """Return what the quick way could not decide, or raise the fault by name. Each step trusts those before it."""
    _check_encoding(line)
    if not line.lstrip(_WHITESPACE).startswith(b"{"):
        _refuse_syntax("The line is not a JSON object; write one request object per line.")
    if _nests_too_deep(line):
        _refuse_syntax(f"The line nests objects and arrays deeper than {MAX_NESTING} levels; flatten the request.")
    fields = _fields(line)
    id_json, custom_id = _custom_id(fields.get("custom_id"))
    _check_method(fields.get("method"))
    url = _url(fields.get("url"))
    body = _object(fields.get("body"))
    facts = _raw_fields(_any_body(marked(body)))
    model = _model(facts.get("model"))
    if facts.get("stream", b"null") not in {b"false", b"null"}:
        remedy = "A batch cannot stream; remove body.stream or set it to false."
        raise EnvelopeFault("streaming_unsupported", remedy, "body.stream")
    return Envelope(custom_id, id_json, url, METHOD, body, model, False)


def _refuse_syntax(message: str) -> NoReturn:
    raise EnvelopeFault("invalid_json_line", message, None)


def _missing(field: str) -> EnvelopeFault:
    message = f"The line has no {field}; every request needs custom_id, method, url and body."
    return EnvelopeFault("missing_required_parameter", message, field)


def _custom_id(text: bytes | None) -> tuple[bytes, str]:
    if text is None:
        raise _missing("custom_id")
    if not text.startswith(b'"') or text == b'""':
        raise EnvelopeFault("invalid_type", "custom_id must be a non-empty string.", "custom_id")
    return text, json.loads(text)


def _check_method(text: bytes | None) -> None:
    if text is None:
        raise _missing("method")
    if not text.startswith(b'"') or json.loads(text) != METHOD:
        raise EnvelopeFault("invalid_method", f'method must be "{METHOD}", in capital letters.', "method")


def _url(text: bytes | None) -> str:
    if text is None:
        raise _missing("url")
    url = _text(text)
    if url is None:
        raise EnvelopeFault("invalid_url", "url must be a string: the endpoint of the batch, such as /v1/...", "url")
    return url


def _object(text: bytes | None) -> bytes:
    if text is None:
        raise _missing("body")
    if not text.startswith(b"{"):
        message = "body must be an object: the parameters of the request, not a string that holds them."
        raise EnvelopeFault("invalid_type", message, "body")
    return text


def _model(text: bytes | None) -> str:
    model = None if text is None else _text(text)
    if not model:
        raise EnvelopeFault("invalid_request", "body.model must name the model, as a non-empty string.", "body.model")
    return model


def _text(text: bytes) -> str | None:
    """Return a JSON string's value; None for other types and for strings that no UTF-8 text can hold."""
    if not text.startswith(b'"'):
        return None
    value: str = json.loads(text)
    return None if any("\ud800" <= each <= "\udfff" for each in value) else value


def _fields(line: bytes) -> dict[str, bytes]:
    try:
        return _raw_fields(_any_line(marked(line)))
    except msgspec.DecodeError as error:
        _refuse_syntax(_syntax_message(line, str(error)))


def _raw_fields(fields: _AnyLine | _AnyBody) -> dict[str, bytes]:
    """Return the JSON text of each field that is present, marks undone."""
    values = ((name, getattr(fields, name)) for name in fields.__struct_fields__)
    return {name: unmarked(bytes(value)) for name, value in values if value is not UNSET}


def _syntax_message(line: bytes, error: str) -> str:
    found = _SYNTAX.fullmatch(error)
    if found is None:
        return "The line ends in the middle of its JSON; write each request on one line, without line breaks."
    at = int(found["at"])
    for word in _NOT_NUMBERS:
        if line.startswith(word, at):
            return f"The line holds {word.decode()} at byte {at + 1}, which is not JSON; use a number or null."
    return f"The line is not valid JSON: {found['reason']} at byte {at + 1}; write one request object per line."


def _check_encoding(line: bytes) -> None:
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        _refuse_syntax("The text is UTF-16; save the file as UTF-8 and upload it again.")
    if b"\0" in line:
        _refuse_syntax("The line holds a NUL byte, as UTF-16 files do; save the file as UTF-8 and upload it again.")
    if line.startswith(codecs.BOM_UTF8):
        _refuse_syntax("The line starts with a byte-order mark, as when files are joined; remove the mark.")
    if not _is_utf8(line):
        _refuse_syntax("The line is not valid UTF-8; save the file as UTF-8 and upload it again.")


def _is_utf8(line: bytes) -> bool:
    """Decode in pieces: one emoji in 16 MB of ASCII would make a string of 64 MB."""
    if line.isascii():
        return True
    try:
        if len(line) <= _PIECE_BYTES:
            line.decode()
        else:
            deque(codecs.iterdecode(_pieces(line), "utf-8"), maxlen=0)
    except UnicodeDecodeError:
        return False
    return True


def _nests_too_deep(line: bytes) -> bool:
    if line.count(b"[") + line.count(b"{") <= MAX_NESTING:
        return False
    depth = 0
    for piece in _outside_strings(line):
        *before, depth = accumulate(map(_STEPS.__getitem__, piece.translate(None, _NOT_BRACKETS)), initial=depth)
        if max(before, default=depth) > MAX_NESTING or depth > MAX_NESTING:
            return True
    return False


def _outside_strings(line: bytes) -> Iterator[bytes]:
    """Yield the text between the strings, in pieces: linear in time and constant in memory for any input."""
    unescaped = line.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in line else line
    inside = 0
    for piece in _pieces(unescaped):
        runs = piece.split(b'"')
        yield b"".join(runs[inside::2])
        inside ^= (len(runs) - 1) & 1


def _pieces(text: bytes) -> Iterator[bytes]:
    for start in range(0, len(text), _PIECE_BYTES):
        yield text[start : start + _PIECE_BYTES]
