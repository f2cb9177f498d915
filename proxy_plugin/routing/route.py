"""The route of a batch as it is stored: made once at create, decoded by every step, and never changed by a reload.

It holds what the lines may reach: accounts with their limits, the rule that chooses among them, allow-lists, switches.
No secret is in it: the credentials of a virtual key come from the running configuration, those that a caller brought
from the vault.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Raw

NOT_ALLOWED = "model_not_allowed"
NOT_SLUGS = ("@cf/", "@hf/")  # model names of two hosts, not virtual keys
NEVER, ALLOWED, ALWAYS = DIRECT_CALLS = ("never", "allowed", "always")  # ordinary calls, one a line, for a target


class Own(msgspec.Struct, frozen=True):
    """What is stored of a caller's credentials: plain fields, the names of the secret ones, a keyed hash over all."""

    fields: dict[str, str]
    secrets: tuple[str, ...]
    key: str


class Changes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is done to a body before it is translated: values as JSON texts, `remove` are dotted paths."""

    override: dict[str, Raw] = {}
    default: dict[str, Raw] = {}
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.override or self.default or self.remove)


NO_CHANGES = Changes()


class Retry(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often an ordinary call is made again at the same target, and after which HTTP statuses; none: the usual."""

    attempts: int = 0
    codes: tuple[int, ...] = ()
    obeys_retry_after: bool = False


NO_RETRY = Retry()


class Live(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a config says of a target, or of lines that name theirs, for calls that are answered at once.

    `option` is Portkey's name of its place: `config`, or `config.targets[1]`. `timeout` in seconds.
    """

    option: str
    retry: Retry = NO_RETRY
    timeout: float | None = None


class StoredTarget(msgspec.Struct, frozen=True):
    """One account as the split needs it. Limits are the operator's, None where the lane's own count."""

    slug: str
    provider: str
    model: str | None = None  # replaces body.model
    drop_params: bool = False  # leave out what the lane cannot honour
    max_lines_per_job: int | None = None
    max_bytes_per_job: int | None = None
    min_lines_per_job: int | None = None
    models: tuple[str, ...] | None = None  # the account's allow-list, globs
    strict: bool | msgspec.UnsetType = msgspec.UNSET  # a line that it cannot express fails the batch
    changes: Changes | msgspec.UnsetType = msgspec.UNSET
    fetch_media: bool | msgspec.UnsetType = msgspec.UNSET  # fetch pictures that lines name by URL, for this target
    byok: Own | msgspec.UnsetType = msgspec.UNSET
    strict_params: bool | msgspec.UnsetType = msgspec.UNSET  # leave out not even what only hints
    direct: str | msgspec.UnsetType = msgspec.UNSET  # ALLOWED where no job can be, ALWAYS, NEVER whatever a config says
    live: Live | msgspec.UnsetType = msgspec.UNSET  # of routes that are not stored: calls that are answered at once


class To(msgspec.Struct, frozen=True, tag="to"):
    """Every line goes to one target."""

    target: int


class Share(msgspec.Struct, frozen=True, tag="share"):
    """Lines are shared out by weight. Weights are above 0."""

    weights: tuple[float, ...]
    rules: tuple[Rule, ...]


class Case(msgspec.Struct, frozen=True):
    """One condition of a `When`, with the place of the rule that it leads to."""

    query: dict[str, Any]
    then: int


class When(msgspec.Struct, frozen=True, tag="when"):
    """The first condition that holds decides. Without one and without `default` a line is rejected."""

    cases: tuple[Case, ...]
    rules: tuple[Rule, ...]
    default: int | None = None
    strict: bool = False


class ByLine(msgspec.Struct, frozen=True, omit_defaults=True, tag="line"):
    """body.model names the account. The rest is added to whichever target that is.

    `otherwise`: where lines go whose model names neither an account nor a name of the list.
    """

    model: str | None = None  # asked for instead of body.model
    drop_params: bool | None = None  # None: as the target has it
    strict: bool = False
    changes: Changes = NO_CHANGES
    fetch_media: bool = False
    strict_params: bool | None = None
    otherwise: Rule | None = None
    direct: str | None = None  # of DIRECT_CALLS; None: as the target has it
    live: Live | None = None


class Fallback(msgspec.Struct, frozen=True, omit_defaults=True, tag="fallback"):
    """The first rule that a line does not fail at. `codes`: HTTP statuses with which a line goes on; none: all."""

    rules: tuple[Rule, ...]
    codes: tuple[int, ...] = ()


Rule = To | Share | When | ByLine | Fallback


class Option(msgspec.Struct, frozen=True, omit_defaults=True):
    """One account behind a model name. A `*` in `model` stands for what the name's own `*` stood for."""

    target: int
    model: str
    weight: float = 1.0


class Name(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model name of LiteLLM's list. `closed` is the error code where no account behind it can be used."""

    options: tuple[Option, ...] = ()
    closed: str | None = None
    provider: str | None = None  # with `closed`, where it is known


class Names(msgspec.Struct, frozen=True, omit_defaults=True):
    """What lines may name: slugs to targets, slugs that take no new work to error codes, model names."""

    slugs: dict[str, int] = {}
    closed: dict[str, str] = {}
    models: dict[str, Name] = {}


class Rules(msgspec.Struct, frozen=True, omit_defaults=True):
    """How targets are chosen. Without a rule every line goes to the first target.

    `slugs` are those beside the targets' own whose `@slug/` is cut off a model. `models` is the caller's allow-list.
    """

    rule: Rule | None = None
    names: Names | None = None
    slugs: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    metadata: dict[str, str] = {}


EVERYTHING = Rules()


class Rescue(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is done for lines that failed. `attempts`: at most so many beside the first; None: as there are targets.

    `direct_before`: seconds before the end of the window from which on nothing native is begun or waited for.
    """

    attempts: int | None = None
    direct_before: float | None = None
    codes: tuple[int, ...] = ()


class Cache(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answers that are kept. `max_age` in seconds; `refresh`: they are asked for anew, and kept."""

    max_age: float | None = None
    namespace: str = ""
    refresh: bool = False


class Route(msgspec.Struct, frozen=True):
    """What create resolved and stored. `strict`: any line that its lane cannot express fails the batch."""

    targets: tuple[StoredTarget, ...]
    strict: bool = False
    on_deadline: str = "cancel"
    rules: Rules | msgspec.UnsetType = msgspec.UNSET
    forward: dict[str, str] | msgspec.UnsetType = msgspec.UNSET  # headers that every call to a provider carries
    places: dict[str, dict[str, str]] | msgspec.UnsetType = msgspec.UNSET  # slug -> what its virtual key left open
    native_answers: bool | msgspec.UnsetType = msgspec.UNSET  # lines in a lane's own shape are answered in it
    rescue: Rescue | msgspec.UnsetType = msgspec.UNSET
    cache: Cache | msgspec.UnsetType = msgspec.UNSET
    fan_out: bool | msgspec.UnsetType = msgspec.UNSET  # of lines that ask for several answers one is asked for each

    @property
    def providers(self) -> frozenset[str]:
        """Return the names of all providers that a line may reach."""
        return frozenset(target.provider for target in self.targets)

    @property
    def provider(self) -> str | None:
        """Return the provider where there is exactly one."""
        names = self.providers
        return next(iter(names)) if len(names) == 1 else None

    @property
    def is_open(self) -> bool:
        """Tell whether the request has chosen nothing, so that lines decide, or the caller's default."""
        rule = self.rules.rule if self.rules else None
        return isinstance(rule, ByLine) and msgspec.structs.replace(rule, otherwise=None) == ByLine()

    @property
    def fetches_media(self) -> bool:
        """Tell whether pictures are fetched for any of its lines."""
        rule = self.rules.rule if self.rules else None
        return any(target.fetch_media is True for target in self.targets) or (rule is not None and _fetches(rule))


def by_calls(route: Route) -> Route:
    """Return the route with every target asked by ordinary calls from the first, where it has them and may be."""
    targets = (each if each.direct == NEVER else msgspec.structs.replace(each, direct=ALWAYS) for each in route.targets)
    return msgspec.structs.replace(route, targets=tuple(targets))


def _fetches(rule: Rule) -> bool:
    match rule:
        case ByLine():
            return rule.fetch_media or (rule.otherwise is not None and _fetches(rule.otherwise))
        case Share() | When() | Fallback():
            return any(map(_fetches, rule.rules))
        case To():
            return False


def may_go_on(text: str) -> bool:
    """Tell from a stored route whether lines that fail may go on; some of which it is said never do."""
    return any(word in text for word in ('"fallback"', '"rescue"', '"direct"'))


def params_switches(*levels: tuple[bool | None, bool | None]) -> tuple[bool, bool]:
    """Return (drop_params, strict_params) of what each level says of them, the nearest first; None: nothing.

    A nearer `strict_params` switches off a `drop_params` that is set further away.
    """
    drop: bool | None = None
    strict: bool | None = None
    for drops, stricter in levels:
        drop = drops if drop is None else drop
        strict = stricter if strict is None else strict
        if drop is None and strict:
            drop = False
    return bool(drop), bool(strict)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Route).decode


def encode_route(route: Route) -> str:
    """Return the text that is stored."""
    return _encode(route).decode()


def decode_route(text: str) -> Route:
    """Return the route that was stored. Raises msgspec.MsgspecError for what `encode_route` has not made."""
    return _decode(text)


def models_of(route: Route) -> dict[str, str]:
    """Return by slug the model for which all of its lines ask, whatever they name; of accounts that have one."""
    found: dict[str, set[str | None]] = {}
    for target in route.targets:
        found.setdefault(target.slug, set()).add(target.model)
    return {slug: model for slug, (model, *others) in found.items() if model is not None and not others}


def own_target(text: str) -> StoredTarget | None:
    """Return the stored target whose credentials the caller brought, None for a batch on virtual keys."""
    if '"byok":{' not in text:  # status reads come here: a route over hundreds of accounts is not decoded for them
        return None
    return next((target for target in decode_route(text).targets if target.byok), None)


def forwarded_headers(text: str) -> dict[str, str]:
    """Return the headers that calls for a batch carry, from its stored route."""
    if '"forward":{' not in text:  # as above: every step of every part comes here
        return {}
    return decode_route(text).forward or {}


def places_of(text: str, slug: str) -> dict[str, str]:
    """Return what the create said of the places of a virtual key that leaves them open, from its stored route."""
    if '"places":{' not in text:  # as above
        return {}
    return (decode_route(text).places or {}).get(slug, {})


def allowed(patterns: Iterable[str], name: str) -> bool:
    """Tell whether a name is one of the globs, or fits one."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
