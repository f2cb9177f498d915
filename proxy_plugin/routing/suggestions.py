"""What a misspelt name of a config was meant to be, in time that does not grow with what a caller sends.

A header has room for thousands of names: 1,400 anagrams of one of ours took `difflib` 0.13 s. So names that share too
few letters with all known ones are not compared, each name is looked at once, and what one config can cost is bounded,
to 0.02 s. With the fifth suggestion, of which an answer shows no more, the rest is let pass as any unknown key is.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

SUGGESTED = 5
_LOOKED_AT, _COMPARED = 256, 64  # different names of one config
_CHARACTERS = 64  # no name of ours is as long as half of it


class Suggestions:
    """The suggestions for one config."""

    def __init__(self) -> None:
        self._found, self._left = 0, _COMPARED
        self._known: dict[tuple[str, float], str | None] = {}

    def near(self, name: object, known: Collection[str], ratio: float = 0.6) -> str | None:
        """Return the known name that this one is most like, None for none; `ratio` is what `difflib` calls so."""
        if not isinstance(name, str) or len(name) > _CHARACTERS or self._found >= SUGGESTED:
            return None
        if (name, ratio) not in self._known:
            if len(self._known) >= _LOOKED_AT:
                return None
            self._known[name, ratio] = self._compared(name, known, ratio)
        found = self._known[name, ratio]
        self._found += found is not None
        return found

    def _compared(self, name: str, known: Collection[str], ratio: float) -> str | None:
        alike = [each for each in known if _may_be(name, each, ratio)]
        if not alike or not self._left:
            return None
        self._left -= 1
        return next(iter(get_close_matches(name, alike, 1, ratio)), None)

    def did_you_mean(self, name: object, known: Collection[str]) -> str:
        """Return the end of a message about an unknown name, which may be empty."""
        found = self.near(name, known)
        return f"; did you mean {found}?" if found else ""


def _may_be(name: str, known: str, ratio: float) -> bool:
    """Tell whether two names have enough letters in common to be near; it never says no to two that are."""
    needed = ratio * (len(name) + len(known)) / 2
    return min(len(name), len(known)) >= needed and sum(map(known.__contains__, name)) >= needed
