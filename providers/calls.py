"""What a refusal means to the calls that all adapters make. A call: what can be awaited and raises ProviderErrors.

known           of what must exist: that it is not found is TryLater, the gateway decides for how long
gone            of what may be gone: that it is not found is an answer
none_if_gone    the same, where what is there is wanted
ask_to_cancel   of a cancellation: that it comes too late is no error
patiently       one call of several that are worth something together: a refused one does not undo the others
resumed         one that sends a file from an offset, and goes on where it broke off
ready           what the provider is still at work on: looked at a few times
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from proxy_plugin.providers.base import JobState
from proxy_plugin.providers.errors import AtWork, Refused, TryLater

T = TypeVar("T")
TOO_MANY, SERVER_ERROR = 429, 500
PAUSES = (0.25, 1.0, 4.0)  # seconds before a refused call of several is made again, each at least
LONGEST_PAUSE = 10.0  # a provider that asks for more is asked everything again, later
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


async def none_if_gone(call: Awaitable[T]) -> T | None:
    """Return the answer of a call, None where it is answered with 404."""
    try:
        return await call
    except Refused as error:
        if error.status != 404:
            raise
    return None


async def ask_to_cancel(call: Awaitable[object], look: Callable[[], Awaitable[JobState]]) -> None:
    """Ask for a cancellation; a refusal is no error when the job, looked at, is over or being cancelled."""
    try:
        await call
    except (Refused, TryLater) as error:
        if error.status not in {400, 409} or await patiently(look) not in NOTHING_TO_CANCEL:
            raise


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Return the answer of a call that is made again where it is refused for being one too many, once after a 5xx.

    For steps that keep nothing of their calls until the last: where every second one is refused, a step that is begun
    again with each would never get through two.
    """
    for number, pause in enumerate(PAUSES):
        try:
            return await call()
        except TryLater as error:
            wait = max(pause, error.after or 0.0)
            once = not number and (error.status or 0) >= SERVER_ERROR
            if wait > LONGEST_PAUSE or not (once or error.status == TOO_MANY):
                raise
        await asyncio.sleep(wait)
    return await call()


async def resumed(send: Callable[[int], Awaitable[T]], received: Callable[[], Awaitable[int]]) -> T:
    """Return the answer to the end of a file that is sent from an offset.

    After any doubt `received` asks how much has arrived, and the rest is sent from there, as long as it moves. An
    upload that is known no more (404) is given up.
    """
    offset, pauses = 0, iter(PAUSES)
    while True:
        try:
            return await send(offset)
        except TryLater as error:
            pause = next(pauses, None)
            if pause is None or (error.after or 0.0) > LONGEST_PAUSE or error.status == 404:
                raise
            await asyncio.sleep(max(pause, error.after or 0.0))
        has = await received()
        if has > offset:  # it moves, so it may go on moving
            pauses = iter(PAUSES)
        offset = has


async def ready(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Return what a look finds; while it finds nothing it is repeated a few times. Then raises AtWork."""
    for pause in (*PAUSES, None):
        found = await patiently(look)
        if found is not None:
            return found
        if pause is not None:
            await asyncio.sleep(pause)
    raise AtWork(f"{what} is not ready yet")
