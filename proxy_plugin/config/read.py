"""The configuration: one YAML file that LiteLLM loads too. Ours is the section `proxy_plugin`.

`parse` lists every problem at once, one a line, each with its dotted path; no message shows a value, it could be a
secret. A missing environment variable disables the virtual key or drops the API key it stands in; anywhere else it is
a problem, and so is one that is misspelt. What is read of LiteLLM's own sections is in `litellm_file` and `model_list`;
beside a master key that cannot be had, nothing in them is a problem.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from proxy_plugin.config import caller_checks, inside, spend_notes
from proxy_plugin.config.accounts import EntryAccounts, filled
from proxy_plugin.config.bounds import AloneSettings, CacheSettings, Connections, EngineSettings, Limits
from proxy_plugin.config.includes import read_included
from proxy_plugin.config.kinds import SLUG, Settings
from proxy_plugin.config.litellm_file import PLUGIN, LiteLLM, read_litellm
from proxy_plugin.config.model_list import Models, read_models, unplaced
from proxy_plugin.config.references import ABSENT, misspelt, misspelt_keys, replaced
from proxy_plugin.config.sections import (
    KEYS,
    LITELLM,
    OWN_KEY_PREFIX,
    ApiKey,
    Auth,
    Config,
    LiteLLMKeys,
    Options,
    Secrets,
    Server,
    Storage,
    VirtualKey,
    credential_problems,
)
from proxy_plugin.config.stores import checks
from proxy_plugin.config.webhooks import Webhook, twins
from proxy_plugin.ground.environment import lent
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.ground.masking import Masker
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider
from proxy_plugin.routing import condition_bounds, portkey_config
from proxy_plugin.routing.config_text import Invalid
from proxy_plugin.routing.config_tree import OwnAccount, Slug
from proxy_plugin.routing.patterns import refusals

SECTION, MASTER = "proxy_plugin", "general_settings.master_key"
_SLUG_RULE = "must be 1 to 64 letters, digits, dots, underscores or hyphens"


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read a configuration file and what it includes. Raises ConfigError with all problems, one a line."""
    try:
        mapping, files = read_included(path)
        return replace(parse(mapping, os.environ if environ is None else environ), files=files)
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply, or an alias that contains itself") from None


def parse(mapping: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Check the content of a configuration file. Raises ConfigError with all problems, one a line."""
    litellm = read_litellm(mapping, environ, SECTION)
    with lent(litellm.lent):  # credentials of clouds look for themselves
        return _Parse(litellm).config(mapping)


M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class _Parse:
    """One reading of one configuration: what is wrong with it gathers here."""

    litellm: LiteLLM = field(repr=False)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    master: SecretStr | None = field(default=None, repr=False)

    def config(self, mapping: Mapping[str, Any]) -> Config:
        section = self._section(mapping)
        self.problems += misspelt_keys(mapping.get("environment_variables"), "environment_variables")
        disabled: dict[str, str] = {}
        parts: dict[str, Any] = {name: self._settings(model, section, name) for name, model in SECTIONS.items()}
        parts["auth"] = auth = self._auth(section)
        parts["api_keys"] = self._with_master(tuple(self._api_keys(section.get("api_keys"))), auth)
        parts["master_key"], known = self.master, self.master is not None
        parts["spend"] = tuple(spend_notes.notes(mapping, self.litellm.environ, SECTION, master=known))
        parts["webhooks"] = self._webhooks(section)
        parts["virtual_keys"] = dict(self._virtual_keys(section.get("virtual_keys"), disabled))
        parts["model_list"] = tuple(self._list(mapping.get("model_list"), "model_list"))
        models = self._models(parts["model_list"], parts["virtual_keys"], disabled)
        parts["models"] = tuple(models.entries)
        parts["drop_params"] = self.litellm.drop_params
        parts |= self._inside(section, parts["server"], parts["storage"])
        parts["unread"] = (*self.litellm.unread, *models.unread)
        parts["virtual_keys"] |= models.virtual_keys
        disabled |= models.disabled
        parts["api_keys"] = tuple(_as_litellm(key, parts["virtual_keys"]) for key in parts["api_keys"])
        slugs = {*parts["virtual_keys"], *disabled, *self._names(section)}
        parts["configs"] = dict(self._configs(section.get("configs"), slugs))
        self._check_callers(parts, slugs, parts["configs"])
        self.problems += checks.problems(SECTION, parts)
        self.warnings += checks.warnings(SECTION, parts)
        if self.problems:
            raise ConfigError("\n".join(self.problems))
        return Config(**parts, disabled=disabled, warnings=tuple(self.warnings))

    def _section(self, mapping: Mapping[str, Any]) -> Mapping[str, Any]:
        if SECTION not in mapping:
            told = caller_checks.no_section(SECTION, mapping.get("model_list"))
            self.warnings.append(told + _suggestion(SECTION, [*map(str, mapping)]))
        section = self._mapping(mapping.get(SECTION), SECTION)
        self.problems += [f"{name}: belongs below {SECTION}, as {SECTION}.{name}" for name in mapping if name in KNOWN]
        self.problems += [_unknown(f"{SECTION}.{name}", str(name), KNOWN) for name in section if name not in KNOWN]
        return section

    def _inside(self, section: Mapping[str, Any], server: Server | None, storage: Storage | None) -> dict[str, bool]:
        said, callbacks = section.get("all_batches"), self.litellm.callbacks
        if said not in (None, True, False):
            self.problems.append(f"{SECTION}.all_batches: must be true or false")
        data_dir = None if storage is None else storage.data_dir
        self.warnings += inside.doubts(callbacks, server, data_dir, all_batches=said is True)
        return {"inside": PLUGIN in callbacks, "all_batches": said is True}

    @staticmethod
    def _names(section: Mapping[str, Any]) -> set[str]:
        """Return all slugs that were written, so that one with a problem is not also unknown."""
        found = section.get("virtual_keys")
        return set(map(str, found)) if isinstance(found, Mapping) else set()

    def _settings(self, model: type[M], section: Mapping[str, Any], name: str) -> M | None:
        path = f"{SECTION}.{name}"
        settings, missing = self._required(section.get(name), path)
        return self._checked(model, self._mapping(settings, path), path, missing)

    def _api_keys(self, raw: object) -> Iterator[ApiKey]:
        entries = self._list(raw, f"{SECTION}.api_keys")
        kept, dropped = 0, []
        for index, entry in enumerate(entries):
            path = f"{SECTION}.api_keys.{index}"
            settings, missing = self._resolved(entry, path)
            found = self._checked(ApiKey, self._mapping(settings, path), path, missing)
            dropped += [f"{where}: {why}, so this API key is dropped" for where, why in missing.items()]
            kept += not missing
            if found is not None and not missing:
                yield found
        self.warnings += dropped
        if dropped and not kept:
            self.problems += [*dropped, f"{SECTION}.api_keys: no key is left; access is never opened for lack of keys"]

    def _with_master(self, api_keys: tuple[ApiKey, ...], auth: Auth) -> tuple[ApiKey, ...]:
        """Return the keys, with LiteLLM's master key: where the proxy is closed, the batch API is not open.

        Its workspace is that of all keys, if they have one; not where keys of LiteLLM's have workspaces of their own.
        """
        if self.litellm.master_key is None:
            return api_keys
        value, missing = self._resolved(self.litellm.master_key, MASTER)
        workspaces = {key.workspace for key in api_keys}
        entry = {"name": MASTER, "key": value, "forward": True, "workspace": "default", "operator": True}
        if len(workspaces) == 1 and auth == KEYS:
            entry["workspace"] = workspaces.pop()
        for why in missing.values():
            told = f"{MASTER}: {why}"
            self.warnings.append(f"{told}, so it opens nothing here")
            if not api_keys and auth == KEYS:
                self.problems.append(f"{told}; access is never opened for lack of keys")
        master = None if missing else self._checked(ApiKey, entry, MASTER, missing)
        if master is None:
            return api_keys
        self.master = master.key
        known = {"forward": True, "upstream_key": None}
        same = tuple(key.model_copy(update=known) for key in api_keys if key.digest() == master.digest())
        return (*(key for key in api_keys if key.digest() != master.digest()), *(same or (master,)))

    def _check_callers(
        self, parts: Mapping[str, Any], slugs: set[str], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        keys, server = parts["api_keys"], parts["server"] or Server()
        entries = caller_checks.named(SECTION, keys, parts["litellm_keys"] or LiteLLMKeys())
        self.problems += caller_checks.twins(f"{SECTION}.api_keys", keys)
        self.warnings += [*caller_checks.idle(entries, slugs), *caller_checks.published(SECTION, keys, MASTER)]
        self.problems += caller_checks.wrong_defaults(entries, slugs, configs)
        self.warnings += caller_checks.unasked(SECTION, parts["auth"], server, keys, inside=parts["inside"])

    def _auth(self, section: Mapping[str, Any]) -> Auth:
        said = section.get("auth")
        if said not in (None, KEYS, LITELLM):
            self.problems.append(f"{SECTION}.auth: must be {KEYS} or {LITELLM}")
        return LITELLM if said == LITELLM else KEYS

    def _webhooks(self, section: Mapping[str, Any]) -> tuple[Webhook, ...]:
        path = f"{SECTION}.webhooks"
        found, missing = self._required(section.get("webhooks"), path)
        entries = [(f"{path}.{n}", each) for n, each in enumerate(self._list(found, path))]
        checked = [self._checked(Webhook, self._mapping(each, where), where, missing) for where, each in entries]
        self.problems += twins(path, checked)
        return tuple(each for each in checked if each is not None)

    def _virtual_keys(self, raw: object, disabled: dict[str, str]) -> Iterator[tuple[str, VirtualKey]]:
        for slug, entry in self._mapping(raw, f"{SECTION}.virtual_keys").items():
            path = f"{SECTION}.virtual_keys.{slug}"
            if not _is_slug(slug):
                self.problems.append(f"{path}: the name {_SLUG_RULE}")
                continue
            if slug.startswith(OWN_KEY_PREFIX):
                self.problems.append(f"{path}: names that begin with {OWN_KEY_PREFIX} are kept for callers' own keys")
                continue
            settings, missing = self._resolved(entry, path)
            found = self._virtual_key(slug, self._mapping(settings, path), path, missing)
            self.warnings += [f"{where}: {why}, so this virtual key is disabled" for where, why in missing.items()]
            if missing:
                disabled[slug] = ", ".join(dict.fromkeys(missing.values()))
            elif found is not None:
                yield slug, found

    def _virtual_key(
        self, slug: str, settings: Mapping[str, Any], path: str, missing: Mapping[str, str]
    ) -> VirtualKey | None:
        adapter = self._adapter(settings, path, missing)
        if adapter is None:
            return None
        own = {name: value for name, value in settings.items() if name in Options.model_fields}
        rest = {name: value for name, value in settings.items() if name not in {*own, "provider"}}
        rest = filled(rest, adapter.credentials, self._resolved)
        known = {"provider", *Options.model_fields, *adapter.credentials.model_fields}
        options = self._checked(Options, own, path, missing)
        credentials = self._checked(adapter.credentials, rest, path, missing, known)
        if options is None or credentials is None:
            return None
        self.problems += [f"{path}.{name}: {what}" for name, what in credential_problems(credentials)]
        return VirtualKey(
            slug=slug,
            provider=catalog.canonical(settings["provider"]),
            credentials=credentials,
            **options.model_dump(exclude_unset=True),
        )

    def _adapter(self, settings: Mapping[str, Any], path: str, missing: Mapping[str, str]) -> BatchProvider | None:
        if path in missing or f"{path}.provider" in missing:
            return None
        path = f"{path}.provider"
        name = settings.get("provider")
        if not isinstance(name, str):
            self.problems.append(f"{path}: missing setting" if name is None else f"{path}: must be a text")
            return None
        try:
            return catalog.load(catalog.canonical(name))
        except catalog.UnknownProvider:
            known = f"known: {', '.join(catalog.names())}."
            self.problems.append(f"{path}: unknown provider; {known}{catalog.advice(name)}")
        except (ImportError, AttributeError) as error:
            self.problems.append(f"{path}: its adapter cannot be loaded ({type(error).__name__})")
        return None

    def _models(
        self, entries: tuple[object, ...], keys: Mapping[str, VirtualKey], disabled: Mapping[str, str]
    ) -> Models:
        accounts, have = EntryAccounts(self._resolved, self.litellm.environ), [key.provider for key in keys.values()]
        models = read_models(entries, accounts, self.litellm, {*keys, *disabled}, have)
        self.warnings += models.warnings
        return models

    def _configs(self, raw: object, slugs: set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, entry in self._mapping(raw, f"{SECTION}.configs").items():
            path = f"{SECTION}.configs.{name}"
            if not _is_slug(name) or not name.startswith(portkey_config.SAVED_PREFIX):
                self.problems.append(f"{path}: the name must start with pc- and {_SLUG_RULE}")
            settings, missing = self._required(entry, path)
            try:  # once as JSON, which it has to be: YAML has dates, and numbers as keys
                found = json.loads(json.dumps(self._mapping(settings, path), allow_nan=False))
            except (TypeError, ValueError):
                self.problems.append(f"{path}: holds what JSON cannot")
                continue
            if settings is not None and not missing and isinstance(settings, Mapping):
                self._check_config(found, path, slugs)
            yield str(name), found

    def _check_config(self, found: Mapping[str, Any], path: str, slugs: set[str]) -> None:
        try:
            node = portkey_config.read(found)
        except Invalid as invalid:
            self.problems += [
                f"{path}.{where}: {what}" if where else f"{path}: {what}" for where, what in invalid.problems
            ]
            return
        patterns = condition_bounds.patterns_of(node)
        refused = refusals([each.text for each in patterns])
        self.problems += [f"{path}.{patterns[at].path}: {why}" for at, why in refused]
        for target in node.every_target():
            where = f"{path}.{target.path}" if target.path else path
            account = target.settings.account
            if isinstance(account, Slug) and account.slug not in slugs:
                self.problems.append(f"{where}: unknown virtual key{_suggestion(account.slug, slugs)}")
            elif isinstance(account, OwnAccount):
                self._adapter({"provider": account.provider}, where, {})

    def _required(self, raw: object, path: str) -> tuple[Any, dict[str, str]]:
        settings, missing = self._resolved(raw, path)
        self.problems += [f"{where}: {why}" for where, why in missing.items()]
        return settings, missing

    def _resolved(self, raw: object, path: str) -> tuple[Any, dict[str, str]]:
        """Return the value with its references replaced, and {path: why} of those whose variable is missing."""
        missing: dict[str, str] = {}
        value = replaced(raw, path, self.litellm.environ, missing)
        self.problems += misspelt(raw, path)
        return (None if value is ABSENT else value), missing

    def _checked(
        self,
        model: type[M],
        settings: Mapping[str, Any],
        path: str,
        missing: Mapping[str, str],
        known: Iterable[str] | None = None,
    ) -> M | None:
        """Return the validated model. With a variable missing, what its absence causes is no further problem."""
        try:
            return model.model_validate(settings)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
        names = model.model_fields if known is None else known
        quoted = Masker(_texts(settings))  # an adapter's own check may quote what it refuses
        for fault in faults:
            if missing and (fault["type"] == "missing" or not fault["loc"]):
                continue
            where = ".".join([path, *map(str, fault["loc"])])
            if fault["type"] == "extra_forbidden":
                self.problems.append(_unknown(where, str(fault["loc"][-1]), names))
            elif fault["type"] == "missing":
                self.problems.append(f"{where}: missing setting")
            elif fault["type"] == "string_type":
                self.problems.append(f"{where}: must be text; numbers need quotes")
            else:
                own = fault["type"] in ("value_error", "assertion_error")
                text = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
                self.problems.append(f"{where}: {quoted.mask(text) if own else text}")
        return None

    def _mapping(self, raw: object, path: str) -> Mapping[str, Any]:
        if raw is not None and not isinstance(raw, Mapping):
            self.problems.append(f"{path}: must be a mapping")
        return raw if isinstance(raw, Mapping) else {}

    def _list(self, raw: object, path: str) -> list[Any]:
        if raw is not None and not isinstance(raw, list | tuple):
            self.problems.append(f"{path}: must be a list")
        return list(raw) if isinstance(raw, list | tuple) else []


SECTIONS: dict[str, type[Settings]] = {
    "server": Server,
    "storage": Storage,
    "engine": EngineSettings,
    "limits": Limits,
    "secrets": Secrets,
    "cache": CacheSettings,
    "connections": Connections,
    "alone": AloneSettings,
    "litellm_keys": LiteLLMKeys,
}
# Sections with many of a kind.
MANY: dict[str, type[Settings]] = {"api_keys": ApiKey, "virtual_keys": Options, "webhooks": Webhook}
KNOWN = frozenset({*SECTIONS, *MANY, "all_batches", "auth", "configs"})


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _as_litellm(key: ApiKey, virtual_keys: Container[str]) -> ApiKey:
    """Return a key; the master key with the account that LiteLLM takes where nothing is said."""
    return key.model_copy(update={"default": unplaced(virtual_keys)}) if key.name == MASTER else key


def _is_slug(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and SLUG.fullmatch(name) is not None


def _unknown(path: str, name: str, known: Iterable[str]) -> str:
    return f"{path}: unknown setting{_suggestion(name, known)}"


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
