"""Text for people: what a gateway sent, made safe for a terminal, and numbers, sizes and times as they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

JSON = dict[str, Any]
# Controls of both sets, marks that reverse the direction of text, and lone surrogates, which no terminal can be sent.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60
_UNITS = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY, "w": 7 * _DAY}
_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
UTC_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class Cell(NamedTuple):
    """One value of a table: as people read it, and as programs do."""

    shown: str
    plain: object


def clean(value: object) -> str:
    """Return a value as one line that cannot command the terminal; nothing for None."""
    if value is None:
        return ""
    return _UNSAFE.sub(" ", str(value))


def mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object, an empty one for anything else: gateways of others answer what they like."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[JSON]:
    """Return the objects of a JSON list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def whole(value: object) -> int:
    """Return a count, 0 for what is none."""
    return value if type(value) is int else 0


def count(number: int) -> str:
    """Return a number with its thousands parted."""
    return f"{number:,}"


def size(number: int) -> str:
    """Return bytes in a unit that suits them."""
    return f"{number / 1e6:,.1f} MB" if number >= 100_000 else f"{number / 1e3:,.1f} kB"


def money(value: object) -> str:
    """Return US dollars; nothing if the cost is not known."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    if 0 < value < 0.0001:
        return "<$0.0001"
    return f"${value:,.2f}" if value >= 100 else f"${value:,.4f}"


def moment(value: object) -> str:
    """Return Unix seconds as local time with its offset; nothing for what is no time."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    try:
        return datetime.fromtimestamp(value, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except (ValueError, OverflowError, OSError):
        return ""


def ago(value: object, now: float) -> str:
    """Return how long a moment has passed, in its two largest units."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    return span(max(0, int(now - value)))


def span(seconds: int) -> str:
    """Return a length of time in its two largest units."""
    if seconds >= _DAY:
        return f"{seconds // _DAY} d {seconds % _DAY // _HOUR} h"
    if seconds >= _HOUR:
        return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE} min"
    if seconds >= _MINUTE:
        return f"{seconds // _MINUTE} min {seconds % _MINUTE} s"
    return f"{seconds} s"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def counted(number: int) -> Cell:
    """Return a count for a table."""
    return Cell(count(number), number)


def sized(number: int) -> Cell:
    """Return bytes for a table."""
    return Cell(size(number), number)


def priced(value: object) -> Cell:
    """Return US dollars for a table."""
    return Cell(money(value), value if money(value) else None)


def timed(value: object) -> Cell:
    """Return a moment for a table: local for people, in UTC for programs."""
    if not moment(value):
        return Cell("", None)
    assert isinstance(value, int | float)
    return Cell(moment(value), datetime.fromtimestamp(value, UTC).strftime(UTC_FORMAT))


def dated(value: object, now: float) -> Cell:
    """Return a moment that was, for a table: with how long ago for people."""
    found = timed(value)
    return found._replace(shown=f"{found.shown} ({ago(value, now)} ago)") if found.shown else found


def since(text: str, now: float) -> float:
    """Return the Unix seconds that `90m`, `2d`, `2026-11-01`, an ISO time or Unix seconds name. Raises ValueError."""
    if found := _SPAN.fullmatch(text):
        return now - int(found[1]) * _UNITS[found[2]]
    if text.isascii() and text.isdigit() and len(text) > 8:
        return float(text)
    return datetime.fromisoformat(text).astimezone().timestamp()
