"""Which target a line goes to, decided line by line in the split: the same file and the same route, the same split.

The stored rules become functions once; for each line they look at its model, and at more of it only where a condition
does. What depends on earlier lines depends on their number alone, which a later run counts again.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

import msgspec

from proxy_plugin.lines.envelope import Envelope
from proxy_plugin.lines.ways import DIRECT, MOST_CALLS, half, way_of
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import LineRejected
from proxy_plugin.routing import conditions
from proxy_plugin.routing.conditions import Asked
from proxy_plugin.routing.patterns import PatternRefused
from proxy_plugin.routing.route import (
    NO_CHANGES,
    NOT_ALLOWED,
    NOT_SLUGS,
    ByLine,
    Changes,
    Fallback,
    Name,
    Names,
    Option,
    Rule,
    Rules,
    Share,
    StoredTarget,
    To,
    When,
    allowed,
    params_switches,
)

INVALID_KEY, NOT_FOUND, CONFLICT = "invalid_virtual_key", "model_not_found", "virtual_key_conflict"
_CONFLICT = (
    "body.model names another virtual key than {}, which the request chose for all lines. Take '@slug/' out of the"
    " line, or send the batch without an account, so that each line chooses its own."
)
_KEPT = 10_000  # models whose resolution is remembered
_NO_RULE = -1
_GOLDEN, _RANGE = 0x9E3779B97F4A7C15, 2**64  # the golden ratio as a part of 2**64


class TargetSpec(msgspec.Struct, frozen=True):
    """One account as the split of a batch needs it. Limits are the strictest of lane and operator; None: none."""

    slug: str
    provider: str
    model: str | None = None  # replaces body.model
    drop_params: bool = False
    strict_params: bool = False
    fetch_media: bool = False  # pictures that lines name by URL come from our disk
    max_lines: int | None = None  # of one native job
    max_bytes: int | None = None  # of one native document, framing included
    max_inputs: int | None = None  # of one native job
    max_line_bytes: int | None = None  # of one native line
    models: tuple[str, ...] | None = None  # allow-list, globs
    strict: bool = False  # a line that it cannot express fails the batch
    changes: Changes = NO_CHANGES
    way: str = "native"  # or "direct": ordinary calls, one a line


def target_spec(target: StoredTarget, way: str | None = None) -> TargetSpec:
    """Return a stored target with the limits of its lane. Raises catalog.UnknownProvider, ImportError."""
    way = way or way_of(target)
    lane = half(target.provider, way).capabilities
    most = MOST_CALLS if way == DIRECT else None
    return TargetSpec(
        slug=target.slug,
        provider=target.provider,
        model=target.model,
        drop_params=target.drop_params,
        strict_params=target.strict_params is True,
        fetch_media=target.fetch_media is True,
        max_lines=_least(lane.max_lines, target.max_lines_per_job, most),
        max_bytes=_least(lane.max_bytes, target.max_bytes_per_job),
        max_inputs=lane.max_inputs,
        max_line_bytes=lane.max_line_bytes,
        models=target.models or None,
        strict=target.strict is True,
        changes=target.changes or NO_CHANGES,
        way=way,
    )


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def named_slug(model: str) -> str:
    """Return the slug of `@slug/model`, empty for any other name."""
    slug, _, rest = model[1:].partition("/") if model.startswith("@") else ("", "", "")
    return slug if rest else ""


def own_prefixes(provider: str) -> frozenset[str]:
    """Return what may stand before the `/` of a model of this provider's: its own name, and LiteLLM's for it."""
    return frozenset({provider, *catalog.aliases(provider)})


class Choice(NamedTuple):
    """Where a line goes. `asked` is the name by which its model was asked for; `rule` numbers a `ByLine`, -1: none.

    `then` numbers what is chosen of where the line goes on if it fails here, None: nowhere.
    """

    target: int
    model: str
    asked: str
    rule: int = _NO_RULE
    then: int | None = None


class Misrouted(LineRejected):
    """No target may have this line. `strict`: that fails the batch."""

    def __init__(self, message: str, code: str, *, strict: bool, param: str | None = "body.model") -> None:
        super().__init__(message, code=code, param=param)
        self.strict = strict
        self.provider = ""


_Pick = Callable[[Envelope], Choice]


class Chooser:
    """Chooses the target of one line after the other, in the order of the file."""

    def __init__(self, specs: Sequence[TargetSpec], rules: Rules) -> None:
        self._specs, self._rules = specs, rules
        self._slugs = frozenset([*rules.slugs, *(each.slug for each in specs)])
        self._one_account = len({each.slug for each in specs}) == 1
        self._prefixes = [own_prefixes(each.provider) for each in specs]
        self._by_line: list[ByLine] = []
        self.choose: _Pick = self._compiled(rules.rule or To(0))

    def spec(self, choice: Choice) -> TargetSpec:
        """Return the target of a choice with what its rule adds."""
        found = self._specs[choice.target]
        if choice.rule == _NO_RULE:
            return found
        rule = self._by_line[choice.rule]
        drop, strict = params_switches((rule.drop_params, rule.strict_params), (found.drop_params, found.strict_params))
        return msgspec.structs.replace(
            found,
            model=None,
            drop_params=drop,
            strict_params=strict,
            fetch_media=rule.fetch_media,
            strict=rule.strict,
            changes=rule.changes,
        )

    def overruled(self, choice: Choice, line: Envelope) -> str | None:
        """Return the slug of another account that the line names in vain."""
        slug = named_slug(line.model)
        return slug if slug in self._slugs and slug != self._specs[choice.target].slug else None

    @property
    def listed(self) -> bool:
        """Whether the caller has an allow-list of models."""
        return self._rules.models is not None

    def admits(self, choice: Choice) -> bool:
        """Tell whether the caller may have this model, by the name it was asked for, its own, or @slug/model."""
        names = {choice.asked, choice.model, f"@{self._specs[choice.target].slug}/{choice.model}"}
        return self._rules.models is None or any(allowed(self._rules.models, name) for name in names)

    def _compiled(self, rule: Rule) -> _Pick:
        match rule:
            case To(target):
                return self._to(target)
            case Share(weights, rules):
                return _shared(weights, [self._compiled(each) for each in rules])
            case Fallback(rules):
                return self._compiled(rules[0])
            case When():
                return self._when(rule)
            case ByLine():
                self._by_line.append(rule)
                named = _ByLine(rule, len(self._by_line) - 1, self._rules.names or Names(), self._bare)
                named.otherwise = None if rule.otherwise is None else self._compiled(rule.otherwise)
                return named.pick

    def _to(self, target: int) -> _Pick:
        model = self._specs[target].model
        if model is not None:
            fixed = Choice(target, self._bare(target, model), model)
            return lambda _: fixed

        def pick(line: Envelope) -> Choice:
            model = line.model if line.model[0] != "@" else self._without_slug(line.model, target)
            return Choice(target, self._bare(target, model), model)

        return pick

    def _without_slug(self, model: str, target: int) -> str:
        """Return the model alone: the route is stronger than the account that a line names.

        Raises Misrouted where all lines go to one account, and it is another: its owner would get the bill.
        """
        slug, own = named_slug(model), self._specs[target]
        if slug not in self._slugs:
            return model
        if self._one_account and slug != own.slug:
            raise Misrouted(_CONFLICT.format(own.slug), CONFLICT, strict=own.strict)
        return model[len(slug) + 2 :]

    def _bare(self, target: int, model: str) -> str:
        """Return a model without the prefix by which LiteLLM tells the target's own provider from others.

        A name that the lane, or the account's allow-list, has with the prefix is kept: a server behind `custom_host`
        may call a model `openai/gpt-oss-120b`.
        """
        prefix, _, rest = model.partition("/")
        if not rest or prefix not in self._prefixes[target]:
            return model
        spec = self._specs[target]
        named = (*catalog.load(spec.provider).capabilities.model_patterns, *(spec.models or ()))
        return model if allowed((each for each in named if "/" in each), model) else rest

    def _when(self, rule: When) -> _Pick:
        picks = [self._compiled(each) for each in rule.rules]
        try:
            cases = [(conditions.compiled(case.query), picks[case.then]) for case in rule.cases]
        except PatternRefused:
            return _refuse_pattern
        default = None if rule.default is None else picks[rule.default]
        metadata, strict = self._rules.metadata, rule.strict

        def pick(line: Envelope) -> Choice:
            asked = Asked(metadata, line.url, line.body)
            chosen = next((then for holds, then in cases if holds(asked)), default)
            if chosen is None:
                message = "The line meets no condition of the config, and the config has no default target."
                raise Misrouted(message, "no_target", strict=strict, param=None)
            return chosen(line)

        return pick


def _refuse_pattern(_: Envelope) -> Choice:
    """Fail the batch: its route was stored by a version that took patterns of Python's syntax."""
    message = "A $regex of the batch's config is none that RE2 takes. Create the batch again; the answer will name it."
    raise Misrouted(message, "invalid_pattern", strict=True, param=None)


def _turns(weights: Sequence[float]) -> Callable[[], int]:
    """Return a function whose calls give places 0, 1, ... by weight: the same ones on every run.

    Each node counts the lines that come to it and shares them by multiples of the golden ratio. After n lines each
    share is right within a few lines, at every n: a hash or a random number would be off by its square root. And
    unlike taking turns the sequence has no period, so it does not fall into step with a file in which every second
    line is long, or with the turns of the node above.
    """
    if len(weights) == 1:
        return lambda: 0
    total = sum(map(Fraction, weights))
    ends = [int(end * _RANGE / total) for end in accumulate(map(Fraction, weights))][:-1]
    at = 0

    def turn() -> int:
        nonlocal at
        at = (at + _GOLDEN) % _RANGE
        return bisect_right(ends, at)

    return turn


def _shared(weights: Sequence[float], picks: Sequence[_Pick]) -> _Pick:
    turn = _turns(weights)

    def pick(line: Envelope) -> Choice:
        return picks[turn()](line)

    return pick


class _Named:
    """One model name of LiteLLM's list, and whose turn it is among its accounts."""

    def __init__(self, name: str, known: Name) -> None:
        self.known = known
        self.pattern = re.compile("(.*)".join(map(re.escape, name.split("*"))), re.DOTALL)
        self._turn = _turns([option.weight for option in known.options]) if known.options else None

    def next(self) -> Option:
        assert self._turn is not None
        return self.known.options[self._turn()]


class _ByLine:
    """Lines that name their account themselves."""

    def __init__(self, rule: ByLine, number: int, names: Names, bare: Callable[[int, str], str]) -> None:
        self._rule, self._number, self._names, self._bare = rule, number, names, bare
        self._exact = {name: _Named(name, known) for name, known in names.models.items() if "*" not in name}
        wild = [(name, _Named(name, known)) for name, known in names.models.items() if "*" in name]
        self._wild = [named for _, named in sorted(wild, key=lambda each: -len(each[0].replace("*", "")))]
        self._resolved: dict[str, Callable[[], Choice] | None] = {}
        self.otherwise: _Pick | None = None

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
        choice = Choice(target, self._bare(target, model), model, self._number)
        return lambda: choice

    def _by_name(self, asked: str, named: _Named, stars: tuple[str, ...]) -> Callable[[], Choice]:
        if named.known.closed is not None:
            text = _CLOSED.get(named.known.closed, "body.model names a model whose account cannot be used now.")
            return self._refusal(text, named.known.closed, named.known.provider or "")

        def choice() -> Choice:
            option = named.next()
            return Choice(option.target, _filled(option.model, stars), asked, self._number)

        return choice

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
