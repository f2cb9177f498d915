"""An account as LiteLLM knows it: the parameters of an entry, and what they leave to its environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from proxy_plugin.config.sections import credential_problems
from proxy_plugin.ground.masking import REFERENCE
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import BatchProvider, Credentials
from proxy_plugin.providers.catalog import Environment

_BASES = ("base_url", "api_base")  # the first wins, as in LiteLLM's `completion` (main.py, 1.110)
_HOST = "custom_host"

Resolve = Callable[[object, str], tuple[Any, dict[str, str]]]  # (value, its path) -> resolved, {path: what is missing}
Made = tuple[Credentials | None, str]  # or why there are none


class EntryAccounts:
    """Makes credentials of parameters. What an entry does not say may stand in LiteLLM's variables."""

    def __init__(self, resolve: Resolve, environ: Mapping[str, str]) -> None:
        self._resolve, self._environ = resolve, environ

    def read(self, adapter: BatchProvider, params: Mapping[str, Any], path: str) -> Made:
        """Return the credentials of an entry, or None and why."""
        given = dict(_given(adapter, params))
        based = _HOST in given and params.get(_HOST) is None
        settings, missing = self._resolve(filled(given, adapter.credentials, self._resolve), path)
        if missing:
            return None, ", ".join(dict.fromkeys(missing.values()))
        environment = catalog.environment(adapter.capabilities.provider)
        for name, text in self._found(environment.others).items():
            if name not in settings:
                settings[name], based = text, based or name == _HOST
        if based and isinstance(settings[_HOST], str):
            settings[_HOST] = adapter.capabilities.api_base.host(settings[_HOST])
        return self._proven(adapter, settings, environment)

    def proves(self, provider: str) -> bool:
        """Tell whether the environment has what proves an account of a provider."""
        return any(self._whole(proof) for proof in catalog.environment(provider).proofs)

    def _proven(self, adapter: BatchProvider, settings: Mapping[str, Any], environment: Environment) -> Made:
        made = _made(adapter, settings)
        if made[0] is not None or any(name in settings for proof in environment.proofs for name in proof):
            return made
        for proof in environment.proofs:
            if self._whole(proof):
                return _made(adapter, {**settings, **self._found(proof)})
        return None, f"{made[1]}{_remedy(environment)}"

    def _whole(self, proof: Mapping[str, tuple[str, ...]]) -> bool:
        return len(self._found(proof)) == len(proof)

    def _found(self, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        """Return what the environment has of some credentials, of each what the first variable holds that is set."""
        texts = {
            field: next((text for name in names if (text := self._environ.get(name, "").strip())), "")
            for field, names in wanted.items()
        }
        return {field: text for field, text in texts.items() if text}


def filled(given: Mapping[str, Any], model: type[Credentials], resolve: Resolve) -> dict[str, Any]:
    """Return settings of an account with what the environment says of their gaps, in the variables of LiteLLM."""
    gaps = {name: variables for name, variables in model.gaps.items() if given.get(name) in (None, "")}
    found, _ = resolve({name: [REFERENCE + each for each in variables] for name, variables in gaps.items()}, "")
    return {**given, **{name: values[0] for name, values in found.items() if values}}


def consumed(adapter: BatchProvider) -> frozenset[str]:
    """Return the parameters that make an account of this provider."""
    return frozenset({*adapter.credentials.model_fields, *adapter.capabilities.litellm, *_BASES, "organization"})


def _given(adapter: BatchProvider, params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield credentials as they were written, the strongest name of each last; nothing and an empty text are none."""
    fields, said = adapter.credentials.model_fields, {k: v for k, v in params.items() if v is not None and v != ""}
    if "openai_organization" in fields and "organization" in said:
        yield "openai_organization", said["organization"]
    for theirs, ours in adapter.capabilities.litellm.items():
        if theirs in said:
            yield ours, said[theirs]
    if _HOST in fields and (base := next((said[name] for name in _BASES if name in said), None)) is not None:
        yield _HOST, base
    yield from ((name, value) for name, value in said.items() if name in fields)


def _made(adapter: BatchProvider, settings: Mapping[str, Any]) -> Made:
    try:
        credentials = adapter.credentials.model_validate(settings)
    except ValidationError as error:  # its texts may quote what they refuse: the names are enough
        names = {".".join(map(str, fault["loc"])) or "credentials" for fault in error.errors(include_input=False)}
        return None, f"{', '.join(sorted(names))} missing or unusable"
    wrong = [f"{name} {what}" for name, what in credential_problems(credentials)]
    return (None, ", ".join(wrong)) if wrong else (credentials, "")


def _remedy(environment: Environment) -> str:
    if not environment.proofs:
        return ""
    field, names = next(iter(environment.proofs[0].items()))
    return f"; set {' or '.join(names)}, or write {field}: {REFERENCE}NAME"
