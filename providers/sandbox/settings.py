"""The options of one stand-in: those it started with, and those in force now."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class Settings(Generic[T]):
    """`current` is replaced as a whole, so whoever holds on to one keeps what was in force when it took it."""

    def __init__(self, defaults: T, given: Mapping[str, Any]) -> None:
        self._initial = _changed(defaults, given)
        self.current = self._initial

    def change(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Raises `ValueError` for an unknown name or a value of the wrong type."""
        self.current = _changed(self.current, changes)
        return dict(msgspec.to_builtins(self.current))

    def reset(self) -> None:
        self.current = self._initial


def _changed(options: T, changes: Mapping[str, Any]) -> T:
    try:
        return msgspec.convert({**msgspec.to_builtins(options), **changes}, type(options))
    except msgspec.ValidationError as wrong:
        raise ValueError(str(wrong)) from None
