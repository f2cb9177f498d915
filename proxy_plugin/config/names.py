"""Which names lead to the entries of LiteLLM's list: weights among those of one name, aliases, and a lone `*`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from proxy_plugin.config.litellm_file import Alias
from proxy_plugin.config.sections import ModelEntry
from proxy_plugin.providers import catalog

_CLASS = re.compile(r"(.*)\[(\w+)\](.*)")


class Measures(NamedTuple):
    """What may weigh an entry. `order`: of a name those with the lowest are used alone."""

    weight: float | None = None
    rpm: float | None = None
    tpm: float | None = None
    order: float | None = None
    id: str = ""


def weighted(
    entries: Sequence[ModelEntry], measures: Sequence[Measures], scoped: Mapping[str, Mapping[str, float]]
) -> Iterator[ModelEntry]:
    """Give each entry its weight, by the first measure that any entry of its name has above 0, or else 1.

    As LiteLLM (1.106.2, `router_strategy/simple_shuffle.py`): an entry without this measure is not used then. What
    `router_settings.weights` says of a name by the ids of its entries comes first.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        if not entry.closed:  # one that cannot be used takes no lines from the others
            groups[entry.name].append(place)
    chosen: dict[int, float] = {}
    for name, places in groups.items():
        first = min((order for each in places if (order := measures[each].order) is not None), default=None)
        used = [each for each in places if first is None or measures[each].order == first]
        weights = _weights([measures[each] for each in used], scoped.get(name, {}))
        chosen |= dict.fromkeys(places, 0.0) | dict(zip(used, weights, strict=True))
    for place, entry in enumerate(entries):
        yield replace(entry, weight=chosen.get(place, 0.0))


def _weights(measures: Sequence[Measures], scoped: Mapping[str, float]) -> list[float]:
    for found in (
        [scoped.get(each.id, 0.0) for each in measures],
        [each.weight or 0.0 for each in measures],
        [each.rpm or 0.0 for each in measures],
        [each.tpm or 0.0 for each in measures],
    ):
        if max(found) > 0:
            return found
    return [1.0] * len(measures)


def with_aliases(entries: Sequence[ModelEntry], aliases: Mapping[str, Alias]) -> Iterator[ModelEntry]:
    """Yield the entries and, under every alias, those that it stands for; it hides entries of its own name."""
    yield from (each for each in entries if each.name not in aliases)
    for name, alias in aliases.items():
        for entry in entries_of(entries, alias.model):
            yield replace(entry, name=name, alias=True, hidden=alias.hidden)


def entries_of(entries: Sequence[ModelEntry], model: str) -> list[ModelEntry]:
    """Return the entries that a name leads to: its own, or those of the wildcard with most letters in common."""
    if exact := [each for each in entries if each.name == model]:
        return exact
    wild = sorted({each.name for each in entries if "*" in each.name}, key=lambda name: -len(name.replace("*", "")))
    for name in wild:
        pattern = "(.*)".join(map(re.escape, name.split("*")))
        if stars := re.fullmatch(pattern, model, re.DOTALL):
            filled = iter(stars.groups())
            return [
                replace(each, model=re.sub(r"\*", lambda _: next(filled, ""), each.model))  # noqa: B023 - used at once
                for each in entries
                if each.name == name
            ]
    return []


def everything(provider: str, patterns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (name, model) of all that a lone `*` lets callers name of a provider: `openai/*`, and `gpt-*`."""
    for prefix in sorted({provider, *catalog.aliases(provider)}):
        yield f"{prefix}/*", "*"
    for pattern in patterns:
        for name in _plain(pattern):
            yield name, name


def _plain(pattern: str) -> Iterator[str]:
    found = _CLASS.fullmatch(pattern)
    if found is None:
        yield pattern
    else:
        yield from (f"{found[1]}{letter}{found[3]}" for letter in found[2])
