"""What the choice of a line's target depends on beside the line itself."""

from __future__ import annotations

from collections.abc import Iterator

from proxy_plugin.routing.route import ByLine, Fallback, Rule, Rules, Share, When


def by_model(rules: Rules) -> bool:
    """Tell whether lines of one url and model have one target: nothing else of them has a say, and no turns."""
    return _one_each(rules) and not any(isinstance(each, Share | When) for each in _below(rules.rule))


def by_number(rules: Rules) -> bool:
    """Tell whether the line and its number say it: nobody needs to know what became of the lines before.

    At the top every line takes one turn, so their number says whose it is; further down only some come by.
    """
    top = rules.rule
    rest = [each for rule in top.rules for each in _below(rule)] if isinstance(top, Share) else _below(top)
    return _one_each(rules) and not any(isinstance(each, Share) for each in rest)


def _one_each(rules: Rules) -> bool:
    return rules.names is None or all(len(name.options) <= 1 for name in rules.names.models.values())


def _below(rule: Rule | None) -> Iterator[Rule]:
    """Yield a rule and all those that it leads to."""
    if rule is None:
        return
    yield rule
    if isinstance(rule, ByLine):
        yield from _below(rule.otherwise)
    elif isinstance(rule, Share | When | Fallback):
        for each in rule.rules:
            yield from _below(each)
