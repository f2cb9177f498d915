"""LiteLLM's `model_list`: every entry is an account of its own, a virtual key that nobody had to write.

Its slug is `model-<model_name>`, with `any` for `*` and hyphens for what no slug may hold. The second and later entries
of one name have six more characters, made of what tells them apart in the file (provider, model, host, the name of the
key's variable, `model_info.id`), never of a key: so it stays when other entries come, go or change places. Parts of a
running batch are found again by it.

The list is LiteLLM's: nothing in it stops the start. An entry that cannot be used says so in a warning, but for those
whose provider nobody knows and that have no name like one; the lines that name it are rejected. An entry whose provider
has no lane of batches is served by ordinary calls. `retired: true` in its `model_info` is that of a virtual key.
`files_settings` are accounts, too: `files-<provider>`. So is what the environment proves of a provider of which nobody
has written an account for all its models, `env-<provider>`: LiteLLM takes it where a request names the provider alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from proxy_plugin.config.accounts import EntryAccounts, consumed
from proxy_plugin.config.litellm_file import LiteLLM, number, unread_parameters
from proxy_plugin.config.names import Measures, entries_of, everything, weighted, with_aliases
from proxy_plugin.config.sections import ModelEntry, VirtualKey
from proxy_plugin.ground.masking import REFERENCE
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider

PREFIX, FILES, ENVIRONMENT = "model-", "files-", "env-"
NO_LANE, DISABLED, RETIRED = "no_batch_lane", "virtual_key_disabled", "virtual_key_retired"
_NOT_IN_SLUG = re.compile(r"[^A-Za-z0-9._]+")
_NAME_KEPT = 48  # characters of the name in a slug
# Parameters that say where a call goes, or how often, and not what is in it.
_READ = frozenset(
    {"model", "custom_llm_provider", "litellm_credential_name", "drop_params", "weight", "rpm", "tpm", "order"}
    | {"mock_response"}
)


@dataclass(slots=True)
class Models:
    """What became of the list."""

    entries: list[ModelEntry] = field(default_factory=list)
    virtual_keys: dict[str, VirtualKey] = field(default_factory=dict)
    disabled: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def read_models(
    entries: Sequence[object],
    accounts: EntryAccounts,
    litellm: LiteLLM,
    taken: Iterable[str],
    have: Iterable[str] = (),
) -> Models:
    """Read the list as it was written. `taken` are the slugs of the configured virtual keys, `have` their providers."""
    reading = _Reading(accounts, litellm, set(taken))
    found = reading.found
    for index, entry in enumerate(entries):
        reading.entry(entry, f"model_list.{index}")
    for index, entry in enumerate(litellm.files):
        reading.file_account(entry, f"files_settings.{index}")
    found.entries = list(weighted(found.entries, reading.measures, litellm.weights))
    reading.everything()
    if entries or litellm.files or litellm.master_key is not None:
        reading.environment(set(have))
    for name, alias in litellm.aliases.items():
        if not entries_of(found.entries, alias.model):
            found.warnings.append(f"router_settings.model_group_alias: {name[:64]} stands for no name in model_list")
    found.entries = list(with_aliases(found.entries, litellm.aliases))
    found.unread = list(unread_parameters(reading.read))
    return found


def unplaced(virtual_keys: Container[str]) -> str | None:
    """Return the account that LiteLLM takes where a request names no place, None where there is none such."""
    return next((slug for kind in (FILES, ENVIRONMENT) if (slug := kind + catalog.LITELLMS_OWN) in virtual_keys), None)


class _Reading:
    def __init__(self, accounts: EntryAccounts, litellm: LiteLLM, taken: set[str]) -> None:
        self._accounts, self._litellm, self._taken = accounts, litellm, taken
        self.found = Models()
        self.measures: list[Measures] = []
        self.read: list[tuple[Mapping[str, Any], frozenset[str]]] = []

    def entry(self, raw: object, path: str) -> None:
        params, name, model = _parts(raw)
        if not name or not model:
            self.found.warnings.append(f"{path}: has no model_name or no litellm_params.model and is passed over")
            return
        params = self._with_credential(params, path)
        provider, at_provider = _provider(params, model)
        adapter = None if provider is None else _adapter(provider)
        if adapter is None and provider is not None and catalog.nearest(provider):
            self.found.warnings.append(f"{path}: unknown provider '{provider[:64]}'.{catalog.advice(provider)}")
        made = ModelEntry(name, at_provider, provider, closed=NO_LANE)
        if adapter is not None:
            made = self._account(made, adapter, raw, params, f"{path}.litellm_params")
            self.read.append((params, consumed(adapter) | _READ))
        self.found.entries.append(made)
        weight, rpm, tpm, order = (number(params.get(each)) for each in ("weight", "rpm", "tpm", "order"))
        self.measures.append(Measures(weight, rpm, tpm, order, str(_info(raw).get("id", ""))))

    def file_account(self, raw: object, path: str) -> None:
        """Read an entry of `files_settings`, an account that no model names."""
        params = raw if isinstance(raw, Mapping) else {}
        named = params.get("custom_llm_provider")
        adapter = _adapter(catalog.canonical(named)) if isinstance(named, str) else None
        if adapter is None:
            self.found.warnings.append(f"{path}: has no custom_llm_provider with a batch lane and is passed over")
            return
        entry = ModelEntry("", "*", adapter.capabilities.provider)
        params = self._with_credential(params, path)
        self._account(entry, adapter, raw, params, path, self._free(FILES + adapter.capabilities.provider))

    def everything(self) -> None:
        """Let a lone `*` name what the environment has accounts for, but for what other entries name."""
        star = next((each for each in self.found.entries if each.name == each.model == "*" and each.closed), None)
        known = {each.name for each in self.found.entries}
        made: list[ModelEntry] = []
        for provider in catalog.names() if star is not None else ():
            adapter = _adapter(provider)
            if adapter is None or not self._accounts.proves(provider):
                continue
            if self._accounts.read(adapter, {}, "model_list")[0] is None:  # a host is missing: it is nobody's fault
                continue
            slug = self._free(f"{PREFIX}any-{provider}")
            account = self._account(ModelEntry("*", "*", provider), adapter, {}, {}, "model_list: *", slug)
            patterns = (*catalog.PLAIN.get(provider, ()), *adapter.capabilities.model_patterns)
            names = everything(provider, patterns)
            made += [replace(account, name=name, model=model, of="*") for name, model in names if name not in known]
        if star is not None and made:
            self.found.entries = [*(each for each in self.found.entries if each is not star), *made]

    def environment(self, have: set[str]) -> None:
        """Make an account of each provider that the environment has one of, and nobody a whole one."""
        whole = {key.provider for key in self.found.virtual_keys.values() if key.models in (None, ("*",))}
        for provider in catalog.names():
            adapter = None if provider in have | whole else _adapter(provider)
            if adapter is None or not self._accounts.stands_alone(adapter):
                continue
            if self._accounts.read(adapter, {}, "")[0] is not None:
                slug = self._free(ENVIRONMENT + provider)
                self._account(ModelEntry("", "*", provider), adapter, {}, {}, "environment", slug)

    def _with_credential(self, params: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """Return parameters with those of the credential that they name, which are weaker, as in LiteLLM."""
        named = params.get("litellm_credential_name")
        if not isinstance(named, str) or not named:
            return params
        if named not in self._litellm.credentials:
            self.found.warnings.append(f"{path}: litellm_credential_name names nothing in credential_list")
        return {**self._litellm.credentials.get(named, {}), **params}

    def _account(
        self,
        entry: ModelEntry,
        adapter: BatchProvider,
        raw: object,
        params: Mapping[str, Any],
        path: str,
        slug: str | None = None,
    ) -> ModelEntry:
        assert entry.provider is not None
        slug = slug or self._slug(entry, raw, params)
        credentials, why = self._accounts.read(adapter, params, path)
        if credentials is None:
            self.found.disabled[slug] = why
            self.found.warnings.append(f"{path}: {why}, so batches cannot use this model")
            return replace(entry, slug=slug, closed=DISABLED)
        drop, models = params.get("drop_params"), (entry.model,) if entry.model != "*" or entry.name else None
        mock = params.get("mock_response")
        key = VirtualKey(slug=slug, provider=entry.provider, credentials=credentials, models=models, mock_response=mock)
        if isinstance(drop, bool):
            key = key.model_copy(update={"drop_params": drop})
        if _info(raw).get("retired") is True:
            key = key.model_copy(update={"retired": True})
        self.found.virtual_keys[slug] = key
        return replace(entry, slug=slug, closed=RETIRED if key.retired else None)

    def _free(self, slug: str) -> str:
        found = next(name for n in count(1) if (name := slug if n == 1 else f"{slug}-{n}") not in self._taken)
        self._taken.add(found)
        return found

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


def _info(raw: object) -> Mapping[str, Any]:
    found = raw.get("model_info") if isinstance(raw, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _provider(params: Mapping[str, Any], model: str) -> tuple[str | None, str]:
    """Return (Portkey's name of the provider, the model as it calls it); None if nothing tells the provider."""
    named = params.get("custom_llm_provider")
    if isinstance(named, str) and named:
        return catalog.canonical(named), model.removeprefix(f"{named}/")
    prefix, slash, rest = model.partition("/")
    if slash:
        return catalog.canonical(prefix), rest
    plain = catalog.of_plain(model)
    if plain is not None and _adapter(plain) is not None:
        return plain, model
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
    key = params.get("api_key")
    told = [
        *(entry.provider, entry.model, params.get("api_base")),
        key if isinstance(key, str) and key.startswith(REFERENCE) else None,
        _info(raw).get("id"),
    ]
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:6]
