"""JSON texts that spell half of a surrogate pair as an escape, made readable for msgspec and back again."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    rb"\\u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>[dD][89a-fA-F][0-9a-fA-F]{2}))|\\."
)
_ESCAPE, _MARK = b"\\u", b"\xff\xff"  # 0xff occurs in no UTF-8 text, so marking is undone without loss


def marked(text: bytes) -> bytes | bytearray:
    r"""Return JSON of the same length in which no lone surrogate (such as `\ud83d`) is spelled as an escape.

    msgspec 0.22 refuses such an escape where every other JSON parser takes it, but looks at no byte of a text that it
    only steps over, so a mark in its place goes unnoticed.
    """
    if _ESCAPE not in text:
        return text
    marked = bytearray(text)
    for escape in _ESCAPES.finditer(text):
        if escape["lone"]:
            marked[escape.start() : escape.start() + len(_MARK)] = _MARK
    return marked


def unmarked(text: bytes) -> bytes:
    """Return a text with the escapes that `marked` took away."""
    return text.replace(_MARK, _ESCAPE)
