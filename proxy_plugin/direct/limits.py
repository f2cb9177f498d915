"""What the operator allows the ordinary calls of one virtual key, and what a reply's headers ask of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import isfinite

import msgspec

LONGEST_PAUSE = 3600.0  # of what a header asks for: a wrong one must not silence an account for good
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_LEFT, _RESET, _SPOKEN = "remaining", "reset", "ratelimit"  # in the names of headers, whoever's prefix and order


class CallLimits(msgspec.Struct, frozen=True):
    """Of one virtual key. None: no limit. `retries` are those of one line, `timeout` seconds of one call."""

    concurrency: int = 16
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    retries: int = 5
    timeout: float = 600.0


def asked_pause(headers: Mapping[str, str], now: float) -> float:
    """Return for how many seconds the account is not to be called, 0.0 where the headers ask for nothing.

    Names are in lower case, `now` is Unix time. `Retry-After` is a number of seconds or a date; of what has run out
    nothing is left until its reset.
    """
    found = [_retry_after(headers, now)]
    for name, left in headers.items():
        if _SPOKEN in name and _LEFT in name and left.strip() in ("0", "0.0"):
            found.append(_span(headers.get(name.replace(_LEFT, _RESET), ""), now))
    return min(max(found), LONGEST_PAUSE)


def _retry_after(headers: Mapping[str, str], now: float) -> float:
    text = headers.get("retry-after", "")
    for number, unit in ((headers.get("retry-after-ms", ""), 1000.0), (text, 1.0)):
        seconds = _number(number)
        if seconds is not None:
            return seconds / unit
    until, sent = _date(text), _date(headers.get("date", ""))
    return 0.0 if until is None else max(0.0, until - (now if sent is None else sent))


def _span(text: str, now: float) -> float:
    """Read `6m0s`, `12ms`, `1.5` (seconds), a Unix time, or a date (RFC 3339)."""
    seconds = _number(text)
    if seconds is not None:
        return max(0.0, seconds - now) if seconds > LONGEST_PAUSE * 24 * 365 else seconds
    if "".join(part for found in _SPAN.findall(text) for part in found) == text.strip():
        return float(sum(float(number) * _UNITS[unit] for number, unit in _SPAN.findall(text)))
    until = _date(text)
    return 0.0 if until is None else max(0.0, until - now)


def _number(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None


def _date(text: str) -> float | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return read(text).timestamp() if text else None
        except (ValueError, OverflowError):
            continue
    return None
