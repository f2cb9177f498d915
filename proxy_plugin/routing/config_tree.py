"""A config object as a tree: groups that share lines out, choose by conditions or try one after the other, and below
them the targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Raw

from proxy_plugin.routing.route import NO_RETRY, Cache, Changes, Rescue, Retry

SINGLE, LOADBALANCE, CONDITIONAL, FALLBACK = MODES = ("single", "loadbalance", "conditional", "fallback")


class Slug(NamedTuple):
    """An account of this gateway."""

    slug: str


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """An account whose key the config brings. `fields` are all texts of the target, secrets among them."""

    provider: str
    fields: Mapping[str, str] = field(repr=False)
    path: str = ""


NamedAccount = Slug | OwnAccount


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """What applies to the lines of a target, inherited parts included."""

    account: NamedAccount | None = None  # None: the one that headers or lines name
    model: str | None = None
    drop_params: bool | None = None  # None: as the account or the gateway has it
    strict_params: bool | None = None
    fetch_media: bool = False
    strict: bool = False
    on_deadline: str = "cancel"
    override: Mapping[str, Raw] = field(default_factory=dict)
    default: Mapping[str, Raw] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict, repr=False)  # other texts of a target that brings no key
    direct: str | None = None  # of route.DIRECT_CALLS; None: as the account has it
    retry: Retry = NO_RETRY  # of calls that are answered at once, as is the next
    timeout: float | None = None  # seconds

    @property
    def changes(self) -> Changes:
        """Return what is done to bodies."""
        return Changes(dict(self.override), dict(self.default), self.remove)


@dataclass(frozen=True, slots=True)
class Condition:
    """A query, the place of the target that it leads to, and its dotted path."""

    query: Mapping[str, Any]
    then: int
    path: str = ""


class WholeBatch(NamedTuple):
    """What the top of a config says, of all lines: what becomes of failed ones, and which answers are kept."""

    rescue: Rescue | None = None
    cache: Cache | None = None
    fan_out: bool = False


NOTHING_WHOLE = WholeBatch()


@dataclass(frozen=True, slots=True)
class Node:
    """A target, or a group of targets. `mode` is None for a target.

    `codes`, of a fallback: HTTP statuses with which a line goes on to the next target; none: all that are no success.
    """

    path: str
    settings: TargetSettings
    mode: str | None = None
    weight: float = 1.0
    name: str | None = None
    children: tuple[Node, ...] = ()
    conditions: tuple[Condition, ...] = ()
    default: int | None = None
    codes: tuple[int, ...] = ()
    whole: WholeBatch = NOTHING_WHOLE

    def reachable(self) -> Iterator[Node]:
        """Yield the groups and targets that a line may come to, this one among them."""
        yield self
        for child in self.live_children():
            yield from child.reachable()

    def live_children(self) -> list[Node]:
        """Return the children that lines are sent to: none of weight 0 or of no condition, the first of `single`."""
        if self.mode == SINGLE:
            return list(self.children[:1])
        if self.mode == LOADBALANCE:
            return [each for each in self.children if each.weight > 0]
        if self.mode == FALLBACK:
            return list(self.children)
        named = {self.default, *(each.then for each in self.conditions)}
        return [each for place, each in enumerate(self.children) if place in named]

    def targets(self) -> list[Node]:
        """Return the targets that a line may come to."""
        return [node for node in self.reachable() if node.mode is None]

    def every_condition(self) -> Iterator[Condition]:
        """Yield all conditions, also those of groups that no line comes to."""
        yield from self.conditions
        for child in self.children:
            yield from child.every_condition()

    def every_target(self) -> Iterator[Node]:
        """Yield all targets, also those that no line comes to."""
        if self.mode is None:
            yield self
        for child in self.children:
            yield from child.every_target()
