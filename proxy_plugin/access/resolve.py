"""From a request for new work to the route that is stored with it: config, headers, and what lines may name.

The strongest wins: the config, then `x-portkey-provider: @slug`, `x-portkey-virtual-key`, a plain provider with a key
of the caller's own, then the lines, and at last the default of the caller's API key. Only what a line can reach is
stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from msgspec import UNSET
from multidict import MultiMapping

from proxy_plugin.access import headers
from proxy_plugin.access.brought import Brought
from proxy_plugin.access.callers import Caller
from proxy_plugin.access.forwarding import forwarded
from proxy_plugin.access.headers import RequestHeaders
from proxy_plugin.access.kept_answers import steered
from proxy_plugin.access.own_keys import OwnKeys
from proxy_plugin.access.steering import MODEL, check_headers, check_said, places
from proxy_plugin.access.stored_target import stored
from proxy_plugin.config import Config, VirtualKey
from proxy_plugin.config.model_list import DISABLED
from proxy_plugin.config.sections import ModelEntry
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.routing import conditions
from proxy_plugin.routing.condition_bounds import patterns_of
from proxy_plugin.routing.config_text import is_saved
from proxy_plugin.routing.config_tree import (
    CONDITIONAL,
    FALLBACK,
    LOADBALANCE,
    Node,
    OwnAccount,
    Slug,
    TargetSettings,
)
from proxy_plugin.routing.patterns import Pattern
from proxy_plugin.routing.route import (
    EVERYTHING,
    NOT_ALLOWED,
    NOT_SLUGS,
    ByLine,
    Case,
    Fallback,
    Live,
    Name,
    Names,
    Option,
    Route,
    Rule,
    Rules,
    Share,
    StoredTarget,
    To,
    When,
    encode_route,
)

RETIRED = "virtual_key_retired"
_LINES = "lines"
_Accounts = Mapping[int, Brought]  # by the identity of the OwnAccount


class Resolved(NamedTuple):
    """Where new work goes: the JSON to store as its route, its provider for the answer, what the caller brought.

    `same` tells this choice from others when two requests are compared. `option` is the place of the one target.
    `patterns` are those that came with the request: whether they can be used is still to be asked.
    """

    route: str
    provider: str | None
    same: list[str]
    brought: Brought | None = None
    option: str = headers.WHOLE_CONFIG
    patterns: tuple[Pattern, ...] = ()


async def resolve(
    config: Config,
    own_keys: OwnKeys,
    asked: RequestHeaders,
    caller: Caller,
    sent: MultiMapping[str],
    model: str | None = None,
    *,
    live: bool = False,
) -> Resolved:
    """Return where a batch goes that is asked for with the headers `sent`, of which `asked` is what was read.

    `model` is for all lines where no config is sent. `live`: for a call that is answered at once. Raises BadRequest,
    also where nothing could be reached; Forbidden.
    """
    node = await _node(asked, config, model)
    default = headers.default_node(config, caller) if asked.names_nothing else None
    own = await _own_accounts(own_keys, node, caller)
    chosen = await _chosen(config, own_keys, asked, caller, sent) if _needs_headers(node) else None
    if asked.custom_host is not None and not isinstance(chosen, Brought):
        raise headers.misplaced_host()
    named_in = headers.CONFIG if asked.config is not None else MODEL if model is not None else None
    builder = _Builder(config, caller, own, chosen, default, named_in, live=live)
    route = steered(builder.route(node, _metadata(asked.metadata), forwarded(sent)), asked)
    own_keys_sent = [*own.values(), *([chosen] if isinstance(chosen, Brought) else [])]
    lent = [config.virtual_keys[each.slug] for each in route.targets if each.byok is UNSET]
    check_headers(sent, lent, [each.account for each in own_keys_sent])
    brought = _one_key(own_keys_sent)
    placed = {key.slug: said for key in lent if (said := places(sent, key))}
    route = msgspec.structs.replace(route, places=placed or UNSET)
    same = _same(own_keys, asked, route, chosen, brought)
    same += [f"place\0{slug}\0{name}\0{text}" for slug, said in placed.items() for name, text in said.items()]
    if model is not None:
        same.append(f"model\0{model}")
    return Resolved(encode_route(route), route.provider, same, brought, _option(node), _patterns(asked, node))


async def _node(asked: RequestHeaders, config: Config, model: str | None) -> Node:
    if asked.config is None:
        return Node("", TargetSettings(model=model))
    return await headers.config_node(asked.config, config)


def _patterns(asked: RequestHeaders, node: Node) -> tuple[Pattern, ...]:
    return () if asked.config is None or is_saved(asked.config) else patterns_of(node)


def _needs_headers(node: Node) -> bool:
    return any(target.settings.account is None for target in node.targets())


async def _own_accounts(own_keys: OwnKeys, node: Node, caller: Caller) -> dict[int, Brought]:
    """Return the accounts whose keys the config brings."""
    accounts = {id(each.settings.account): each.settings.account for each in node.targets()}
    return {
        key: await own_keys.choose_in_config(account, caller)
        for key, account in accounts.items()
        if isinstance(account, OwnAccount)
    }


def _one_key(brought: Iterable[Brought]) -> Brought | None:
    """Return what the caller brought. Raises BadRequest for more than can be given again after a restart."""
    found = {each.own.key: each for each in brought}
    if len(found) > 1:
        raise BadRequest(
            f"{headers.CONFIG}: a batch takes one provider key of your own. Ask the operator for virtual keys, or"
            " create a batch for each key.",
            param=headers.CONFIG,
        )
    return next(iter(found.values()), None)


async def _chosen(
    config: Config, own_keys: OwnKeys, asked: RequestHeaders, caller: Caller, sent: MultiMapping[str]
) -> VirtualKey | Brought | None:
    """Return the account that the headers name."""
    if asked.slug is not None:
        return headers.find_virtual_key(asked.slug, caller, config, headers.naming(sent))
    if asked.provider is not None:
        return await own_keys.choose(sent, asked.provider, caller)
    return None


def _metadata(text: str | None) -> dict[str, str]:
    """Return the header's pairs; what is no JSON object is as good as empty, as for Portkey."""
    try:
        found = json.loads(text or "{}")
        pairs = found.items() if isinstance(found, dict) else ()
        return {name: value for name, value in pairs if isinstance(value, str) and (name + value).encode()}
    except (ValueError, RecursionError):
        return {}


def _same(
    own_keys: OwnKeys, asked: RequestHeaders, route: Route, chosen: VirtualKey | Brought | None, brought: Brought | None
) -> list[str]:
    """Return what the caller asked for, not what the configuration makes of it: a reload makes no retry a second batch.

    A config may hold keys, so only a keyed hash of it is kept.
    """
    account = chosen.account if isinstance(chosen, Brought) else chosen
    found = [account.slug if account else _LINES if asked.config is None else "config"]
    if brought is not None:
        found.append(brought.own.key)
    if asked.config is not None:
        found.append(own_keys.hashed(f"config\0{asked.config.strip()}"))
    if route.forward:
        found.append(own_keys.hashed(f"forward\0{sorted(route.forward.items())}"))
    if route.cache and (route.cache.namespace or route.cache.refresh):
        found.append(own_keys.hashed(f"cache\0{route.cache.refresh}\0{route.cache.namespace}"))
    metadata = route.rules.metadata if route.rules else {}
    return [*found, *(f"{name}\0{value}" for name, value in sorted(metadata.items()))]


def _option(node: Node) -> str:
    """Return Portkey's name of the one target that lines can come to: `config`, or `config.targets[1]`."""
    targets = node.targets()
    return headers.WHOLE_CONFIG if len(targets) != 1 else _named_place(targets[0].path)


def _named_place(path: str) -> str:
    return headers.WHOLE_CONFIG + "".join(f".targets[{place}]" for place in path.split(".")[1::2])


class _Builder:
    """Makes one route; targets gather here as the rules come to them."""

    def __init__(
        self,
        config: Config,
        caller: Caller,
        own: _Accounts,
        chosen: VirtualKey | Brought | None,
        default: Node | None = None,
        named_in: str | None = None,
        *,
        live: bool = False,
    ) -> None:
        self._named_in, self._live = named_in, live
        self._config, self._caller, self._own, self._chosen, self._default = config, caller, own, chosen, default
        self._targets: list[StoredTarget] = []
        self._names: Names | None = None
        self._asks_metadata = False

    def route(self, node: Node, metadata: dict[str, str], forward: Mapping[str, str]) -> Route:
        whole = (node, *([self._default] if self._default else ()))
        rule = self._rule(node)
        rules = Rules(
            rule=None if rule == To(0) else rule,
            names=self._names,
            slugs=tuple(self._cut_off()),
            models=self._caller.models,
            metadata=metadata if self._asks_metadata else {},
        )
        return Route(
            tuple(self._targets),
            any(each.settings.strict for tree in whole for each in tree.reachable()),
            whole[-1].settings.on_deadline,
            UNSET if rules == EVERYTHING else rules,
            dict(forward) or UNSET,
            rescue=whole[-1].whole.rescue or UNSET,
            cache=whole[-1].whole.cache or UNSET,
            fan_out=whole[-1].whole.fan_out or UNSET,
        )

    def _rule(self, node: Node) -> Rule:
        if node.mode is None:
            return self._leaf(node)
        children = node.live_children()
        if node.mode == LOADBALANCE:
            return Share(tuple(each.weight for each in children), tuple(map(self._rule, children)))
        if node.mode == CONDITIONAL:
            return self._when(node)
        if node.mode == FALLBACK:
            return self._in_order(node)
        return self._rule(children[0])

    def _in_order(self, node: Node) -> Rule:
        """Return the rule of a fallback. Accounts that take no new work are passed over, unknown ones refused."""
        rules, closed = list[Rule](), list[BadRequest]()
        for child in node.children:
            try:
                rules.append(self._rule(child))
            except BadRequest as refusal:
                if child.mode is not None or refusal.code not in (DISABLED, RETIRED):
                    raise
                closed.append(refusal)
        if not rules:
            raise closed[0]
        return rules[0] if len(rules) == 1 else Fallback(tuple(rules), node.codes)

    def _when(self, node: Node) -> When:
        places = {id(child): place for place, child in enumerate(node.live_children())}
        self._asks_metadata |= any(conditions.over_metadata(each.query) for each in node.conditions)
        return When(
            tuple(Case(dict(each.query), places[id(node.children[each.then])]) for each in node.conditions),
            tuple(map(self._rule, node.live_children())),
            None if node.default is None else places[id(node.children[node.default])],
            node.settings.strict,
        )

    def _leaf(self, node: Node) -> Rule:
        settings, live = node.settings, self._told(node)
        account = settings.account or self._chosen
        if isinstance(account, Slug):
            account = self._virtual_key(account.slug)
        if isinstance(account, OwnAccount):
            account = self._own[id(account)]
        slug, model = _slug_of(settings.model)
        if account is None and slug is not None:
            account = self._virtual_key(slug)
        if isinstance(account, VirtualKey):
            check_said(settings.said, account)
        if account is None:
            for key in self._allowed().values():
                check_said(settings.said, key)
            otherwise = self._otherwise()
            self._names = self._names or self._nameable(needed=otherwise is None)
            return ByLine(
                settings.model,
                settings.drop_params,
                settings.strict,
                settings.changes,
                settings.fetch_media,
                settings.strict_params,
                otherwise,
                settings.direct,
                live,
            )
        if slug is not None and not self._known(slug):
            model = settings.model
        target = self._target(account, settings, model)
        return To(self._place(msgspec.structs.replace(target, live=live) if live else target))

    def _told(self, node: Node) -> Live | None:
        return Live(_named_place(node.path), node.settings.retry, node.settings.timeout) if self._live else None

    def _target(self, account: VirtualKey | Brought, settings: TargetSettings, model: str | None) -> StoredTarget:
        return stored(account, settings, model, drop=self._config.drop_params)

    def _otherwise(self) -> Rule | None:
        """Return the rule of the caller's default, once: within it there is none."""
        default, self._default = self._default, None
        return None if default is None else self._rule(default)

    def _virtual_key(self, slug: str) -> VirtualKey:
        return headers.find_virtual_key(slug, self._caller, self._config, self._named_in)

    def _allowed(self) -> dict[str, VirtualKey]:
        return {slug: key for slug, key in self._config.virtual_keys.items() if self._caller.allows(slug)}

    def _known(self, slug: str) -> bool:
        return self._caller.allows(slug) and (slug in self._config.virtual_keys or slug in self._config.disabled)

    def _place(self, target: StoredTarget) -> int:
        if target not in self._targets:
            self._targets.append(target)
        return self._targets.index(target)

    def _cut_off(self) -> Iterator[str]:
        """Yield the slugs that a line may name in vain, beside those of the targets, where its model may count."""
        known = {target.slug for target in self._targets}
        if all(target.model is not None for target in self._targets):
            return
        for slug in (*self._config.virtual_keys, *self._config.disabled):
            if slug not in known and self._caller.allows(slug):
                yield slug

    def _nameable(self, *, needed: bool) -> Names:
        """Return what a line can name. Raises BadRequest if that is nothing and it is needed."""
        allowed = self._allowed()
        closed = {slug: DISABLED for slug in self._config.disabled if self._caller.allows(slug)}
        closed |= {slug: RETIRED for slug, key in allowed.items() if key.retired}
        open_keys = {slug: key for slug, key in allowed.items() if not key.retired}
        slugs = {slug: self._place(self._target(key, TargetSettings(), None)) for slug, key in open_keys.items()}
        entries: dict[str, list[ModelEntry]] = {}
        for entry in self._config.models:
            entries.setdefault(entry.name, []).append(entry)
        if needed and not slugs and not entries:
            raise _nothing_named()
        return Names(slugs, closed, {name: self._named(group, slugs) for name, group in entries.items()})

    def _named(self, entries: list[ModelEntry], slugs: Mapping[str, int]) -> Name:
        options = tuple(
            Option(slugs[entry.slug], entry.model, entry.weight)
            for entry in entries
            if entry.slug is not None and entry.slug in slugs and entry.weight > 0
        )
        if options:
            return Name(options)
        if any(entry.slug is not None and not self._caller.allows(entry.slug) for entry in entries):
            return Name(closed=NOT_ALLOWED)
        return Name(closed=entries[0].closed or DISABLED, provider=entries[0].provider)


def _slug_of(model: str | None) -> tuple[str | None, str | None]:
    """Return (slug, model) of `@slug/model`, (None, model) of any other."""
    if model is None or not model.startswith("@") or model.startswith(NOT_SLUGS):
        return None, model
    slug, _, rest = model[1:].partition("/")
    return (slug, rest) if rest else (None, model)


def _nothing_named() -> BadRequest:
    return BadRequest(
        "A batch needs a provider account to run on: send "
        f"'{headers.PROVIDER}: @slug' or '{headers.VIRTUAL_KEY}: slug'. "
        "There is none that the lines could name for this API key.",
        param=headers.PROVIDER,
    )
