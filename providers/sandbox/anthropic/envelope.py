"""The body of a batch create, `{"requests": [{"custom_id": ..., "params": {...}}, ...]}`, read from a file in pieces.

A body may have 256 MB, so it is never decoded as a whole: structure is found in the bytes, chunk by chunk, and one
element at a time is decoded and judged. Whatever is wrong here refuses the whole batch at once; what is wrong inside
`params` shows only in the results (reference page, "Limits", seen live 2026-09-02).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from proxy_plugin.providers.sandbox.answers import POISON, poison
from proxy_plugin.providers.sandbox.anthropic.messages import ENDPOINT

CHUNK = 256 * 1024
LONGEST_ELEMENT = 64 * 1024 * 1024  # ours: an element is decoded in one piece, and memory must have a bound

_SPACES = re.compile(rb"[ \t\r\n]*")
# Possessive: backtracking would keep a mark for every escape, gigabytes in a text of escapes.
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.DOTALL)
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_QUOTE, _OPENING, _CLOSING = ord('"'), frozenset(b"{["), frozenset(b"}]")


class EnvelopeError(ValueError):
    """The whole batch is refused with this status and message."""

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of `requests`: where its bytes are in the file, and what they say."""

    offset: int
    length: int
    custom_id: str
    params: dict[str, Any]


def elements(body: BinaryIO, most: int) -> Iterator[Element]:
    """Judge a create body element by element, to its very end. Raises `EnvelopeError`.

    Memory holds one element, and the custom_ids of all.
    """
    ids: set[str] = set()
    for number, (offset, raw) in enumerate(_raw_elements(body)):
        if number >= most:
            raise EnvelopeError(f"requests: List should have at most {most} items after validation")
        element = parsed_element(offset, raw, number)
        if element.custom_id in ids:
            raise EnvelopeError(f"requests.{number}.custom_id: {element.custom_id!r} is not unique in this batch")
        ids.add(element.custom_id)
        yield element
    if not ids:
        raise EnvelopeError("requests: List should have at least 1 item after validation, not 0")


def parsed_element(offset: int, raw: bytes, number: int) -> Element:
    """Decode and judge one element. Raises `EnvelopeError`."""
    found, where = parsed(raw), f"requests.{number}"
    for name in found:
        if name not in {"custom_id", "params"}:
            raise EnvelopeError(f"{where}.{name}: Extra inputs are not permitted")
    for name, kind, words in (("custom_id", str, "a valid string"), ("params", dict, "an object")):
        if name not in found:
            raise EnvelopeError(f"{where}.{name}: Field required")
        if not isinstance(found[name], kind):
            raise EnvelopeError(f"{where}.{name}: Input should be {words}")
    if len(found["custom_id"]) > 64:
        raise EnvelopeError(f"{where}.custom_id: String should have at most 64 characters")
    if not _CUSTOM_ID.fullmatch(found["custom_id"]):
        raise EnvelopeError(f"{where}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
    if b"[[sandbox:poison" in raw and (way := poison(ENDPOINT, found["params"])):
        raise EnvelopeError(POISON if way == "silent" else f"{where}.params.messages: {POISON}")
    return Element(offset, len(raw), found["custom_id"], found["params"])


def parsed(raw: bytes) -> Any:
    """Strict JSON. The standard library reads what orjson refuses or alters: lone surrogates, long integers."""
    try:
        return json.loads(raw.decode(), parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise _no_json() from None


def _not_json(word: str) -> None:
    raise ValueError(word)


def _no_json() -> EnvelopeError:
    return EnvelopeError("The request body is not valid JSON")


def _raw_elements(body: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each element of `requests`; anything beside that one list is refused."""
    text, seen = _Text(body), False
    if (first := text.peek()) != b"{":
        raise EnvelopeError("Input should be an object") if _value(first) else _no_json()
    for _ in text.members(b"{", b"}"):
        if not isinstance(name := parsed(text.value()), str):
            raise _no_json()
        text.expect(b":")
        if name != "requests" or seen:
            raise EnvelopeError(f"{name}: Extra inputs are not permitted")
        seen = True
        if text.peek() != b"[":
            raise EnvelopeError("requests: Input should be a valid list")
        for number, _ in enumerate(text.members(b"[", b"]")):
            if (first := text.peek()) != b"{":
                raise EnvelopeError(f"requests.{number}: Input should be an object") if _value(first) else _no_json()
            yield text.offset, text.value()
    if text.peek():
        raise _no_json()
    if not seen:
        raise EnvelopeError("requests: Field required")


def _value(first: bytes) -> bool:
    """Whether a JSON value may begin so."""
    return first != b"" and first in b'["-0123456789tfn'


class _Text:
    """JSON in a file, as one chunk and a place in it."""

    def __init__(self, body: BinaryIO) -> None:
        self._body = body
        self._chunk, self._at, self._base = b"", 0, 0

    @property
    def offset(self) -> int:
        """Of the place, in the file."""
        return self._base + self._at

    def _more(self) -> bool:
        """Forget what lies behind the place and add a chunk; False at the end of the file."""
        read = self._body.read(CHUNK)
        self._base += self._at
        self._chunk, self._at = self._chunk[self._at :] + read, 0
        return bool(read)

    def peek(self) -> bytes:
        """The next byte that is no space; empty at the end."""
        while True:
            self._at = _end(_SPACES, self._chunk, self._at)
            if self._at < len(self._chunk):
                return self._chunk[self._at : self._at + 1]
            if not self._more():
                return b""

    def expect(self, wanted: bytes) -> None:
        if self.peek() != wanted:
            raise _no_json()
        self._at += 1

    def members(self, opening: bytes, closing: bytes) -> Iterator[None]:
        """Stop at each member of an array or object, past the commas; whoever asks must consume the member."""
        self.expect(opening)
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            if self.peek() == closing:
                self._at += 1
                return
            self.expect(b",")

    def value(self) -> bytes:
        """Consume the string, array or object at the place. Raises `EnvelopeError` when it does not end."""
        self.peek()
        taken, state = bytearray(), _Inside()
        while True:
            start = self._at
            ended = self._pass(state)
            taken += self._chunk[start : self._at]
            if ended:
                return bytes(taken)
            if len(taken) > LONGEST_ELEMENT:
                raise EnvelopeError(f"The sandbox reads requests of up to {LONGEST_ELEMENT} bytes each", 413)
            if not self._more():
                raise _no_json()

    def _pass(self, state: "_Inside") -> bool:
        """Go on to the end of the value (True), or as far as this chunk can be understood (False)."""
        if state.quoted:
            self._at = _end(_STRING_REST, self._chunk, self._at)
            if self._chunk[self._at : self._at + 1] != b'"':
                return False  # the end of the chunk, or a backslash whose other half comes with the next
            self._at, state.quoted = self._at + 1, False
            if not state.depth:
                return True
        for token in _TOKEN.finditer(self._chunk, self._at):
            self._at, first = token.end(), self._chunk[token.start()]
            if first == _QUOTE and token.end() - token.start() == 1:  # a string that ends in another chunk
                state.quoted = True
                self._at = _end(_STRING_REST, self._chunk, self._at)
                return False
            state.depth += (first in _OPENING) - (first in _CLOSING)
            if state.depth <= 0:
                return True
        self._at = len(self._chunk)
        return False


@dataclass(slots=True)
class _Inside:
    """How deep in brackets, and whether in a string, a value was left at the end of a chunk."""

    depth: int = 0
    quoted: bool = False


def _end(pattern: re.Pattern[bytes], chunk: bytes, at: int) -> int:
    found = pattern.match(chunk, at)
    assert found is not None, "the pattern matches nothing, too"
    return found.end()
