"""What a translation cannot keep: the line is refused by name, or the loss is allowed and written down.

A value that means the same as leaving it out is no loss. Names are the caller's own fields, so that the message can be
acted on; values are never repeated, they are user content.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any

from proxy_plugin.providers.base import LineRejected

_NUMBER = re.compile(r"\[\d+\]")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOTHING: tuple[object, ...] = (None, "", [], {})


class Losses:
    """The losses of one line. `provider` is the API's name in messages."""

    __slots__ = ("_allowed", "_provider", "names")

    def __init__(self, *, allowed: bool, provider: str) -> None:
        self._allowed, self._provider = allowed, provider
        self.names: list[str] = []

    def add(self, param: str, reason: str, remedy: str, *, instead: str | int | None = None) -> None:
        """Note that `param` (a path such as `messages[3].name`) is lost. Raises LineRejected where that is not allowed.

        Kept without the numbers: `messages[].name`. `instead` is our own value that goes in its place, and is noted
        too: `temperature=1`.
        """
        if not self._allowed:
            run = "without it" if instead is None else f"with {instead}"
            message = f"{param}: {reason}. {remedy}, or set drop_params in the route to run the line {run}."
            raise LineRejected(message, code="unsupported_parameter", param=param)
        name = _NUMBER.sub("[]", param) + ("" if instead is None else f"={instead}")
        if name not in self.names:
            self.names.append(name)

    def add_unknown(self, given: dict[str, Any], known: AbstractSet[str], path: str = "") -> None:
        """Note every member of `given` that has no place in the translation and says something."""
        if given.keys() <= known:
            return
        for key, value in given.items():
            if key not in known and value not in _NOTHING:
                self.add(join(path, key), f"{self._provider} has no equivalent", "Remove it")


def join(path: str, key: str) -> str:
    """Return the path of a member. A key that is no plain word is not repeated."""
    name = key if _PLAIN.fullmatch(key) else "(other)"
    return f"{path}.{name}" if path else name


def rejected(param: str, message: str, code: str = "invalid_value") -> LineRejected:
    """Return the refusal of a field that no setting could let pass."""
    return LineRejected(f"{param}: {message}.", code=code, param=param)
