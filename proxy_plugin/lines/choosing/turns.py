"""Whose turn it is among several, by weight: the same turns on every run."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate

from proxy_plugin.lines.choosing.choice import Choice, Pick
from proxy_plugin.lines.envelope import Envelope

_GOLDEN, _RANGE = 0x9E3779B97F4A7C15, 2**64  # the golden ratio as a part of 2**64


def turns(weights: Sequence[float], before: int = 0) -> Callable[[], int]:
    """Return a function whose calls give places 0, 1, ... by weight: the same ones on every run, after those `before`.

    Each node counts the lines that come to it and shares them by multiples of the golden ratio. After n lines each
    share is right within a few lines, at every n: a hash or a random number would be off by its square root. And
    unlike taking turns the sequence has no period, so it does not fall into step with a file in which every second
    line is long, or with the turns of the node above.
    """
    if len(weights) == 1:
        return lambda: 0
    total = sum(map(Fraction, weights))
    ends = [int(end * _RANGE / total) for end in accumulate(map(Fraction, weights))][:-1]
    at = _GOLDEN * before % _RANGE

    def turn() -> int:
        nonlocal at
        at = (at + _GOLDEN) % _RANGE
        return bisect_right(ends, at)

    return turn


def shared(weights: Sequence[float], picks: Sequence[Pick], before: int = 0) -> Pick:
    turn = turns(weights, before)

    def pick(line: Envelope) -> Choice:
        return picks[turn()](line)

    return pick
