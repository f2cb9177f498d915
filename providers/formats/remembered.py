"""What was made of tools and schemas, which the lines of a file repeat: made once for each of their texts.

What is made depends on its key alone, and the key is the whole text of what was given, never a hash of it: so what is
found is, byte for byte, what would be made again, and who does not send a text is never given what was made of it. Only
what the lines of one file have said is there: `forget` is called where a worker begins with another.

Measured: to write three tools as a key takes 0.7 us, to translate them for Claude 28. A file whose lines have tools of
their own, each line others, soon pays neither key nor place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import orjson

from proxy_plugin.providers.formats.losses import Losses

T = TypeVar("T", bound=Hashable)
Key = tuple[str, bytes, Hashable]
ENTRIES, BYTES = 512, 4 * 2**20  # kept at most; where there are more, all of them go
LARGEST = BYTES // 8  # of one
TRUST, EARNED = 256, 4  # how often in a row something may not be found, and what finding it once makes up for


class Memory:
    """What was made, by what it is and of what; `what` is a word of the caller's for one of its functions."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget everything."""
        self._kept: dict[Key, Any] = {}
        self.size = 0  # of all texts that are kept
        self._trust: dict[str, int] = {}

    @property
    def entries(self) -> int:
        """How much is kept."""
        return len(self._kept)

    def trusts(self, what: str) -> bool:
        """Whether things of this kind have been found again often enough."""
        return self._trust.get(what, TRUST) > 0

    def key(self, what: str, given: list[Any], terms: Hashable) -> Key | None:
        """Return the key of decoded JSON; None where nothing is to be kept of it, or it holds what has no plain text.

        That are numbers that keep their spelling, and halves of characters.
        """
        if not self.trusts(what):
            return None
        try:
            return what, orjson.dumps(given), terms
        except TypeError:
            return None

    def find(self, key: Key) -> Any:
        """Return what is kept, None if there is nothing."""
        found = self._kept.get(key)
        trust = self._trust.get(key[0], TRUST)
        self._trust[key[0]] = trust - 1 if found is None else min(trust + EARNED, TRUST)
        return found

    def keep(self, key: Key, made: object) -> None:
        """Keep something, of which nothing can be changed."""
        size = len(key[1]) + _size(made)
        if size > LARGEST:
            return
        if len(self._kept) >= ENTRIES or self.size + size > BYTES:
            self._kept, self.size = {}, 0
        self.size += size
        self._kept[key] = made


_memory = Memory()


def forget() -> None:
    """Forget everything: what follows is another file, maybe another workspace's."""
    _memory.forget()


def remembers(what: str) -> bool:
    """Whether anything of this kind is still kept for the lines of this file."""
    return _memory.trusts(what)


def recall(what: str, given: list[Any], terms: Hashable, losses: Losses, make: Callable[[Losses], T]) -> T:
    """Return what `make` makes of `given`, and note the same losses, whether it is made or found.

    `make` looks at nothing but `given` (decoded JSON), `terms` and the losses that it is handed; what it returns cannot
    be changed. It is called again, with the line's own losses, where it refuses something. Raises what `make` raises.
    """
    key = _memory.key(what, given, (terms, losses.terms))
    if key is None:
        return make(losses)
    found: tuple[T, tuple[str, ...]] | None = _memory.find(key)
    if found is None:
        apart = losses.apart()
        found = make(apart), apart.names
        if not apart.simple:
            return make(losses)
        _memory.keep(key, found)
    losses.take(found[1])
    return found[0]


def recall_alone(what: str, given: list[Any], make: Callable[[], T]) -> T:
    """Return what `make` makes of `given` where nothing can be lost."""
    key = _memory.key(what, given, None)
    if key is None:
        return make()
    found: tuple[T] | None = _memory.find(key)
    if found is None:
        found = (make(),)
        _memory.keep(key, found)
    return found[0]


def _size(value: object) -> int:
    """Return how long texts are, those in tuples too."""
    if isinstance(value, tuple):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else 0
