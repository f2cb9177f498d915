"""How far lines that failed may go on, by the stored route alone."""

from __future__ import annotations

from proxy_plugin.routing.route import ALLOWED, ALWAYS, ByLine, Fallback, Route, Rule, Share, To, When


def attempts(route: Route) -> int:
    """Return how often a line may be asked again at most, beside the first time.

    What the route says; else as often as further targets stand behind a line's first one, and once where there is none.
    A target that may be called after its own job counts as one more, where nothing stands behind it.
    """
    if route.rescue and route.rescue.attempts is not None:
        return route.rescue.attempts
    return max(1, _further(route, _rule(route), 0))


def _rule(route: Route) -> Rule:
    return (route.rules and route.rules.rule) or To(0)


def _further(route: Route, rule: Rule, after: int) -> int:
    """Return how many targets may follow one that a rule chooses, if `after` follow where the rule ends."""
    match rule:
        case Fallback(rules):
            for each in reversed(rules):
                after = _further(route, each, after) + 1
            return after - 1
        case Share() | When():
            return max(_further(route, each, after) for each in rule.rules)
        case ByLine():
            otherwise = 0 if rule.otherwise is None else _further(route, rule.otherwise, after)
            return max(after or _calls(route, rule), otherwise)
        case To():
            return after or _calls(route, rule)


def may_be_called(route: Route) -> bool:
    """Tell whether ordinary calls may be made for lines of some target where no native job can be."""
    return any(each.direct == ALWAYS for each in route.targets) or _calls(route, _rule(route))


def _calls(route: Route, rule: Rule) -> bool:
    match rule:
        case To(target):
            return route.targets[target].direct == ALLOWED
        case ByLine():
            called = any(each.direct == ALLOWED for each in route.targets) if rule.direct is None else False
            otherwise = rule.otherwise is not None and _calls(route, rule.otherwise)
            return called or rule.direct == ALLOWED or otherwise
        case Share() | When() | Fallback():
            return any(_calls(route, each) for each in rule.rules)
