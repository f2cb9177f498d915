"""What the stand-in's log says of ordinary calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CHAT = "call.chat.completions"
Calls = list[dict[str, Any]]


def calls_in(requests: Iterable[Mapping[str, Any]], op: str = CHAT) -> Calls:
    """Return the calls of one kind, in their order."""
    return [dict(entry) for entry in requests if entry["op"] == op]


def too_early(calls: Calls, seconds: float, slack: float = 0.15) -> Calls:
    """Return the calls that began although a 429 of before had asked for a pause of so many seconds.

    `slack`: within which calls that were on their way arrive.
    """
    told = [call["at"] for call in calls if call["status"] == 429]
    return [call for call in calls if any(at + slack < call["at"] < at + seconds for at in told)]


def most_in(calls: Calls, seconds: float) -> int:
    """Return how many calls there are in any such window."""
    times: list[float] = sorted(call["at"] for call in calls)
    return max(sum(start <= at < start + seconds for at in times) for start in times)
