"""What a caller is told of a provider's answer, or of none, to a call that was made for this very request.

GatewayError
 |- BadRequest and its like   4xx  the provider's own refusal, in its words
 |- ProviderBusy              429  it asked for a pause; nothing was done
 `- ProviderFailed            502  it failed, or cannot be reached
     |- ProviderSlow          504  it did not answer in time
     `- OutcomeLost           502  nobody knows whether it did what was asked: no client may repeat that by itself
         `- OutcomeLate       504
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from proxy_plugin.ground.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    GatewayError,
    NotFound,
    TooLarge,
    TooManyRequests,
)
from proxy_plugin.providers.base import OutcomeUnknown, ProviderError, Refused, TryLater


class KeyRefused(BadRequest):
    """The provider does not take the key that it was called with."""

    status: ClassVar[int] = 401
    default_code: ClassVar[str | None] = "invalid_api_key"


class RangeRefused(BadRequest):
    """The provider has no such range of the file."""

    status: ClassVar[int] = 416
    default_code: ClassVar[str | None] = "range_not_satisfiable"


class Unprocessable(BadRequest):
    """The provider understands the request and does not want it."""

    status: ClassVar[int] = 422


class ProviderBusy(TooManyRequests):
    """The provider asked for a pause of `after` seconds, where it said how long."""


class ProviderFailed(GatewayError):
    """The provider did not do what was asked."""

    status: ClassVar[int] = 502
    default_code: ClassVar[str | None] = "provider_failed"


class ProviderSlow(ProviderFailed):
    """The provider did not answer in time."""

    status: ClassVar[int] = 504


class OutcomeLost(ProviderFailed):
    """Nobody knows whether the provider did what was asked."""

    default_code: ClassVar[str | None] = "provider_outcome_unknown"
    retry: ClassVar[bool | None] = False


class OutcomeLate(OutcomeLost):
    """The same, because no answer came in time."""

    status: ClassVar[int] = 504


_REFUSALS: Mapping[int, type[GatewayError]] = {
    401: KeyRefused,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    416: RangeRefused,
    422: Unprocessable,
}


def as_answer(error: ProviderError, title: str, *, lost: str) -> GatewayError:
    """Return what to answer. `title` names the provider; `lost` says what to do where the outcome is unknown."""
    if isinstance(error, Refused):
        return _refusal(error, title)
    if isinstance(error, OutcomeUnknown):
        return (OutcomeLate if error.timed_out else OutcomeLost)(f"{title} gave no clear answer. {lost}")
    after = error.after if isinstance(error, TryLater) else None
    if after is not None or (isinstance(error, TryLater) and error.status == 429):
        return ProviderBusy(f"{title} takes no more calls for this account just now; nothing was done.", after=after)
    if error.timed_out:
        return ProviderSlow(f"{title} did not answer in time; try again later.")
    return ProviderFailed(f"{title} cannot be reached, or failed; try again later.")


def _refusal(error: Refused, title: str) -> GatewayError:
    if error.status is not None and error.status < 400:
        return ProviderFailed(f"{title} answered with a redirect, which is not followed.")
    kind = _REFUSALS.get(error.status or 400, BadRequest)
    code = None if error.code.startswith("http_") else error.code
    return kind(f"{title}: {error.message}", param=error.param, code=code)
