"""Rows that no reader cuts: the breaks that JSON allows inside a string are written as escapes.

Python's `str.splitlines` and its kin end a line at U+2028, U+2029 and U+0085 too, and JSON lets all three stand in a
string as they are. Between tokens it allows none of them, and the other breaks (U+000B, U+001C, ...) nowhere, so a row
without the three is one line to every reader, and `\\u2028` says the same to every parser. In UTF-8 their bytes are
those of no other character, which makes this a matter of bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

_BREAKS = (b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x85")
_AT_ONCE = 2**20


def unbroken(text: bytes) -> bytes:
    """Return a JSON text in UTF-8 whose strings break no line. One without the three breaks is not copied."""
    if text.isascii():  # 10 GB/s
        return text
    if b"\xe2" in text and (b"\xa8" in text or b"\xa9" in text):  # single bytes are looked for ten times as fast
        text = text.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
    if b"\x85" in text and b"\xc2" in text:
        text = text.replace(b"\xc2\x85", rb"\u0085")
    return text


def unbroken_pieces(text: bytes) -> Iterator[bytes]:
    """Yield the same in pieces: a large text that holds a break is never there twice."""
    if len(text) <= _AT_ONCE or text.isascii() or not any(each in text for each in _BREAKS):
        yield unbroken(text)
        return
    begin = 0
    while begin < len(text):
        end = min(begin + _AT_ONCE, len(text))
        while end < len(text) and text[end] & 0xC0 == 0x80:  # never within a character
            end -= 1
        yield unbroken(text[begin:end])
        begin = end
