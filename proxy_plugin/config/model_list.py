"""LiteLLM's `model_list`: every entry is an account of its own, a virtual key that nobody had to write.

Its slug is `model-<model_name>`, with `any` for `*` and hyphens for what no slug may hold. The second and later entries
of one name have six more characters, made of what tells them apart in the file (provider, model, host, the name of the
key's variable, `model_info.id`), never of a key: so it stays when other entries come, go or change places. Parts of a
running batch are found again by it.

The list is LiteLLM's: nothing in it stops the start. An entry that cannot be used says so in a warning, but for those
whose provider has no batch lane here and no name like one that has; the lines that name it are rejected.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from proxy_plugin.config.sections import ModelEntry, VirtualKey, credential_problems
from proxy_plugin.ground.masking import REFERENCE
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider, Credentials

PREFIX = "model-"
NO_LANE, DISABLED = "no_batch_lane", "virtual_key_disabled"
_NOT_IN_SLUG = re.compile(r"[^A-Za-z0-9._]+")
_BASES = ("base_url", "api_base")  # the first wins, as in LiteLLM's `completion` (main.py, 1.110)
_NAME_KEPT = 48  # characters of the name in a slug

Resolve = Callable[[object, str], tuple[Any, dict[str, str]]]  # (value, its path) -> resolved, {path: what is missing}


@dataclass(slots=True)
class Models:
    """What became of the list."""

    entries: list[ModelEntry] = field(default_factory=list)
    virtual_keys: dict[str, VirtualKey] = field(default_factory=dict)
    disabled: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_models(entries: Sequence[object], resolve: Resolve, taken: Iterable[str]) -> Models:
    """Read the list as it was written. `taken` are the slugs of the configured virtual keys."""
    reading = _Reading(resolve, set(taken))
    for index, entry in enumerate(entries):
        reading.entry(entry, f"model_list.{index}")
    reading.found.entries = list(_weighted(reading.found.entries, reading.weights))
    return reading.found


def filled(given: Mapping[str, Any], model: type[Credentials], resolve: Resolve) -> dict[str, Any]:
    """Return settings of an account with what the environment says of their gaps, in the variables of LiteLLM."""
    gaps = {name: variables for name, variables in model.gaps.items() if given.get(name) in (None, "")}
    found, _ = resolve({name: [REFERENCE + each for each in variables] for name, variables in gaps.items()}, "")
    return {**given, **{name: values[0] for name, values in found.items() if values}}


class _Reading:
    def __init__(self, resolve: Resolve, taken: set[str]) -> None:
        self._resolve, self._taken = resolve, taken
        self.found = Models()
        self.weights: list[tuple[float | None, float | None]] = []  # weight and rpm of each entry

    def entry(self, raw: object, path: str) -> None:
        params, name, model = _parts(raw)
        if not name or not model:
            self.found.warnings.append(f"{path}: has no model_name or no litellm_params.model and is passed over")
            return
        provider, at_provider = _provider(params, model)
        adapter = None if provider is None else _adapter(provider)
        if adapter is None and provider is not None and catalog.nearest(provider):
            self.found.warnings.append(f"{path}: unknown provider '{provider[:64]}'.{catalog.advice(provider)}")
        made = ModelEntry(name, at_provider, provider, closed=NO_LANE)
        if adapter is not None:
            made = self._account(made, adapter, raw, params, f"{path}.litellm_params")
        self.found.entries.append(made)
        self.weights.append((_number(params.get("weight")), _number(params.get("rpm"))))

    def _account(
        self, entry: ModelEntry, adapter: BatchProvider, raw: object, params: Mapping[str, Any], path: str
    ) -> ModelEntry:
        assert entry.provider is not None
        slug = self._slug(entry, raw, params)
        credentials, why = self._credentials(adapter, params, path)
        if credentials is None:
            self.found.disabled[slug] = why
            self.found.warnings.append(f"{path}: {why}, so batches cannot use this model")
            return replace(entry, slug=slug, closed=DISABLED)
        drop = params.get("drop_params")
        key = VirtualKey(slug=slug, provider=entry.provider, credentials=credentials, models=(entry.model,))
        if isinstance(drop, bool):
            key = key.model_copy(update={"drop_params": drop})
        self.found.virtual_keys[slug] = key
        return replace(entry, slug=slug, closed=None)

    def _credentials(
        self, adapter: BatchProvider, params: Mapping[str, Any], path: str
    ) -> tuple[Credentials | None, str]:
        fields = adapter.credentials.model_fields
        given = {name: value for name, value in params.items() if name in fields}
        base = next((params[name] for name in _BASES if params.get(name) is not None), None)
        based = base is not None and "custom_host" in fields and "custom_host" not in given
        if based:
            given["custom_host"] = base
        if (organization := params.get("organization")) is not None and "openai_organization" in fields:
            given.setdefault("openai_organization", organization)
        for theirs, ours in adapter.capabilities.litellm.items():
            if params.get(theirs) is not None:
                given.setdefault(ours, params[theirs])
        settings, missing = self._resolve(filled(given, adapter.credentials, self._resolve), path)
        if missing:
            return None, ", ".join(dict.fromkeys(missing.values()))
        if based and isinstance(settings["custom_host"], str):
            settings["custom_host"] = adapter.capabilities.api_base.host(settings["custom_host"])
        try:
            credentials = adapter.credentials.model_validate(settings)
        except ValidationError as error:  # its texts may quote what they refuse: the names are enough
            names = {".".join(map(str, fault["loc"])) or "credentials" for fault in error.errors(include_input=False)}
            return None, f"{', '.join(sorted(names))} missing or unusable"
        wrong = [f"{name} {what}" for name, what in credential_problems(credentials)]
        return (None, ", ".join(wrong)) if wrong else (credentials, "")

    def _slug(self, entry: ModelEntry, raw: object, params: Mapping[str, Any]) -> str:
        plain = PREFIX + _NOT_IN_SLUG.sub("-", entry.name.replace("*", "any"))[:_NAME_KEPT].strip("-")
        slug, count = plain, 1
        while slug in self._taken:
            twin = f"-{count}" if count > 1 else ""
            slug, count = f"{plain}-{_identity(entry, raw, params)}{twin}", count + 1
        self._taken.add(slug)
        return slug


def _parts(raw: object) -> tuple[Mapping[str, Any], str, str]:
    """Return (litellm_params, model_name, litellm_params.model), empty where there is nothing usable."""
    entry = raw if isinstance(raw, Mapping) else {}
    found = entry.get("litellm_params")
    params = found if isinstance(found, Mapping) else {}
    name, model = entry.get("model_name"), params.get("model")
    return params, name if isinstance(name, str) else "", model if isinstance(model, str) else ""


def _provider(params: Mapping[str, Any], model: str) -> tuple[str | None, str]:
    """Return (Portkey's name of the provider, the model as it calls it); None if nothing tells the provider."""
    named = params.get("custom_llm_provider")
    if isinstance(named, str) and named:
        return catalog.canonical(named), model.removeprefix(f"{named}/")
    prefix, slash, rest = model.partition("/")
    if slash:
        return catalog.canonical(prefix), rest
    return next((name for name in catalog.names() if _knows(name, model)), None), model


def _knows(provider: str, model: str) -> bool:
    adapter = _adapter(provider)
    return adapter is not None and any(fnmatchcase(model, each) for each in adapter.capabilities.model_patterns)


def _adapter(provider: str) -> BatchProvider | None:
    try:
        return catalog.load(provider)
    except (catalog.UnknownProvider, ImportError, AttributeError):
        return None


def _identity(entry: ModelEntry, raw: object, params: Mapping[str, Any]) -> str:
    info = raw.get("model_info") if isinstance(raw, Mapping) else None
    key = params.get("api_key")
    told = [
        *(entry.provider, entry.model, params.get("api_base")),
        key if isinstance(key, str) and key.startswith(REFERENCE) else None,
        info.get("id") if isinstance(info, Mapping) else None,
    ]
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:6]


def _number(value: object) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15
    return float(value) if usable else None  # type: ignore[arg-type]


def _weighted(
    entries: Sequence[ModelEntry], weights: Sequence[tuple[float | None, float | None]]
) -> Iterator[ModelEntry]:
    """Give each entry its weight: `weight` where any entry of its name has one, or else `rpm`, or else 1."""
    given: dict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    for entry, each in zip(entries, weights, strict=True):
        given[entry.name].append(each)
    for entry, (weight, rpm) in zip(entries, weights, strict=True):
        chosen = weight if any(each is not None for each, _ in given[entry.name]) else rpm
        yield replace(entry, weight=1.0 if chosen is None else chosen)
