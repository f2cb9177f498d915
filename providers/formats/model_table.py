"""Facts by model name: what a format must know of each group of models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

FOUND_LATELY = 256  # names: a file may name any number of models


class Group(Protocol):
    """One group of models. `prefixes` are names without what stands before and behind them in a service's spelling."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The names."""


Facts = TypeVar("Facts", bound=Group)


class PrefixTable(Generic[Facts]):
    """Facts by prefix: the longest wins. `rest` matches what may stand behind one."""

    def __init__(self, records: Iterable[Facts], rest: re.Pattern[str]) -> None:
        self.records, self._rest = tuple(records), rest
        named = [(prefix, facts) for facts in self.records for prefix in facts.prefixes]
        self._named = sorted(named, key=lambda pair: len(pair[0]), reverse=True)

    def longest(self, bare: str) -> Facts | None:
        """Return the facts of the longest prefix of a bare name."""
        for prefix, facts in self._named:
            if bare.startswith(prefix) and self._rest.match(bare, len(prefix)):
                return facts
        return None


class ModelTable(PrefixTable[Facts]):
    """A table whose unknown models are taken for one record. `bare` cuts off what a service puts before a name."""

    def __init__(
        self, records: Iterable[Facts], unknown: Facts, *, rest: re.Pattern[str], bare: Callable[[str], str]
    ) -> None:
        super().__init__(records, rest)
        self._unknown, self._bare = unknown, bare
        self.find = lru_cache(maxsize=FOUND_LATELY)(self._find)

    def extended(self, *records: Facts) -> ModelTable[Facts]:
        """Return a table in which these records go before the present ones with equal prefixes."""
        return ModelTable((*records, *self.records), self._unknown, rest=self._rest, bare=self._bare)

    def _find(self, name: str) -> Facts:
        return self.longest(self._bare(name)) or self._unknown
