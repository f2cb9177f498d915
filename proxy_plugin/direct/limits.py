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
_COUNTED = ("requests", "tokens")
_NAMES = tuple(  # what is left and when there is more: OpenAI's and its copies', Anthropic's, those of plain servers
    [(f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}") for what in _COUNTED]
    + [(f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset") for what in _COUNTED]
    + [("x-ratelimit-remaining", "x-ratelimit-reset"), ("ratelimit-remaining", "ratelimit-reset")]
)


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
    for left, reset in _NAMES:
        if headers.get(left, "").strip() in ("0", "0.0"):
            found.append(_span(headers.get(reset, ""), now))
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
    """Read `6m0s`, `12ms`, `1.5` (seconds), a Unix time, or a date (RFC 3339, Anthropic's)."""
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
