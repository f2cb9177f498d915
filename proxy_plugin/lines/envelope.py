"""One line of a batch input file: its envelope, with the id and the body kept as the exact bytes of the upload.

Two ways through a line. The quick one lets msgspec check the whole syntax and pick out the fields (2 us for 1 KB); of
a line whose envelope stands before the body, as in every example of OpenAI's, only the body is parsed.
Whatever it refuses is examined a second time, slowly, and either found good after all or refused with a reason that
tells the remedy and never quotes the line. Fault codes, params and sentences are those of OpenAI's batch validation
(`batch.errors`; public live captures of 2026-09-02, llama-stack's batch tests of 2025-08-07); the ones marked "ours"
below have no counterpart there that is known.
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

from proxy_plugin.ground import sentences
from proxy_plugin.ground.sentences import Said
from proxy_plugin.ground.surrogates import marked, unmarked

MAX_NESTING = 200  # levels, the envelope's own included; orjson cannot write 255
METHOD = "POST"
STREAMING = "Streaming is not supported in the Batch API."
OTHER_URL = "The URL provided for this request does not match the batch endpoint."
UNPARSED = "This line is not parseable as valid JSON."
CHAT = "/v1/chat/completions"
NEEDED = {CHAT: "messages"}  # what OpenAI's validation looks for in a body beside the model, by url

_PIECE_BYTES = 64 * 1024
_WHITESPACE = b" \t\r\n"
_END = b"}}"  # of the body and of the line
_STEPS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
_NOT_BRACKETS = bytes(byte for byte in range(256) if not _STEPS[byte])
_SYNTAX = re.compile(r"JSON is malformed: (?P<reason>.+) \(byte (?P<at>\d+)\)")
_NOT_NUMBERS = (b"NaN", b"Infinity")
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}  # whatever else a line holds is its user's
_NUMBER_BYTES = 400  # of a number, to tell whether it is a whole one
_KINDS: dict[bytes, object] = {b'"': "", b"[": [], b"{": {}, b"t": True, b"f": False}


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A valid line. `custom_id_json` and `body` are JSON texts, byte for byte as uploaded, escapes included."""

    custom_id: str  # may hold lone surrogates, as the upload may
    custom_id_json: bytes
    url: str
    method: str
    body: bytes
    model: str
    stream: bool  # always False: a line that streams is refused
    lacks: bool = False  # what NEEDED names is not in the body; a config may add it, so it is no fault on its own


class EnvelopeFault(Exception):
    """The line breaks the rules. `code` and `param` as in a batch's `errors`; `message` holds no user content.

    `lacking` is the url of a body that, beside this fault, lacks what NEEDED names.
    """

    def __init__(self, code: str, message: str, param: str | None, lacking: str | None = None) -> None:
        super().__init__(code, message, param, lacking)
        self.code, self.message, self.param, self.lacking = code, message, param, lacking

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
    messages: Raw | UnsetType = UNSET


class _AnyLine(msgspec.Struct, gc=False):
    custom_id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    url: Raw | UnsetType = UNSET
    body: Raw | UnsetType = UNSET


class _AnyBody(msgspec.Struct, gc=False):
    model: Raw | UnsetType = UNSET
    stream: Raw | UnsetType = UNSET
    messages: Raw | UnsetType = UNSET


# In this order and without escapes; what follows must then be the body and one bracket.
_HEAD = re.compile(
    rb'\{"custom_id": ?("[^"\\\x00-\x1f]+"), ?"method": ?"POST", ?"url": ?"([^"\\\x00-\x1f]*)", ?"body": ?(?=\{)'
)
_line = msgspec.json.Decoder(_Line).decode
_body = msgspec.json.Decoder(_Body).decode
_any_line = msgspec.json.Decoder(_AnyLine).decode
_any_body = msgspec.json.Decoder(_AnyBody).decode


def decode_envelope(line: bytes) -> Envelope:
    """Decode one line, given without its newline. Where a key occurs twice the last one counts, as in JSON parsers.

    Raises EnvelopeFault with one of: invalid_json_line, missing_required_parameter, invalid_type, empty_string and
    invalid_value (ours: of method), invalid_request (no model), streaming_unsupported.
    """
    found = _quickly(line)
    if found is None or not _is_utf8(line) or _nests_too_deep(line):
        return _examine(line)
    return found


def decode_scanned(line: bytes) -> Envelope:
    """Decode a line of a file whose scan found no fault: of encoding and nesting it is known that they are right."""
    return _quickly(line) or _examine(line)


def _quickly(line: bytes) -> Envelope | None:
    """Return what an ordinary line says, but for its encoding and nesting; None: it is to be examined."""
    head = _HEAD.match(line)
    try:
        if head is None or not line.endswith(_END):
            return _with_fields(_line(line))
        id_json, body = head[1], line[head.end() : -1]
        facts = _body(body)
        url, custom_id = head[2].decode(), id_json[1:-1].decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if facts.stream or not facts.model:
        return None
    lacks = facts.messages is UNSET and url == CHAT
    return Envelope(custom_id, id_json, url, METHOD, body, facts.model, False, lacks)


def _with_fields(fields: _Line) -> Envelope | None:
    facts, id_json = _body(fields.body), bytes(fields.custom_id)
    plain = id_json[:1] == b'"' and len(id_json) > 2 and b"\\" not in id_json
    if not plain or facts.stream or not facts.model:
        return None
    lacks = facts.messages is UNSET and fields.url == CHAT
    return Envelope(id_json[1:-1].decode(), id_json, fields.url, METHOD, bytes(fields.body), facts.model, False, lacks)


def _examine(line: bytes) -> Envelope:
    """Return what the quick way could not decide, or raise the fault by name. Each step trusts those before it."""
    _check_encoding(line)
    if not line.lstrip(_WHITESPACE).startswith(b"{"):
        raise _no_object(line)
    if _nests_too_deep(line):
        message = f"The line nests objects and arrays deeper than {MAX_NESTING} levels; flatten the request."
        raise EnvelopeFault("invalid_json_line", message, None)
    fields = _fields(line)
    id_json, custom_id = _custom_id(fields.get("custom_id"))
    _check_method(fields.get("method"))
    url = _url(fields.get("url"))
    body = _object(fields.get("body"))
    facts = _raw_fields(_any_body(marked(body)))
    lacks = url in NEEDED and NEEDED[url] not in facts
    model = _model(facts.get("model"), url if lacks else None)
    if facts.get("stream", b"null") not in {b"false", b"null"}:
        about = "Chat Completions: " if url == CHAT else ""  # what stands before it elsewhere is UNVERIFIED
        raise EnvelopeFault("streaming_unsupported", f"{about}{STREAMING}", "body.stream", url if lacks else None)
    return Envelope(custom_id, id_json, url, METHOD, body, model, False, lacks)


def lacking(url: str) -> EnvelopeFault:
    """Return the fault of a body that lacks what NEEDED names for this url."""
    field = NEEDED[url]
    return EnvelopeFault("invalid_request", f"{field.capitalize()} parameter is required.", f"body.{field}")


def _no_object(line: bytes) -> EnvelopeFault:
    try:
        msgspec.json.decode(line, type=Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return EnvelopeFault("invalid_json_line", f"{UNPARSED} Write one request object per line.", None)
    return EnvelopeFault("invalid_json_line", "The line is not a JSON object; write one request object per line.", None)


def _refuse_syntax(message: str) -> NoReturn:
    raise EnvelopeFault("invalid_json_line", f"{UNPARSED} {message}", None)


def _fault(said: Said) -> EnvelopeFault:
    return EnvelopeFault(*said)


def _custom_id(text: bytes | None) -> tuple[bytes, str]:
    if text is None:
        raise _fault(sentences.missing("custom_id"))
    if text == b'""':
        raise _fault(sentences.empty_string("custom_id"))
    if not text.startswith(b'"'):
        raise _fault(sentences.wrong_type("custom_id", sentences.STRING, value_of(text)))
    return text, json.loads(text)


def _check_method(text: bytes | None) -> None:
    if text is None:
        raise _fault(sentences.missing("method"))
    if not text.startswith(b'"'):
        raise _fault(sentences.wrong_type("method", sentences.STRING, value_of(text)))
    method = json.loads(text)
    if method != METHOD:  # UNVERIFIED: no capture of OpenAI's has another method
        shown = method if method.upper() in _METHODS else None
        raise _fault(sentences.wrong_value("method", shown, [METHOD]))


def _url(text: bytes | None) -> str:
    if text is None:
        raise _fault(sentences.missing("url"))
    if not text.startswith(b'"'):
        raise _fault(sentences.wrong_type("url", sentences.STRING, value_of(text)))
    url = _text(text)
    if url is None:
        raise EnvelopeFault("invalid_url", OTHER_URL, "url")
    return url


def _object(text: bytes | None) -> bytes:
    if text is None:
        raise _fault(sentences.missing("body"))
    if not text.startswith(b"{"):
        raise _fault(sentences.wrong_type("body", sentences.OBJECT, value_of(text)))
    return text


def _model(text: bytes | None, lacking_for: str | None) -> str:
    if text is not None and not text.startswith((b'"', b"null")):
        said = sentences.wrong_type("body.model", sentences.STRING, value_of(text))
        raise EnvelopeFault(*said, lacking_for)
    model = None if text is None else _text(text)
    if not model:
        raise EnvelopeFault("invalid_request", "Model parameter is required.", "body.model", lacking_for)
    return model


def value_of(text: bytes) -> object:
    """Return a value of the type that a JSON text has, without reading it all: a fault names the type alone."""
    if text == b"null":
        return None
    whole = 0.0 if any(mark in text[:_NUMBER_BYTES] for mark in b".eE") else 0
    return next((value for start, value in _KINDS.items() if text.startswith(start)), whole)


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
        return "It ends in the middle of its JSON; write each request on one line, without line breaks."
    at = int(found["at"])
    for word in _NOT_NUMBERS:
        if line.startswith(word, at):
            return f"It holds {word.decode()} at byte {at + 1}, which is not JSON; use a number or null."
    return f"There is: {found['reason']} at byte {at + 1}; write one request object per line."


def _check_encoding(line: bytes) -> None:
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        _refuse_syntax("It is UTF-16; save the file as UTF-8 and upload it again.")
    if b"\0" in line:
        _refuse_syntax("It holds a NUL byte, as UTF-16 files do; save the file as UTF-8 and upload it again.")
    if line.startswith(codecs.BOM_UTF8):
        _refuse_syntax("It starts with a byte-order mark, as when files are joined; remove the mark.")
    if not _is_utf8(line):
        _refuse_syntax("It is not valid UTF-8; save the file as UTF-8 and upload it again.")


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
