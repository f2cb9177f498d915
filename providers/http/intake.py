"""What a gateway lets a download take of its disk."""

from __future__ import annotations

from typing import Protocol


class Intake(Protocol):
    """Where results go: how many bytes of one answer are taken, and who gives them room.

    `cuts`: of a longer answer the beginning is kept, else nothing.
    """

    most_bytes: int
    cuts: bool

    async def take(self, count: int) -> None:
        """Make room for `count` bytes more, which are about to be written. What it raises ends the call."""
