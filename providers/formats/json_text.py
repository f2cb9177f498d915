"""JSON whose numbers and texts survive a translation.

orjson is fast, and wrong in five cases [measured, 3.13]: an integer beyond 64 bits becomes a float and 1e-400 becomes
0 without a word; 1e400, lone surrogate escapes and nesting above 1,024 are refused. It cannot write nesting above 254.
Answers cut off by a token limit hold halves of emoji, and identifiers in tool arguments have 25 digits, so those texts
take the slow way: the standard library reads them, numbers keep their own spelling (`Literal`), and `write` falls back
to escapes where a text is no Unicode.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import orjson

MAX_DEPTH = 200  # of values that are passed through; what stands around them adds few levels
_CONTAINERS = (dict, list)
_LONG_NUMBER = re.compile(rb"[0-9][0-9.]{16}|[0-9][eE][-+]?[0-9]{3}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class TooDeep(ValueError):
    """Nesting above what can be read and written safely."""


class Raw:
    """A JSON text that is written as it is. It holds no newline."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


class Literal(float):
    """A number that is written as it was spelled; as a float it is close enough to compare."""

    __slots__ = ("text",)
    text: bytes

    def __new__(cls, spelling: str) -> Literal:
        number = super().__new__(cls, spelling)
        number.text = spelling.encode()
        return number


def read(text: bytes) -> Any:
    """Read a JSON text; long numbers may lose digits (`has_long_numbers`). Raises ValueError: no JSON, `TooDeep`."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return read_exactly(text)


def read_exactly(text: bytes | str) -> Any:
    """Read a JSON text with every number as it was spelled: three times slower. Raises ValueError."""
    try:
        return _EXACT.decode(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise TooDeep(f"nested deeper than {MAX_DEPTH} levels") from None


def has_long_numbers(text: bytes) -> bool:
    """Whether `read` may change a number in this text. Digits inside of strings count too: a needless slow reading."""
    return _LONG_NUMBER.search(text) is not None


def write(value: object) -> bytes:
    """Return one line of JSON. Lone surrogates become escapes. Raises ValueError: `TooDeep`."""
    try:
        return orjson.dumps(value, default=_as_it_is)
    except TypeError:
        pass
    try:
        return _write_slowly(value)
    except RecursionError:
        raise TooDeep(f"nested deeper than {MAX_DEPTH} levels") from None


def object_text(text: str) -> Raw:
    """Check that a text is a JSON object and return it unchanged, but for newlines between tokens.

    Raises ValueError (`TooDeep` among them) for what is no JSON, TypeError for JSON that is no object.
    """
    try:
        data = text.encode()
        value = read(data)
    except UnicodeEncodeError:
        value = read_exactly(text)
        # Only after the reading: behind a stray backslash the escape would repair a broken text.
        data = _SURROGATE.sub(_escape, text).encode()
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and is_too_deep(value):
        raise TooDeep(f"nested deeper than {MAX_DEPTH} levels")
    # A newline in a valid JSON text is whitespace between tokens: strings cannot hold a raw one.
    return Raw(data.strip().replace(b"\n", b" ").replace(b"\r", b" "))


def is_too_deep(value: object, levels: int = MAX_DEPTH) -> bool:
    """Whether lists and objects are nested in more than `levels` levels."""
    if sum(isinstance(each, _CONTAINERS) for each in _everything(value)) <= levels:
        return False
    layer = [value]
    for _ in range(levels):
        layer = [inner for outer in layer for inner in _inside(outer) if isinstance(inner, _CONTAINERS)]
    return bool(layer)


def has_fractions(value: object) -> bool:
    """Whether a decoded value holds a float: a fraction, or an integer that `read` could not hold."""
    return any(isinstance(each, float) for each in _everything(value))


def _everything(value: object) -> list[object]:
    """Return a value and all that is in it."""
    found = [value]
    for each in found:  # grows on the way: no recursion, whatever the depth
        if isinstance(each, dict):
            found += each.values()
        elif isinstance(each, list):
            found += each
    return found


def _inside(outer: object) -> Iterable[object]:
    return outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ()


def _as_it_is(value: object) -> orjson.Fragment:
    if isinstance(value, Raw | Literal):
        return orjson.Fragment(value.text)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _write_slowly(value: object) -> bytes:
    if isinstance(value, dict):
        members = (_write_slowly(key) + b":" + _write_slowly(inner) for key, inner in value.items())
        return b"{" + b",".join(members) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(_write_slowly, value)) + b"]"
    if isinstance(value, str) and _SURROGATE.search(value):
        return json.dumps(value).encode()
    return orjson.dumps(value, default=_as_it_is)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _fraction(spelling: str) -> float:
    number = float(spelling)
    return number if repr(number) == spelling else Literal(spelling)


def _integer(spelling: str) -> int | float:
    # 19 characters fit 64 bits, and int() refuses more than 4,300 digits.
    return int(spelling) if len(spelling) < 20 and spelling != "-0" else Literal(spelling)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


_EXACT = json.JSONDecoder(parse_float=_fraction, parse_int=_integer, parse_constant=_no_number)
