"""How much a config may ask of every line by its conditions, and which patterns it wants compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

from proxy_plugin.routing import conditions
from proxy_plugin.routing.config_tree import Condition, Node
from proxy_plugin.routing.patterns import MAX_BYTES, Pattern

MAX_CONDITIONS = 64  # of a config, in all of its groups
MAX_COMPARISONS = 256  # of a config: every operator of every field of every query
MAX_PATTERNS = 64  # of a config
_T = TypeVar("_T", Condition, Pattern)


def patterns_of(node: Node) -> tuple[Pattern, ...]:
    """Return the patterns of all conditions. Whether they can be used `patterns.refusals` tells."""
    return tuple(each for case in node.every_condition() for each in conditions.searches(case.query, case.path))


def beyond(node: Node) -> Iterator[tuple[str, str]]:
    """Yield (path, which bound) for each bound that a config is beyond, with the path of the first thing beyond it."""
    cases, found = list(node.every_condition()), patterns_of(node)
    for path in _beyond(cases, lambda _: 1, MAX_CONDITIONS):
        yield path, f"a config may have at most {MAX_CONDITIONS} conditions"
    for path in _beyond(cases, lambda case: conditions.count(case.query), MAX_COMPARISONS):
        yield path, f"the conditions of a config may make at most {MAX_COMPARISONS} comparisons"
    for path in _beyond(found, lambda _: 1, MAX_PATTERNS):
        yield path, f"a config may have at most {MAX_PATTERNS} patterns"
    for path in _beyond(found, lambda each: len(each.text.encode("utf-8", "surrogatepass")), MAX_BYTES):
        yield path, f"the patterns of a config may have at most {MAX_BYTES} bytes together"


def _beyond(each: Sequence[_T], size: Callable[[_T], int], bound: int) -> Iterator[str]:
    """Yield the path of the first with which the sum of the sizes is above the bound."""
    sums = accumulate(map(size, each))
    yield from [one.path for one, total in zip(each, sums, strict=True) if total > bound][:1]
