"""What the answers of a batch used and cost, by part and model, counted while the merge chooses the rows.

Only the row that counts of a line is counted: an answer that came twice is one answer here, although a provider may
charge for both. The price is that of the model which answered, because bills name that one, also where an alias or a
deployment was asked for; where it is not listed (a dated name that is newer than the price data), that of the model
which was asked for. Surcharges for long prompts are not in these prices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
from msgspec import structs

from proxy_plugin.costs.prices import Price, price
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Usage

MODELS_KEPT = 100  # of one part; names of models may be the caller's own
OTHERS = ""
_DIGITS = 12  # a millionth of a millionth of a dollar, in which costs are summed up: in any order to the same sum
_UNIT = 10**_DIGITS
_MOST = 2**53  # tokens: what a provider says must fit into 64 bits even if it is nonsense, which then has no price


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What the answered lines of one part and model used, tokens in OpenAI's batch words.

    `model` is as answered, or else as asked for; OTHERS sums up what came after the first 100 models of a part, and
    lines of which neither is known. `unpriced` of the `lines` have no known price or told no usage; `cost` is US
    dollars for the others, None if there are no others.
    """

    part: int
    model: str = OTHERS
    lines: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: float | None = None

    @property
    def usage(self) -> Usage:
        """The token counts alone."""
        return Usage(self.input_tokens, self.output_tokens, self.cached_tokens, self.reasoning_tokens)


def total(rows: Iterable[Spent], part: int = 0) -> Spent:
    """Return the sum; its cost is that of the lines whose cost is known, None if there are none."""
    rows = list(rows)
    costs = [row.cost for row in rows if row.cost is not None]
    return Spent(
        part=part,
        lines=sum(row.lines for row in rows),
        unpriced=sum(row.unpriced for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cached_tokens=sum(row.cached_tokens for row in rows),
        reasoning_tokens=sum(row.reasoning_tokens for row in rows),
        cost=sum(round(cost * _UNIT) for cost in costs) / _UNIT if costs else None,
    )


def added_up(counted: Iterable[Iterable[Spent]]) -> tuple[Spent, ...]:
    """Return the sums of several counts by part and model. Of a part that has too many models some become OTHERS."""
    found, models = dict[tuple[int, str], list[Spent]](), Counter[int]()
    for each in chain.from_iterable(counted):
        key = each.part, each.model
        if key not in found and each.model != OTHERS:
            models[each.part] += 1
            key = key if models[each.part] <= MODELS_KEPT else (each.part, OTHERS)
        found.setdefault(key, []).append(each)
    return tuple(structs.replace(total(rows, part), model=model) for (part, model), rows in sorted(found.items()))


class Tally:
    """Counts answers, one call a line. What it holds grows with parts and their first 100 models, not with lines."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str | None], tuple[Price | None, _Sums]] = {}
        self._sums: dict[tuple[int, str], _Sums] = {}
        self._models: Counter[int] = Counter()

    def add(
        self,
        part: int,
        provider: str,
        asked: str | None,
        answered: str | None,
        usage: Usage | None,
        way: str = "native",
    ) -> float | None:
        """Count one answered line; return its cost in US dollars, None if that is not known."""
        known = self._known.get((part, answered))
        if known is None:
            known = self._meet(part, _price(provider, asked, answered, way), asked, answered)
        price, sums = known
        return sums.add(price, usage)

    def spent(self) -> tuple[Spent, ...]:
        """Return what was counted, by part and model."""
        return tuple(sums.spent(*key) for key, sums in sorted(self._sums.items(), key=lambda item: item[0]))

    def _meet(
        self, part: int, found: Price | None, asked: str | None, answered: str | None
    ) -> tuple[Price | None, _Sums]:
        if self._models[part] >= MODELS_KEPT:
            return found, self._sums_of(part, OTHERS)
        self._models[part] += 1
        known = self._known[part, answered] = found, self._sums_of(part, answered or asked or OTHERS)
        return known

    def _sums_of(self, part: int, model: str) -> _Sums:
        return self._sums.setdefault((part, model), _Sums())


class _Sums:
    __slots__ = ("cached", "cost", "lines", "reasoning", "unpriced", "used", "written")

    def __init__(self) -> None:
        self.lines = self.unpriced = self.used = self.written = self.cached = self.reasoning = self.cost = 0

    def add(self, price: Price | None, usage: Usage | None) -> float | None:
        self.lines += 1
        if usage is not None:
            self.used += usage.input_tokens
            self.written += usage.output_tokens
            self.cached += usage.cached_tokens
            self.reasoning += usage.reasoning_tokens
        if usage is None or price is None or self.used + self.written + self.cached > _MOST:
            self.unpriced += 1
            return None
        cost = round(price.of(usage), _DIGITS)
        self.cost += round(cost * _UNIT)
        return cost

    def spent(self, part: int, model: str) -> Spent:
        return Spent(
            part=part,
            model=model,
            lines=self.lines,
            unpriced=self.unpriced,
            input_tokens=min(self.used, _MOST),
            output_tokens=min(self.written, _MOST),
            cached_tokens=min(self.cached, _MOST),
            reasoning_tokens=min(self.reasoning, _MOST),
            cost=self.cost / _UNIT if self.lines > self.unpriced else None,
        )


def usage_object(used: Usage) -> dict[str, Any]:
    """Return token counts as OpenAI's Batch has them."""
    return {
        "input_tokens": used.input_tokens,
        "input_tokens_details": {"cached_tokens": used.cached_tokens},
        "output_tokens": used.output_tokens,
        "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        "total_tokens": used.input_tokens + used.output_tokens,
    }


@lru_cache(4096)
def _price(provider: str, asked: str | None, answered: str | None, way: str) -> Price | None:
    try:
        lane = (catalog.direct(provider) if way == "direct" else catalog.load(provider)).capabilities
    except (catalog.UnknownProvider, ImportError):  # the adapter was removed since: its rows still count
        return None
    found = (price(lane, name) for name in (answered, asked) if name)
    return next((each for each in found if each is not None), None)
