"""What share of the corpus each lane takes, and why it refuses the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy_plugin.providers.base import LineRejected
from tests.oracles.corpus.lanes import Lane, translated
from tests.oracles.corpus.lines import Line


@dataclass(slots=True)
class Share:
    """Counts of one lane. `shapes`: (taken without a switch, lines) by shape; `refused`: lines by refused parameter."""

    lane: Lane
    lines: int = 0
    taken: int = 0
    dropping: int = 0  # taken with drop_params
    strict: int = 0  # taken with strict_params
    shapes: dict[str, list[int]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def part(self) -> float:
        """The share that is taken without a switch."""
        return self.taken / self.lines


def share(lane: Lane, corpus: Sequence[Line]) -> Share:
    """Translate the corpus for one lane, with each switch and without."""
    found = Share(lane)
    for line in corpus:
        counts = found.shapes.setdefault(line.shape, [0, 0])
        counts[1] += 1
        found.lines += 1
        found.dropping += _takes(lane, line, drop_params=True)
        found.strict += _takes(lane, line, strict_params=True)
        try:
            translated(lane, line)
        except LineRejected as error:
            found.refused.update({_plain(param) for param in error.params} or {error.code})
        else:
            counts[0] += 1
            found.taken += 1
    return found


def _takes(lane: Lane, line: Line, *, drop_params: bool = False, strict_params: bool = False) -> bool:
    try:
        translated(lane, line, drop_params=drop_params, strict_params=strict_params)
    except LineRejected:
        return False
    return True


def _plain(param: str) -> str:
    """Return a path without its numbers."""
    return "".join("" if part.isdigit() else part for part in param.replace("[", "[|").replace("]", "|]").split("|"))
