"""What is wrong with a config: all of it is found, and the first of it shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxy_plugin.routing.suggestions import SUGGESTED

PROBLEMS_SHOWN, _PATH_SHOWN = SUGGESTED, 120


class Problem(NamedTuple):
    """One thing that is wrong with a config."""

    path: str
    what: str


class Invalid(Exception):
    """A config that cannot be used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        shown = (f"{_shown(path)}: {what}" for path, what in problems[:PROBLEMS_SHOWN])
        super().__init__("; ".join(shown))
        self.problems = tuple(problems)


def _shown(path: str) -> str:
    return path[:_PATH_SHOWN].encode("utf-8", "replace").decode() or "the config"
