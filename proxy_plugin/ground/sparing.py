"""Events that strangers can cause at will: counted, and logged at most once a minute."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from proxy_plugin.ground import logs

PAUSE_SECONDS = 60.0


class Sparing:
    """One event, with counts by kind. The first of a quiet time is logged at once, later ones together."""

    def __init__(self, logger: logging.Logger, name: str, now: Callable[[], float]) -> None:
        self._logger, self._name, self._now = logger, name, now
        self._counts: Counter[str] = Counter()
        self._next = float("-inf")

    def note(self, kind: str) -> None:
        """Count one of a kind."""
        self._counts[kind] += 1
        self.flush()

    def flush(self) -> None:
        """Log what was counted, if a minute has passed since the last time. Call it now and then."""
        if self._counts and self._now() >= self._next:
            logs.event(self._logger, self._name, level=logging.WARNING, counts=dict(self._counts))
            self._counts.clear()
            self._next = self._now() + PAUSE_SECONDS
