"""How much one work of a worker may write: what was claimed for it, and not a byte more."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Overdrawn(Exception):
    """The work would have written more than its allowance. What it has written is to be removed."""


class _Allowance:
    def __init__(self, most: int) -> None:
        self.most, self.spent = most, 0


_CURRENT: ContextVar[_Allowance | None] = ContextVar("allowance", default=None)


def within(most: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, int]:
    """Run a function that may write `most` bytes; return what it returns, and how many it wrote. Raises Overdrawn."""
    allowance = _Allowance(most)
    token = _CURRENT.set(allowance)
    try:
        return function(*args, **kwargs), allowance.spent
    finally:
        _CURRENT.reset(token)


def spend(count: int) -> None:
    """Take account of `count` bytes that are written next. Raises Overdrawn; outside of `within` nothing is counted."""
    allowance = _CURRENT.get()
    if allowance is None:
        return
    allowance.spent += count
    if allowance.spent > allowance.most:
        raise Overdrawn
