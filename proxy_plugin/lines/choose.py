"""Which target a line goes to, decided line by line in the split: the same file and the same route, the same split.

The stored rules become functions once; for each line they look at its model, and at more of it only where a condition
does. What depends on earlier lines depends on their number alone, which a later run counts again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from proxy_plugin.lines.choosing.by_line import LinesOwn, Nameable
from proxy_plugin.lines.choosing.choice import (
    CONFLICT,
    NO_RULE,
    Choice,
    Continuation,
    Misrouted,
    Pick,
    Unplaced,
    going_on,
)
from proxy_plugin.lines.choosing.turns import shared
from proxy_plugin.lines.envelope import Envelope
from proxy_plugin.lines.ways import DIRECT, MOST_CALLS, NATIVE, half, has_calls, way_of
from proxy_plugin.providers import catalog
from proxy_plugin.routing import conditions
from proxy_plugin.routing.conditions import Asked
from proxy_plugin.routing.patterns import PatternRefused
from proxy_plugin.routing.route import (
    ALLOWED,
    ALWAYS,
    NEVER,
    NO_CHANGES,
    ByLine,
    Changes,
    Fallback,
    Names,
    Rescue,
    Rule,
    Rules,
    Share,
    StoredTarget,
    To,
    When,
    allowed,
    params_switches,
)

_CONFLICT = (
    "body.model names another virtual key than {}, which the request chose for all lines. Take '@slug/' out of the"
    " line, or send the batch without an account, so that each line chooses its own."
)
_CURABLE = (408, 409, 425, 429, *range(500, 600))  # what may be otherwise when the same target is asked again


class TargetSpec(msgspec.Struct, frozen=True):
    """One account as the split of a batch needs it. Limits are the strictest of lane and operator; None: none."""

    slug: str
    provider: str
    model: str | None = None  # replaces body.model
    drop_params: bool = False
    strict_params: bool = False
    fan_out: bool = False  # lines that ask for several answers may be sent as several requests
    fetch_media: bool = False  # pictures that lines name by URL come from our disk
    max_lines: int | None = None  # of one native job
    max_bytes: int | None = None  # of one native document, framing included
    max_inputs: int | None = None  # of one native job
    max_line_bytes: int | None = None  # of one native line
    models: tuple[str, ...] | None = None  # allow-list, globs
    strict: bool = False  # a line that it cannot express fails the batch
    changes: Changes = NO_CHANGES
    way: str = NATIVE  # or DIRECT: ordinary calls, one a line
    direct: str | None = None  # of route.DIRECT_CALLS: how far ordinary calls may go; None: nobody wants any


def target_spec(target: StoredTarget) -> TargetSpec:
    """Return a stored target with the limits of its lane. Raises catalog.UnknownProvider, ImportError."""
    way = way_of(target)
    lane = half(target.provider, way).capabilities
    most = MOST_CALLS if way == DIRECT else target.max_lines_per_job
    return TargetSpec(
        slug=target.slug,
        provider=target.provider,
        model=target.model,
        drop_params=target.drop_params,
        strict_params=target.strict_params is True,
        fetch_media=target.fetch_media is True,
        max_lines=_least(lane.max_lines, most),
        max_bytes=_least(lane.max_bytes, target.max_bytes_per_job),
        max_inputs=lane.max_inputs,
        max_line_bytes=lane.max_line_bytes,
        models=target.models or None,
        strict=target.strict is True,
        changes=target.changes or NO_CHANGES,
        way=way,
        direct=target.direct or None,
    )


def _called(spec: TargetSpec, direct: str | None) -> TargetSpec:
    """Return a target with how far ordinary calls may go; its operator's word is the last."""
    if direct is None or spec.direct == NEVER:
        return spec
    found = msgspec.structs.replace(spec, direct=direct)
    return by_calls(found) if direct == ALWAYS else found


def by_calls(spec: TargetSpec) -> TargetSpec:
    """Return a target as it is where it is called for each line; as it is anyway where it may not be called."""
    if spec.way == DIRECT or spec.direct not in (ALLOWED, ALWAYS) or not has_calls(spec.provider):
        return spec
    lane = half(spec.provider, DIRECT).capabilities
    return msgspec.structs.replace(
        spec,
        way=DIRECT,
        max_lines=_least(lane.max_lines, MOST_CALLS),
        max_bytes=lane.max_bytes,
        max_inputs=lane.max_inputs,
        max_line_bytes=lane.max_line_bytes,
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


class Chooser:
    """Chooses the target of one line after the other, in the order of the file.

    `continuations` are where lines go on that failed. Their numbers depend on targets, rules and rescue alone. `before`
    lines of the file have had their turns at the top of the rules.
    """

    def __init__(
        self, specs: Sequence[TargetSpec], rules: Rules, rescue: Rescue | None = None, before: int = 0
    ) -> None:
        self._specs, self._rules, self._rescue = specs, rules, rescue
        self._slugs = frozenset([*rules.slugs, *(each.slug for each in specs)])
        self._one_account = len({each.slug for each in specs}) == 1
        self._prefixes = [own_prefixes(each.provider) for each in specs]
        self._by_line: list[ByLine] = []
        self.continuations: list[Continuation] = []
        self.choose: Pick = self._compiled(rules.rule or To(0), None, before)

    def spec(self, choice: Choice) -> TargetSpec:
        """Return the target of a choice with what its rule adds."""
        found = self._specs[choice.target]
        if choice.rule != NO_RULE:
            found = _ruled(found, self._by_line[choice.rule])
        return by_calls(found) if choice.way == DIRECT else found

    def ruled(self, choice: Choice) -> ByLine | None:
        """Return the rule of lines that name their target, where a choice was made by one."""
        return None if choice.rule == NO_RULE else self._by_line[choice.rule]

    def goes_on(self, number: int | None, status: int | None) -> Continuation | None:
        """Return where a line goes on that failed with a status, None: nowhere.

        `number` is its part's. A line that has no answer at all, so no status, always goes on.
        """
        while number is not None:
            found = self.continuations[number]
            if status is None or not found.codes or status in found.codes:
                return found
            number = found.otherwise
        return None

    def further(self, refused: Unplaced, tried: set[int]) -> Pick | None:
        """Return what chooses for a line that was refused before anything was sent, None: nobody else may have it.

        `tried` are the continuations that have been tried for it; the one that is returned is put there.
        """
        number = refused.then
        if number is None or number in tried or self.continuations[number].again:
            return None
        tried.add(number)
        return self.continuations[number].pick

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

    def _compiled(self, rule: Rule, then: int | None, before: int = 0) -> Pick:
        """Return what chooses by a rule; `then`: where lines go on that fail, unless it says so itself."""
        match rule:
            case To(target):
                leaf = partial(self._to, target)
                return leaf(self._after(self._specs[target], then, leaf), None)
            case Share(weights, rules):
                return shared(weights, [self._compiled(each, then) for each in rules], before)
            case Fallback():
                return self._in_order(rule, then)
            case When():
                return self._when(rule, then)
            case ByLine():
                return self._lines_own(rule, then)

    def _in_order(self, rule: Fallback, then: int | None) -> Pick:
        """Return the first target's pick; each other one is the continuation of the one before it."""
        *earlier, last = rule.rules
        pick, on = self._compiled(last, then), then
        for each in reversed(earlier):
            on = self._continue(Continuation(pick, rule.codes or self._codes, otherwise=then))
            pick = going_on(self._compiled(each, on), on)
        return pick

    @property
    def _codes(self) -> tuple[int, ...]:
        return self._rescue.codes if self._rescue else ()

    def _continue(self, continuation: Continuation) -> int:
        self.continuations.append(continuation)
        return len(self.continuations) - 1

    def _after(self, spec: TargetSpec, then: int | None, leaf: Callable[[int, str | None], Pick]) -> int | None:
        """Return where lines go on that fail at a target: what stands behind it, itself, or nowhere.

        `leaf` makes its pick anew: turns that failed lines take do not change those of others.
        """
        way = DIRECT if spec.direct == ALLOWED else None
        if way is None and (then is not None or self._rescue is None):
            return then
        if then is not None:
            return self._continue(self.continuations[then]._replace(itself=leaf(then, way)))
        itself = leaf(len(self.continuations), way)
        return self._continue(Continuation(itself, self._codes or _CURABLE, way, itself=itself))

    def _lines_own(self, rule: ByLine, then: int | None) -> Pick:
        """Return the pick of lines that name their target. Those whose target may be called go on apart."""
        self._by_line.append(rule)
        number, known = len(self._by_line) - 1, Nameable(self._rules.names or Names(), self._bare)
        ruled = [_ruled(spec, rule) for spec in self._specs]

        def leaf(then: int, way: str | None) -> Pick:
            return LinesOwn(rule, number, known, [then] * len(ruled), way).pick

        kinds = {each.direct == ALLOWED: each for each in ruled}
        after = {kind: self._after(kinds[kind], then, leaf) for kind in sorted(kinds)}
        named = LinesOwn(rule, number, known, [after[each.direct == ALLOWED] for each in ruled])
        named.otherwise = None if rule.otherwise is None else self._compiled(rule.otherwise, then)
        return named.pick

    def _to(self, target: int, then: int | None, way: str | None) -> Pick:
        model = self._specs[target].model
        if model is not None:
            fixed = Choice(target, self._bare(target, model), model, then=then, way=way)
            return lambda _: fixed

        def pick(line: Envelope) -> Choice:
            model = line.model if line.model[0] != "@" else self._without_slug(line.model, target)
            return Choice(target, self._bare(target, model), model, NO_RULE, then, way)

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

    def _when(self, rule: When, then: int | None) -> Pick:
        picks = [self._compiled(each, then) for each in rule.rules]
        try:
            cases = [(conditions.compiled(case.query), picks[case.then]) for case in rule.cases]
        except PatternRefused:
            return _refuse_pattern
        default = None if rule.default is None else picks[rule.default]
        metadata, strict = self._rules.metadata, rule.strict

        def pick(line: Envelope) -> Choice:
            asked = Asked(metadata, line.url, line.body)
            chosen = next((pick for holds, pick in cases if holds(asked)), default)
            if chosen is None:
                message = "The line meets no condition of the config, and the config has no default target."
                raise Misrouted(message, "no_target", strict=strict, param=None)
            return chosen(line)

        return pick


def _refuse_pattern(_: Envelope) -> Choice:
    """Fail the batch: its route was stored by a version that took patterns of Python's syntax."""
    message = "A $regex of the batch's config is none that RE2 takes. Create the batch again; the answer will name it."
    raise Misrouted(message, "invalid_pattern", strict=True, param=None)


def _ruled(spec: TargetSpec, rule: ByLine) -> TargetSpec:
    """Return a target with what the rule of the lines that name it adds."""
    drop, strict = params_switches((rule.drop_params, rule.strict_params), (spec.drop_params, spec.strict_params))
    found = msgspec.structs.replace(
        spec,
        model=None,
        drop_params=drop,
        strict_params=strict,
        fetch_media=rule.fetch_media,
        strict=rule.strict,
        changes=rule.changes,
    )
    return _called(found, rule.direct)
