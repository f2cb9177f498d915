"""What a plan warns of before money is spent: lines that will run, but perhaps not where their writer thinks."""

from __future__ import annotations

from functools import cache

import msgspec

from proxy_plugin.lines.choose import TargetSpec, own_prefixes
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Capabilities
from proxy_plugin.routing.route import allowed

MOST = 100  # warnings told one by one
_KEPT = 10_000  # models of which it is remembered what is to be said
ELSEWHERE, PREFIX, OVERRULED = "model_of_another_provider", "prefix_of_another_provider", "virtual_key_overruled"
_WORDS = {
    ELSEWHERE: "{model} is a model of {other}, and these lines go to {title}, which is likely to refuse them.",
    PREFIX: "{model} carries the prefix of another provider, {other}, and {title} is asked for a model of that name.",
    OVERRULED: "These lines name the virtual key {other}, and the route sends them to {slug}, which pays for them.",
}


class Warned(msgspec.Struct, frozen=True):
    """One warning about `lines` lines, of which `line` is the first, by its number in the file."""

    code: str
    message: str
    model: str
    line: int
    lines: int


class Warnings:
    """Gathers what is to be said of the lines that are placed; each kind and model is told once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Warned] = {}  # by code, slug, and model or overruled slug
        self._known: dict[tuple[str, str], tuple[str, str] | None] = {}

    def look(self, number: int, target: TargetSpec, model: str, overruled: str | None) -> None:
        """Look at one line: where it goes, as which model, and the slug that it names in vain."""
        key = (target.provider, model)
        if key not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = _stranger(target.provider, model)
        stranger = self._known[key]
        if stranger is not None:
            self._add(number, target, model, *stranger)
        if overruled is not None:
            self._add(number, target, model, OVERRULED, overruled)

    def found(self) -> tuple[Warned, ...]:
        """Return the warnings in the order of their first lines."""
        return tuple(self._found.values())

    def _add(self, number: int, target: TargetSpec, model: str, code: str, other: str) -> None:
        key = (code, target.slug, other if code == OVERRULED else model)
        known = self._found.get(key)
        if known is not None:
            self._found[key] = msgspec.structs.replace(known, lines=known.lines + 1)
        elif len(self._found) < MOST:
            title = _lane(target.provider).title
            message = _WORDS[code].format(model=model, other=other, title=title, slug=target.slug)
            self._found[key] = Warned(code, message, model, number, 1)


def _stranger(provider: str, model: str) -> tuple[str, str] | None:
    """Return the code of what is odd about a model at a provider, and whose it seems to be.

    A lane that names its models by patterns sells its own alone. Others host models of many makers, whose names may
    begin like a provider's (`openai/gpt-oss-120b`): there only the prefixes that LiteLLM alone uses are odd.
    """
    closed, prefix = bool(_lane(provider).model_patterns), model.partition("/")[0]
    if _sells(provider, model):
        return None
    if "/" in model and prefix not in own_prefixes(provider) and prefix in (_prefixes() if closed else catalog.ALIASES):
        return PREFIX, prefix
    seller = next((each for each in catalog.names() if closed and each != provider and _sells(each, model)), None)
    return None if seller is None else (ELSEWHERE, _lane(seller).title)


def _sells(provider: str, model: str) -> bool:
    return allowed(_lane(provider).model_patterns, model)


@cache
def _prefixes() -> frozenset[str]:
    return frozenset({*catalog.names(), *catalog.ALIASES, *catalog.ALIASES.values()})


@cache
def _lane(provider: str) -> Capabilities:
    return catalog.load(provider).capabilities
