"""What a refusal means to the calls that all adapters make. A call: what can be awaited and raises ProviderErrors.

known           of what must exist: that it is not found is TryLater, the gateway decides for how long
gone            of what may be gone: that it is not found is an answer
ask_to_cancel   of a cancellation: that it comes too late is no error
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from proxy_plugin.providers.base import JobState
from proxy_plugin.providers.errors import Refused, TryLater

T = TypeVar("T")
NOTHING_TO_CANCEL = frozenset({JobState.ENDED, JobState.FAILED, JobState.CANCELLING})


async def known(call: Awaitable[T], path: str) -> T:
    """Return the answer of a call for what stands at `path`. Raises TryLater with status 404 where nothing does."""
    try:
        return await call
    except Refused as error:
        if error.status != 404:
            raise
        raise TryLater(f"/{path}: not found", status=404) from None


async def gone(call: Awaitable[object]) -> bool:
    """Return whether a call is answered with 404."""
    try:
        await call
    except Refused as error:
        if error.status != 404:
            raise
        return True
    return False


async def ask_to_cancel(call: Awaitable[object], look: Callable[[], Awaitable[JobState]]) -> None:
    """Ask for a cancellation; a refusal is no error when the job, looked at, is over or being cancelled."""
    try:
        await call
    except (Refused, TryLater) as error:
        if error.status not in {400, 409} or await look() not in NOTHING_TO_CANCEL:
            raise
