"""Local copies of objects, at most so many bytes of them: the one that was used longest ago goes first.

What is in use stays: a step or a request that asks for a copy within `held` has it until it leaves that. What nobody
holds stays for a minute all the same, so that it can be opened.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

GRACE_SECONDS = 60.0
_HOLDING: ContextVar[list[str] | None] = ContextVar("holding", default=None)


class Copies:
    """Which files below `root` are copies. Keys are their paths below it, which are those of the objects, too."""

    def __init__(self, root: Path, most_bytes: int, grace: float = GRACE_SECONDS) -> None:
        self._root, self._most, self._grace = root, most_bytes, grace
        self._sizes: OrderedDict[str, tuple[int, float]] = OrderedDict()  # the last used is the last
        self._groups: dict[str, set[str]] = {}  # the keys below each folder of two names, such as a batch's
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.bytes = 0

    @property
    def over(self) -> bool:
        """Whether there is more than there may be."""
        return self.bytes > self._most

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep what is used inside, also by tasks and threads that are begun there, until this is left."""
        mine: list[str] = []
        token = _HOLDING.set(mine)
        try:
            yield
        finally:
            _HOLDING.reset(token)
            with self._lock:
                self._held -= Counter(mine)

    def has(self, key: str) -> bool:
        """Tell whether there is a copy, and count that as a use of it. One that somebody has removed is none."""
        with self._lock:
            if key not in self._sizes:
                return False
            if not os.path.exists(f"{self._root}/{key}"):  # noqa: PTH110 - on the event loop, for each copy of a step
                self._drop(key)
                return False
            self._use(key, self._sizes[key][0])
            return True

    def add(self, key: str, size: int) -> None:
        """Count a file as a copy from now on: the store has its object."""
        with self._lock:
            self.bytes += size - self._sizes.get(key, (0, 0.0))[0]
            self._use(key, size)

    def forget(self, key: str, but: str = "") -> None:
        """Count a file no more, or all that is below a folder of that name except what ends so."""
        with self._lock:
            if key in self._sizes:
                self._drop(key)
                return
            below = [name for name in self._groups.get(_group(key), ()) if name.startswith(f"{key}/")]
            for each in below:
                if not (but and each.endswith(but)):
                    self._drop(each)

    def trim(self) -> int:
        """Remove copies that are too many; return how many. Blocking."""
        removed = 0
        while (key := self._next()) is not None:
            (self._root / key).unlink(missing_ok=True)
            removed += 1
        return removed

    def _use(self, key: str, size: int) -> None:
        self._sizes[key] = (size, time.monotonic())
        self._sizes.move_to_end(key)
        self._groups.setdefault(_group(key), set()).add(key)
        holding = _HOLDING.get()
        if holding is not None:
            holding.append(key)
            self._held[key] += 1

    def _next(self) -> str | None:
        """Return the copy that goes next, counted no more; None where no more has to or can go."""
        old = time.monotonic() - self._grace
        with self._lock:
            if self.bytes <= self._most:
                return None
            for key, (_, used) in self._sizes.items():
                if used > old:
                    return None
                if not self._held[key]:
                    self._drop(key)
                    return key
        return None

    def _drop(self, key: str) -> None:
        self.bytes -= self._sizes.pop(key)[0]
        group = self._groups[_group(key)]
        group.discard(key)
        if not group:
            del self._groups[_group(key)]


def _group(key: str) -> str:
    return "/".join(key.split("/", 2)[:2])
