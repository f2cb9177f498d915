"""What an answer proves of a call, and what its absence does."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp

from proxy_plugin.providers.errors import OutcomeUnknown, ProviderError, Refused, TryLater

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
LONGEST_WAIT = 3600.0  # of a Retry-After: a wrong header must not silence an account for good
BROKEN = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(slots=True)
class Call:
    """One request on its way. `connected` becomes True before its first byte leaves."""

    method: str
    path: str
    deadline: asyncio.Timeout
    create: bool = False
    connected: bool = False
    is_late: Callable[[], bool] = bool  # asked before the first byte leaves: whether it is not to any more
    complaint: bytes | None = None  # the body of an error answer, once it has been read

    def __str__(self) -> str:
        return f"{self.method} /{self.path}"

    def allow(self, seconds: float) -> None:
        """Give the call so many seconds from now."""
        self.deadline.reschedule(asyncio.get_running_loop().time() + seconds)


def unsuccessful(call: Call, status: int, after: float | None, refusal: Refused) -> ProviderError:
    """Return what an answer other than 2xx proves. `refusal` is what its body says."""
    seen = f"{call}: HTTP {status} ({refusal.code})"
    passing = status >= 500 or status in {408, 409, 425} or (status == 303 and call.create)
    if status == 429 or passing:
        lost = passing and call.create
        found = OutcomeUnknown(seen) if lost else TryLater(seen, after=after, status=status)
        found.said = refusal
        return found
    if status < 400:
        return Refused("redirects are not followed", code="unexpected_redirect", status=status)
    return refusal


def no_answer(call: Call, message: str) -> ProviderError:
    """Return what it proves that no readable answer came."""
    return OutcomeUnknown(message) if call.create else TryLater(message)


def broken(call: Call, error: BaseException) -> ProviderError:
    """Return what a failed exchange proves. Only fixed texts are quoted: an error's own may hold URLs or headers."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    cause = getattr(inner, "verify_message", None) or getattr(inner, "reason", None)
    if not isinstance(inner, ssl.SSLError):
        number = getattr(inner, "errno", None)
        cause = os.strerror(number) if isinstance(number, int) and number > 0 else None
    message = f"{call}: {type(error).__name__}" + (f" ({cause})" if cause else "")
    found = no_answer(call, message) if call.connected else TryLater(f"{message}, no connection was made")
    found.disk_full = getattr(error, "errno", None) in NO_SPACE
    found.timed_out, found.unreachable = isinstance(error, TimeoutError), not found.disk_full
    return found


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds a reply asks to wait: `retry-after-ms`, or `Retry-After` as a number or an HTTP date.

    A date is measured against the reply's own `Date` where there is one, so that clocks need not agree.
    """
    text = headers.get("Retry-After", "")
    for number, unit in ((headers.get("retry-after-ms", ""), 1000.0), (text, 1.0)):
        try:
            seconds = float(number) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    until, sent = _http_date(text), _http_date(headers.get("Date", ""))
    return None if until is None else max(0.0, until - (now() if sent is None else sent))


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
