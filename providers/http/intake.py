"""What a gateway lets a download take of its disk."""

from __future__ import annotations

from typing import Protocol


class Intake(Protocol):
    """Where results go, and who gives them room."""

    @property
    def most_bytes(self) -> int:
        """How many bytes of one answer are taken."""

    @property
    def cuts(self) -> bool:
        """Whether the beginning of a longer answer is kept."""

    async def take(self, count: int) -> None:
        """Make room for `count` bytes more, which are about to be written. What it raises ends the call."""
