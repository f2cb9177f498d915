"""Lines that name their account themselves: by a virtual key, or by a name of LiteLLM's model list."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from proxy_plugin.lines.choosing.choice import Choice, Misrouted, Pick
from proxy_plugin.lines.choosing.turns import turns
from proxy_plugin.lines.envelope import Envelope
from proxy_plugin.routing.route import NOT_ALLOWED, NOT_SLUGS, ByLine, Name, Names, Option

INVALID_KEY, NOT_FOUND = "invalid_virtual_key", "model_not_found"
_KEPT = 10_000  # models whose resolution is remembered


class _Named:
    """One model name of LiteLLM's list, and whose turn it is among its accounts."""

    def __init__(self, name: str, known: Name) -> None:
        self.known = known
        self.pattern = re.compile("(.*)".join(map(re.escape, name.split("*"))), re.DOTALL)
        self._turn = turns([option.weight for option in known.options]) if known.options else None

    def next(self) -> Option:
        assert self._turn is not None
        return self.known.options[self._turn()]


class Known(NamedTuple):
    """What lines can name: `names`; `bare` gives a target's model without its provider's prefix."""

    names: Names
    bare: Callable[[int, str], str]


class LinesOwn:
    """Chooses for the lines of one rule. `after` has, by target, where a line goes on if it fails there."""

    def __init__(
        self, rule: ByLine, number: int, known: Known, after: Sequence[int | None], way: str | None = None
    ) -> None:
        names = known.names
        self._rule, self._number, self._names, self._bare = rule, number, names, known.bare
        self._after, self._way = after, way
        self._exact = {name: _Named(name, known) for name, known in names.models.items() if "*" not in name}
        wild = [(name, _Named(name, known)) for name, known in names.models.items() if "*" in name]
        self._wild = [named for _, named in sorted(wild, key=lambda each: -len(each[0].replace("*", "")))]
        self._resolved: dict[str, Callable[[], Choice] | None] = {}
        self.otherwise: Pick | None = None

    def pick(self, line: Envelope) -> Choice:
        """Return the choice. Raises Misrouted."""
        asked = self._rule.model or line.model
        if asked not in self._resolved:
            if len(self._resolved) >= _KEPT:
                self._resolved.clear()
            self._resolved[asked] = self._resolve(asked)
        resolved = self._resolved[asked]
        if resolved is None:
            assert self.otherwise is not None
            return self.otherwise(line)
        return resolved()

    def _resolve(self, asked: str) -> Callable[[], Choice] | None:
        """Return what gives the choice of each line that asks for this model; None: what is chosen otherwise."""
        named = self._exact.get(asked)
        if named is not None:
            return self._by_name(asked, named, ())
        if asked.startswith("@") and not asked.startswith(NOT_SLUGS):
            return self._by_slug(asked)
        for named in self._wild:
            if found := named.pattern.fullmatch(asked):
                return self._by_name(asked, named, found.groups())
        if self.otherwise is not None:
            return None
        message = (
            "body.model names no model that this API key can reach; write '@slug/model', or a name of GET /models."
        )
        return self._refusal(message, NOT_FOUND)

    def _by_slug(self, asked: str) -> Callable[[], Choice]:
        slug, _, model = asked[1:].partition("/")
        target, closed = self._names.slugs.get(slug), self._names.closed.get(slug)
        if closed is not None:
            return self._refusal(f"body.model names the virtual key {slug}, which takes no new work now.", closed)
        if target is None:
            message = "body.model names a virtual key that is unknown, or that this API key may not use."
            return self._refusal(message, INVALID_KEY)
        if not model:
            return self._refusal("body.model names a virtual key and no model; write '@slug/model'.", NOT_FOUND)
        choice = self._choice(target, self._bare(target, model), model)
        return lambda: choice

    def _by_name(self, asked: str, named: _Named, stars: tuple[str, ...]) -> Callable[[], Choice]:
        if named.known.closed is not None:
            text = _CLOSED.get(named.known.closed, "body.model names a model whose account cannot be used now.")
            return self._refusal(text, named.known.closed, named.known.provider or "")

        def choice() -> Choice:
            option = named.next()
            return self._choice(option.target, _filled(option.model, stars), asked)

        return choice

    def _choice(self, target: int, model: str, asked: str) -> Choice:
        return Choice(target, model, asked, self._number, self._after[target], self._way)

    def _refusal(self, message: str, code: str, provider: str = "") -> Callable[[], Choice]:
        def refuse() -> Choice:
            error = Misrouted(message, code, strict=self._rule.strict)
            error.provider = provider
            raise error

        return refuse


_CLOSED = {
    "no_batch_lane": "body.model names a model whose provider neither this gateway nor litellm knows.",
    NOT_ALLOWED: "body.model names a model that this API key may not use.",
}


def _filled(model: str, stars: Sequence[str]) -> str:
    """Return a model with each `*` replaced by what stood for it in the name that was asked for."""
    first, *rest = model.split("*")
    return first + "".join(found + literal for found, literal in zip([*stars, *[""] * len(rest)], rest, strict=False))
