"""What a config says of calls that are answered at once: `retry` and `request_timeout`. Batches have ways of their own.

retry: {attempts: 3, on_status_codes: [429, 503], use_retry_after_header: true}
request_timeout: 10000
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy_plugin.routing.route import Retry
from proxy_plugin.routing.whole_batch import Say, says_nothing, status_codes

USUAL = (429, 500, 502, 503, 504)  # statuses after which a call is made again where none are named: Portkey's
MOST_ATTEMPTS = 5  # Portkey's
_LONGEST = 86_400_000  # milliseconds
_AFTER = ("use_retry_after_header", "use_retry_after_headers")  # its schema's name, and its documents'


def retry_in(found: object, path: str, say: Say) -> Retry | None:
    """Return what `retry` says, None where it says nothing."""
    if says_nothing(found):
        return None
    if not isinstance(found, Mapping):
        say(path, "must be an object of attempts and on_status_codes")
        return None
    attempts = found.get("attempts", 0)
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 0 <= attempts <= MOST_ATTEMPTS:
        say(f"{path}.attempts", f"must be a whole number from 0 to {MOST_ATTEMPTS}")
        return None
    codes = found.get("on_status_codes") or None
    obeys = any(found.get(name) is True for name in _AFTER)
    return Retry(attempts, status_codes(codes, f"{path}.on_status_codes", say), obeys)


def timeout_in(found: object, path: str, say: Say) -> float | None:
    """Return the seconds of `request_timeout`, which has milliseconds; None where it says nothing."""
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= _LONGEST:
        say(path, "must be a number of milliseconds above 0")
        return None
    return found / 1000
