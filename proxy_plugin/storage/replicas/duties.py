"""What one gateway at a time does, where several share a database. Alone, a gateway does everything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ClaimLost(Exception):
    """Another gateway does this now; the transaction did not happen."""


class Duties(Protocol):
    """What is asked before something is done that one gateway at a time does."""

    async def duty(self, name: str) -> bool:
        """Tell whether this gateway does it, taking it on where nobody does."""

    def on_duty(self, name: str) -> AbstractContextManager[None]:
        """Guard what is committed inside: it is so only while this gateway does it."""

    def guard(self, work: Callable[P, T]) -> Callable[P, T]:
        """Return a transaction that does the same, and raises ClaimLost where another gateway does what it is for."""


class EveryDuty:
    """The duties of a gateway that has its database for itself."""

    async def duty(self, name: str) -> bool:  # noqa: ARG002
        """Tell that it does."""
        return True

    def on_duty(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing."""
        return nullcontext()

    def guard(self, work: Callable[P, T]) -> Callable[P, T]:
        """Return the same."""
        return work
