"""What becomes of a line after one call: its row, another call, or the end of the part. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from proxy_plugin.direct.limits import CallLimits
from proxy_plugin.providers.direct.base import Lost, NotSent, Reply

TOO_MANY = 429
_AGAIN = frozenset({408, 409, 425})  # and 5xx: the provider has failed, not the line
_ABOUT_KEYS = frozenset({401, 402, 403})
_LOST_CALLS = 2  # of a line: the one whose reply is lost, and once more
# A 429 is no line's fault while the account has none of its calls answered. A line that is refused again and again
# while others are answered asks for more than its account may ever have.
_PATIENCE = 4
_FIRST, _LONGEST, _GROWTH = 0.5, 60.0, 2.0  # seconds between the calls of a line
_MOST_SAID = 500  # characters of a provider's words


class Tries(NamedTuple):
    """What has happened to a line: all calls in vain, and of them those that count as failed, as 429, as lost."""

    calls: int = 0
    failed: int = 0
    refused: int = 0
    lost: int = 0


class RowText(NamedTuple):
    """The row of a line, behind its id."""

    text: bytes
    ok: bool


class Again(NamedTuple):
    """Another call, after so many seconds. `reason`: why, in the words of waits."""

    tries: Tries
    pause: float
    reason: str
    said: str = ""


class PartRefused(NamedTuple):
    """The account is refused: no call of this part would go another way."""

    status: int
    code: str
    message: str
    param: str | None = None


Verdict = RowText | Again | PartRefused


def of_reply(
    native_id: str, reply: Reply, tries: Tries, limits: CallLimits, known: Known, chance: Callable[[], float]
) -> Verdict:
    """Judge a reply."""
    status, body = reply.status, reply.body.strip()
    if 200 <= status <= 299:
        if (text := json_text(body)) is not None and text.startswith(b"{"):
            return RowText(_response(native_id, reply, text), ok=True)
        message = f"The provider answered with HTTP {status} and no JSON object. The call may have been paid for."
        return RowText(_error(native_id, "answer_unreadable", message), ok=False)
    said = complaint(body)
    if _stops(status, said.code, known):
        return PartRefused(status, said.code or str(status), said.message or f"HTTP {status}", said.param)
    again = _another(status, tries, limits, known)
    if again is not None:
        reason = "rate_limited" if status == TOO_MANY else "provider_unreachable"
        return Again(again, pause(again.calls, chance), reason, f"HTTP {status} {said.code}".strip())
    if (text := json_text(body)) is not None and text.startswith(b"{"):
        return RowText(_response(native_id, reply, text), ok=False)
    return RowText(
        _error(native_id, str(status), said.message or f"The provider answered with HTTP {status}."), ok=False
    )


def of_failure(
    native_id: str, failure: NotSent | Lost, tries: Tries, chance: Callable[[], float], *, last: bool = False
) -> Verdict:
    """Judge a call without a reply. What never left is called until it is answered; `last`: there is no other call."""
    if isinstance(failure, NotSent):
        again = tries._replace(calls=tries.calls + 1)
        return Again(again, pause(again.calls, chance), "provider_unreachable", str(failure))
    again = tries._replace(calls=tries.calls + 1, lost=tries.lost + 1)
    if again.lost < _LOST_CALLS and not last:
        return Again(again, pause(again.calls, chance), "provider_unreachable", str(failure))
    message = (
        f"The call was sent {again.lost} times and no reply came ({failure}). It may have been answered and paid for."
    )
    return RowText(_error(native_id, "answer_lost", message), ok=False)


class Known(NamedTuple):
    """What else was seen. `answered`: any call of the part; `since`: another line, since this one was called."""

    answered: bool
    since: bool
    billing_codes: frozenset[str] = frozenset()


def _stops(status: int, code: str, known: Known) -> bool:
    """Tell whether it is about the account. A 403 among answers is about its line: a model, or what it says."""
    if code in known.billing_codes:
        return True
    return status in _ABOUT_KEYS and (status != 403 or not known.answered)


def _another(status: int, tries: Tries, limits: CallLimits, known: Known) -> Tries | None:
    tries = tries._replace(calls=tries.calls + 1)
    if status == TOO_MANY:
        again = tries._replace(refused=tries.refused + 1 if known.since else tries.refused)
        return again if again.refused <= limits.retries * _PATIENCE else None
    if status in _AGAIN or status >= 500:
        again = tries._replace(failed=tries.failed + 1)
        return again if again.failed <= limits.retries else None
    return None


def pause(tries: int, chance: Callable[[], float]) -> float:
    """Return the seconds before the next call of a line: each time twice as long, and by chance up to half less."""
    longest = min(_FIRST * _GROWTH ** max(0, min(tries, 30) - 1), _LONGEST)
    return float(longest * (1 - chance() / 2))


class Complaint(NamedTuple):
    """What the body of an error says; empty where it says nothing that is known."""

    code: str = ""
    message: str = ""
    param: str | None = None


def complaint(body: bytes) -> Complaint:
    """Read an error in OpenAI's shape, or something like it."""
    found: object = None
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
    if not isinstance(found, dict):
        return Complaint()
    inner = found.get("error", found)
    if isinstance(inner, str):
        return Complaint(message=inner[:_MOST_SAID])
    if not isinstance(inner, dict):
        return Complaint()
    code = next((inner[name] for name in ("code", "type", "status") if isinstance(inner.get(name), str)), "")
    message = next((inner[name] for name in ("message", "detail") if isinstance(inner.get(name), str)), "")
    param = inner.get("param")
    return Complaint(code[:64], message[:_MOST_SAID], param if isinstance(param, str) else None)


def json_text(body: bytes) -> bytes | None:
    """Return a JSON text on one line; None for what is none. Halves of surrogate pairs take the slower way."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
        body.decode()
    except (ValueError, RecursionError):
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return None
    return body.replace(b"\r", b" ").replace(b"\n", b" ")


def _response(native_id: str, reply: Reply, text: bytes) -> bytes:
    head = msgspec.json.encode({"status_code": reply.status, "request_id": reply.request_id})
    return b'"custom_id":%s,"response":%s,"body":%s},"error":null}' % (
        msgspec.json.encode(native_id),
        head[:-1],
        text,
    )


def _error(native_id: str, code: str, message: str) -> bytes:
    error = msgspec.json.encode({"code": code, "message": message})
    return b'"custom_id":%s,"response":null,"error":%s}' % (msgspec.json.encode(native_id), error)
