"""Fault rules: which request goes wrong, and how. README.md documents the vocabulary."""

import random
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

Kind = Literal[
    "status",
    "redirect",
    "drop",
    "late",
    "status_after",
    "drop_after",
    "stall",
    "truncate",
    "truncate_chunked",
    "slow",
    "endless",
]


class Rule(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One fault. What each field means for which kind stands in README.md."""

    kind: Kind
    on: str = "*"
    provider: str | None = None
    account: str | None = None
    id: str | None = None
    times: int | None = 1
    skip: int = 0
    every: int = 1
    chance: float = 1.0
    seed: int = 0
    status: int = 500
    code: str | None = None
    message: str = "The sandbox was told to fail."
    body: str | None = None
    headers: dict[str, str] = {}
    retry_after: float | None = None
    retry_after_ms: int | None = None
    seconds: float = 0.0
    behind: str = ""
    size: int = msgspec.field(name="bytes", default=0)
    rate: int = 0
    url: str = ""
    drain: bool = True
    reset: bool = False


class BadRule(ValueError):
    """A rule that could never act as it says."""


class _Armed:
    """A rule and how often it met a request and fired."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.met = self.fired = 0
        self._dice = random.Random(rule.seed)

    def concerns(self, provider: str, operation: str, account: str | None, subject: str | None) -> bool:
        rule = self.rule
        return (
            rule.on in {"*", operation}
            and rule.provider in {None, provider}
            and rule.account in {None, account}
            and rule.id in {None, subject}
        )

    def fires(self) -> bool:
        self.met += 1
        spent = self.rule.times is not None and self.fired >= self.rule.times
        behind = self.met - self.rule.skip
        if spent or behind <= 0 or behind % self.rule.every or self._dice.random() >= self.rule.chance:
            return False
        self.fired += 1
        return True


class Faults:
    """The rules in force. The first that fires takes the request; later ones do not see it."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def replace(self, rules: Any, operations: Iterable[str]) -> None:
        """Put `rules` (decoded JSON, a list) in force instead of all earlier ones. Raises `BadRule`."""
        try:
            read = msgspec.convert(rules, list[Rule])
        except msgspec.ValidationError as wrong:
            raise BadRule(str(wrong)) from None
        known = {"*", *operations}
        for rule in read:
            _check(rule, known)
        self._armed = [_Armed(rule) for rule in read]

    def pick(self, provider: str, operation: str, account: str | None, subject: str | None) -> Rule | None:
        for armed in self._armed:
            if armed.concerns(provider, operation, account, subject) and armed.fires():
                return armed.rule
        return None

    def facts(self) -> list[dict[str, Any]]:
        return [{**msgspec.to_builtins(armed.rule), "met": armed.met, "fired": armed.fired} for armed in self._armed]


def _check(rule: Rule, operations: set[str]) -> None:
    for operation in filter(None, (rule.on, rule.behind)):
        if operation not in operations:
            raise BadRule(f"no operation is called {operation!r}; known: {', '.join(sorted(operations))}")
    needed = {"late": "seconds", "stall": "seconds", "slow": "rate", "redirect": "url"}
    if (name := needed.get(rule.kind)) and not getattr(rule, name):
        raise BadRule(f"a fault of kind {rule.kind!r} needs {name!r}")
    if rule.every < 1:
        raise BadRule("every must be 1 or more")
    if not 200 <= rule.status <= 599:
        raise BadRule("status must lie between 200 and 599")
