"""Portkey's config objects, from a header or from `configs` of our configuration, checked and read into a tree.

Everything wrong is found at once, each with its dotted path; no message shows a value, it could be a secret. Keys that
we do not know are let pass, as Portkey lets them, but for those that steer (`words.unserved`) or are a key misspelt:
they would send lines elsewhere than was meant.

What children inherit: `override_params` and `default_params` key by key, `drop_params`, `strict_params`, `fetch_media`,
`strict`, `on_deadline`, `direct`, `retry`, `request_timeout` and the account, each until a child sets its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from msgspec import Raw

from proxy_plugin.routing import condition_bounds, conditions, words
from proxy_plugin.routing.config_text import Invalid, Problem, object_in, unusable
from proxy_plugin.routing.config_tree import (
    CONDITIONAL,
    FALLBACK,
    LOADBALANCE,
    MODES,
    SINGLE,
    Condition,
    NamedAccount,
    Node,
    OwnAccount,
    Slug,
    TargetSettings,
)
from proxy_plugin.routing.retries import retry_in, timeout_in
from proxy_plugin.routing.route import ALLOWED, ALWAYS, NEVER, NOT_SLUGS
from proxy_plugin.routing.suggestions import Suggestions
from proxy_plugin.routing.whole_batch import TOP_KEYS, WholeReader, says_nothing, status_codes

MAX_DEPTH = 5  # of targets within targets
MAX_TARGETS = 64  # that hold no others
SAVED_PREFIX = "pc-"

_STEERING = {
    *("strategy", "targets", "weight", "name", "provider", "virtual_key", "api_key"),
    *("override_params", "default_params", "drop_params", "strict_params", "fetch_media", "strict", "on_deadline"),
    *("direct", *TOP_KEYS),
}
_OTHER_KEYS = {"retry", "request_timeout", "custom_host", "forward_headers", "passthrough", "cb_config"}
_STRATEGY = {"mode", "conditions", "default", "on_status_codes"}
_WHOLE = "is one for the whole batch; set it at the top of the config"
_DIRECT = {**dict.fromkeys((False, NEVER), NEVER), **dict.fromkeys((True, ALLOWED), ALLOWED), ALWAYS: ALWAYS}
_HEAVIEST = 10**15  # of all weights: sums of them stay exact
_NEAR = 0.8  # of `Suggestions.near`: "stategy" is near, "metadata" is not


def read(config: Mapping[str, Any]) -> Node:
    """Check a config object, all but its patterns: `patterns_of` gives them. Raises Invalid with all problems."""
    reader = _Reader()
    node = reader.top(config)
    if not reader.problems:
        reader.check_deadlines(node)
        reader.problems += (Problem(*each) for each in condition_bounds.beyond(node))
    if reader.problems:
        raise Invalid(reader.problems)
    return node


def read_header(text: str, saved: Mapping[str, Mapping[str, Any]], header: str) -> Node:
    """Read what a request's header holds: JSON, or the id of a saved config. Raises ConfigError."""
    try:
        return read(object_in(text.strip(), saved, header))
    except Invalid as invalid:
        raise unusable(invalid, header) from None


class _Reader:
    """One reading of one config: what is wrong with it gathers here."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._targets = 0
        self._names = Suggestions()

    def top(self, raw: Mapping[str, Any]) -> Node:
        """Read a whole config."""
        return replace(self.node(raw, "", 0, TargetSettings()), whole=WholeReader(self._say, self._names).read(raw))

    def node(self, raw: Mapping[str, Any], path: str, depth: int, above: TargetSettings) -> Node:
        """Read one target with everything below it."""
        self._check_names(raw, path, _STEERING, _OTHER_KEYS)
        for key in TOP_KEYS if depth else ():
            if not says_nothing(raw.get(key)):
                self._wrong(path, key, _WHOLE)
        settings = self._settings(raw, path, above)
        name = self._text(raw, "name", path)
        leaf = Node(path, settings, weight=self._weight(raw, path), name=name)
        strategy, targets = raw.get("strategy"), raw.get("targets")
        if strategy is None and targets is None:
            self._count(path)
            return leaf
        return self._group(leaf, strategy, targets, depth)

    def check_deadlines(self, node: Node) -> None:
        """The window of a batch ends once, for all of its parts."""
        for target in node.targets():
            if target.settings.on_deadline != node.settings.on_deadline:
                self._wrong(target.path, "on_deadline", _WHOLE)

    def _group(self, leaf: Node, strategy: object, targets: object, depth: int) -> Node:
        mode, settings = self._mode(strategy, targets, leaf.path), _mapping(strategy)
        if targets is None and mode == SINGLE:
            self._count(leaf.path)
            return leaf
        children = self._children(targets, leaf, depth)
        group = replace(leaf, mode=mode or SINGLE, children=tuple(children))
        if mode == FALLBACK:
            return replace(group, codes=self._codes(settings, leaf.path))
        if mode == LOADBALANCE and children and not group.live_children():
            self._wrong(leaf.path, "targets", "no target has a weight above 0")
        if mode != CONDITIONAL:
            return group
        places = self._places(children)
        default = self._place(settings.get("default"), places, _below(leaf.path, "strategy.default"))
        return replace(group, conditions=tuple(self._conditions(settings, leaf.path, places)), default=default)

    def _mode(self, strategy: object, targets: object, path: str) -> str | None:
        if strategy is not None and not isinstance(strategy, Mapping):
            self._wrong(path, "strategy", "must be an object with a mode")
            return None
        settings = _mapping(strategy)
        self._check_names(settings, _below(path, "strategy"), _STRATEGY, set())
        mode = settings.get("mode")
        if mode is None:
            if not isinstance(targets, list | tuple) or len(targets) > 1:
                self._wrong(path, "strategy.mode", f"is missing; it is one of {', '.join(MODES)}")
            return SINGLE
        if mode not in MODES:
            known = f"must be one of {', '.join(MODES)}{self._names.did_you_mean(mode, MODES)}"
            self._wrong(path, "strategy.mode", known)
            return None
        return str(mode)

    def _codes(self, strategy: Mapping[str, Any], path: str) -> tuple[int, ...]:
        return status_codes(strategy.get("on_status_codes"), _below(path, "strategy.on_status_codes"), self._say)

    def _children(self, targets: object, above: Node, depth: int) -> list[Node]:
        if not isinstance(targets, list | tuple) or not targets:
            self._wrong(above.path, "targets", "must be a list of at least one target")
            return []
        if depth >= MAX_DEPTH:
            self._wrong(above.path, "targets", f"targets may be nested {MAX_DEPTH} deep")
            return []
        found = []
        for index, raw in enumerate(targets):
            path = _below(above.path, f"targets.{index}")
            if self._targets > MAX_TARGETS:
                break
            if isinstance(raw, Mapping):
                found.append(self.node(raw, path, depth + 1, above.settings))
            else:
                self.problems.append(Problem(path, "must be an object"))
        return found

    def _count(self, path: str) -> None:
        self._targets += 1
        if self._targets == MAX_TARGETS + 1:
            self.problems.append(Problem(path, f"a config may have at most {MAX_TARGETS} targets"))

    # conditions

    def _places(self, children: Sequence[Node]) -> dict[str, int]:
        places: dict[str, int] = {}
        for index, child in enumerate(children):
            if child.name is not None and places.setdefault(child.name, index) != index:
                self._wrong(child.path, "name", "is the name of an earlier target, too")
        return places

    def _place(self, name: object, places: Mapping[str, int], path: str) -> int | None:
        if name is None:
            return None
        if not isinstance(name, str) or name not in places:
            self.problems.append(Problem(path, "must be the 'name' of one of the targets beside it"))
            return None
        return places[name]

    def _conditions(self, strategy: Mapping[str, Any], path: str, places: Mapping[str, int]) -> Iterator[Condition]:
        above, found = _below(path, "strategy.conditions"), strategy.get("conditions")
        if not isinstance(found, list | tuple) or not found:
            self.problems.append(Problem(above, "must be a list of at least one {query, then}"))
            return
        for index, raw in enumerate(found):
            where = f"{above}.{index}"
            if not isinstance(raw, Mapping):
                self.problems.append(Problem(where, "must be an object of query and then"))
                continue
            wrong = [Problem(*each) for each in conditions.problems(raw.get("query"), f"{where}.query", self._names)]
            self.problems += wrong
            if raw.get("then") is None:
                self.problems.append(Problem(f"{where}.then", "is missing"))
            then = self._place(raw.get("then"), places, f"{where}.then")
            if then is not None and not wrong:
                yield Condition(raw["query"], then, f"{where}.query")

    # settings

    def _settings(self, raw: Mapping[str, Any], path: str, above: TargetSettings) -> TargetSettings:
        account, model = self._account(raw, path)
        override = self._params(raw, "override_params", path)
        asked = override.pop("model", None)
        if asked is not None:
            model = self._model(asked, path)
        drop, remove = self._dropped(raw, path, above)
        return TargetSettings(
            account=account or above.account,
            model=model or above.model,
            drop_params=drop,
            strict_params=self._said(raw, "strict_params", path, above.strict_params),
            fetch_media=self._switch(raw, "fetch_media", path, above=above.fetch_media),
            strict=self._switch(raw, "strict", path, above=above.strict),
            on_deadline=self._deadline(raw, path, above),
            override={**above.override, **override},
            default={**above.default, **self._params(raw, "default_params", path)},
            remove=remove,
            said=self._beside(raw, account, above),
            direct=self._direct(raw, path, above),
            retry=retry_in(raw.get("retry"), _below(path, "retry"), self._say) or above.retry,
            timeout=timeout_in(raw.get("request_timeout"), _below(path, "request_timeout"), self._say) or above.timeout,
        )

    def _account(self, raw: Mapping[str, Any], path: str) -> tuple[NamedAccount | None, str | None]:
        """Return the account and the model that a target names: `@slug` is the strongest, as among headers."""
        provider, slug = self._text(raw, "provider", path), self._text(raw, "virtual_key", path)
        if provider is not None and provider.startswith("@") and not provider.startswith(NOT_SLUGS):
            slug, _, model = provider[1:].partition("/")
            return self._slug(raw, slug, path), model or None
        if slug is not None:
            return self._slug(raw, slug.removeprefix("@"), path), None
        if provider is None:
            if raw.get("api_key") is not None:
                self._wrong(path, "provider", "is missing: api_key belongs to a provider")
            return None, None
        return OwnAccount(provider, dict(self._own_fields(raw)), path), None

    def _beside(self, raw: Mapping[str, Any], account: NamedAccount | None, above: TargetSettings) -> Mapping[str, str]:
        """Return what a target says of an account that is not its own, such as a region: it has to be true of it."""
        if isinstance(account, OwnAccount):
            return {}
        said = dict(self._own_fields(raw))
        return said if account else {**above.said, **said}

    def _slug(self, raw: Mapping[str, Any], slug: str, path: str) -> Slug | None:
        if raw.get("custom_host") is not None:  # it would get the account's key
            self._wrong(path, "custom_host", "goes only with a provider and an api_key of your own")
        return Slug(slug)

    def _own_fields(self, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for name, value in raw.items():
            if name in _STEERING - {"api_key"}:
                continue
            if isinstance(value, str) and value.strip():
                yield name, value.strip()
            elif isinstance(value, Mapping) and name.endswith("_json"):
                yield name, json.dumps(value)

    def _params(self, raw: Mapping[str, Any], name: str, path: str) -> dict[str, Raw]:
        found = raw.get(name)
        if found is not None and not isinstance(found, Mapping):
            self._wrong(path, name, "must be an object of body fields")
        texts: dict[str, Raw] = {}
        for key, value in _mapping(found).items():
            try:
                text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
                str(key).encode()
            except (TypeError, ValueError, RecursionError):
                self._wrong(path, name, "holds what is no JSON or no Unicode text")
                continue
            if key == "stream" and value:
                self._wrong(path, f"{name}.stream", "a batch cannot stream")
            texts[str(key)] = Raw(text)
        return texts

    def _model(self, text: Raw, path: str) -> str | None:
        model = json.loads(bytes(text))
        if not isinstance(model, str) or not model:
            self._wrong(path, "override_params.model", "must be a model name")
            return None
        return model

    def _dropped(self, raw: Mapping[str, Any], path: str, above: TargetSettings) -> tuple[bool | None, tuple[str, ...]]:
        found = raw.get("drop_params")
        if found is None:
            return above.drop_params, above.remove
        if isinstance(found, bool):
            return found, ()
        usable = isinstance(found, list | tuple) and all(isinstance(each, str) and _is_path(each) for each in found)
        if not usable or "model" in found:
            self._wrong(path, "drop_params", "must be true, or a list of dotted paths in the body; not 'model'")
            return False, ()
        return False, tuple(dict.fromkeys(found))

    def _switch(self, raw: Mapping[str, Any], name: str, path: str, *, above: bool) -> bool:
        return bool(self._said(raw, name, path, above))

    def _said(self, raw: Mapping[str, Any], name: str, path: str, above: bool | None) -> bool | None:
        found = raw.get(name)
        if found is not None and not isinstance(found, bool):
            self._wrong(path, name, "must be true or false")
        return found if isinstance(found, bool) else above

    def _deadline(self, raw: Mapping[str, Any], path: str, above: TargetSettings) -> str:
        found = raw.get("on_deadline", above.on_deadline)
        if found not in ("cancel", "wait"):
            self._wrong(path, "on_deadline", "must be cancel or wait")
        return str(found)

    def _direct(self, raw: Mapping[str, Any], path: str, above: TargetSettings) -> str | None:
        found = raw.get("direct")
        if found is None:
            return above.direct
        if not isinstance(found, bool | str) or found not in _DIRECT:
            self._wrong(path, "direct", "must be false, true (where no native job can be) or 'always'")
            return None
        return _DIRECT[found]

    def _weight(self, raw: Mapping[str, Any], path: str) -> float:
        found = raw.get("weight", 1)
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < math.inf:
            self._wrong(path, "weight", "must be a number, 0 or above")
            return 1.0
        return float(min(found, _HEAVIEST))

    def _text(self, raw: Mapping[str, Any], name: str, path: str) -> str | None:
        found = raw.get(name)
        if found is not None and (not isinstance(found, str) or not found.strip()):
            self._wrong(path, name, "must be a text")
            return None
        return None if found is None else str(found).strip()

    def _check_names(self, raw: Mapping[str, Any], path: str, known: set[str], others: set[str]) -> None:
        for name in raw:
            if name in known or name in others:
                continue
            if what := words.unserved(str(name), raw[name]):
                self._wrong(path, str(name), what)
            elif near := self._names.near(name, known, _NEAR):
                self._wrong(path, str(name), f"unknown key; did you mean {near}?")

    def _wrong(self, path: str, name: str, what: str) -> None:
        self._say(_below(path, name), what)

    def _say(self, path: str, what: str) -> None:
        self.problems.append(Problem(path, what))


def _mapping(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_path(text: str) -> bool:
    return bool(text) and all(text.split("."))
