"""The names that our parts and lines have at a provider: a part's mark, and the mark with a line's number behind it."""

from __future__ import annotations

import hashlib
from itertools import product
from typing import NamedTuple

MARK_KEY = "proxy_plugin"  # under which a job carries its mark, where it takes metadata
MARK_LENGTH = 10
ORDINAL_LENGTH = 8
NATIVE_ID_LENGTH = MARK_LENGTH + ORDINAL_LENGTH
PLACE_LENGTH = 2  # of one of the requests of a line, and of how many there are
REQUEST_ID_LENGTH = NATIVE_ID_LENGTH + 2 * PLACE_LENGTH
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [high + low for high, low in product(_DIGITS, repeat=2)]  # a quarter of an id each: digit by digit is 3 us


def native_id(mark: str, ordinal: int) -> str:
    """Return the custom id a line has at the provider: mark + 8 base-36 digits, 18 characters `[a-z0-9]`."""
    high, low = divmod(ordinal, 1296**2)
    if not 0 <= high < 1296**2:
        raise ValueError("ordinal does not fit 8 base-36 digits")
    return f"{mark}{_PAIRS[high // 1296]}{_PAIRS[high % 1296]}{_PAIRS[low // 1296]}{_PAIRS[low % 1296]}"


def request_id(line: str, place: int, of: int) -> str:
    """Return the custom id of one of several requests that a line is: its native id, place and number of them.

    22 characters `[a-z0-9]`: no lane has to allow another sign for them. `place` counts from 0. Raises ValueError.
    """
    if not 0 <= place < of < 1296:
        raise ValueError(f"a line is no request {place} of {of}")
    return f"{line}{_PAIRS[place]}{_PAIRS[of]}"


def split_native_id(native: str) -> tuple[str, int] | None:
    """Return (mark, ordinal), or None for an id that is not of our form."""
    if len(native) != NATIVE_ID_LENGTH or not _plain(native):
        return None
    return native[:MARK_LENGTH], int(native[MARK_LENGTH:], 36)


class RequestId(NamedTuple):
    """What an id of ours says: request `place`, from 0, of the `of` that the line is."""

    mark: str
    ordinal: int
    place: int = 0
    of: int = 1


def split_request_id(native: str) -> RequestId | None:
    """Return what an id of a line, or of one of its requests, says; None for one that is not of our form."""
    line, places = split_native_id(native[:NATIVE_ID_LENGTH]), native[NATIVE_ID_LENGTH:]
    if line is None or not places:
        return None if line is None else RequestId(*line)
    if len(places) != 2 * PLACE_LENGTH or not _plain(places):
        return None
    place, of = int(places[:PLACE_LENGTH], 36), int(places[PLACE_LENGTH:], 36)
    return RequestId(*line, place, of) if place < of and of > 1 else None


def _plain(native: str) -> bool:
    return native.isascii() and native.isalnum() and native == native.lower()


def make_mark(*facts: str) -> str:
    """Return a part's mark: 10 characters `[a-z0-9]` (51 bits) from a hash of the facts that define the part."""
    number = int.from_bytes(hashlib.sha256("\x1f".join(facts).encode()).digest()[:16], "big")
    mark = ""
    for _ in range(MARK_LENGTH):
        number, rest = divmod(number, 36)
        mark += _DIGITS[rest]
    return mark
