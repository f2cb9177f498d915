"""The names that our parts and lines have at a provider: a part's mark, and the mark with a line's number behind it."""

from __future__ import annotations

import hashlib
from itertools import product

MARK_KEY = "proxy_plugin"  # under which a job carries its mark, where it takes metadata
MARK_LENGTH = 10
ORDINAL_LENGTH = 8
NATIVE_ID_LENGTH = MARK_LENGTH + ORDINAL_LENGTH
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [high + low for high, low in product(_DIGITS, repeat=2)]  # a quarter of an id each: digit by digit is 3 us


def native_id(mark: str, ordinal: int) -> str:
    """Return the custom id a line has at the provider: mark + 8 base-36 digits, 18 characters `[a-z0-9]`."""
    high, low = divmod(ordinal, 1296**2)
    if not 0 <= high < 1296**2:
        raise ValueError("ordinal does not fit 8 base-36 digits")
    return f"{mark}{_PAIRS[high // 1296]}{_PAIRS[high % 1296]}{_PAIRS[low // 1296]}{_PAIRS[low % 1296]}"


def split_native_id(native: str) -> tuple[str, int] | None:
    """Return (mark, ordinal), or None for an id that is not of our form."""
    if len(native) != NATIVE_ID_LENGTH or not native.isascii() or not native.isalnum() or native != native.lower():
        return None
    return native[:MARK_LENGTH], int(native[MARK_LENGTH:], 36)


def make_mark(*facts: str) -> str:
    """Return a part's mark: 10 characters `[a-z0-9]` (51 bits) from a hash of the facts that define the part."""
    number = int.from_bytes(hashlib.sha256("\x1f".join(facts).encode()).digest()[:16], "big")
    mark = ""
    for _ in range(MARK_LENGTH):
        number, rest = divmod(number, 36)
        mark += _DIGITS[rest]
    return mark
