"""An account as LiteLLM knows it: the parameters of an entry, and what they leave to its environment."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
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
_WHOLE = "credentials"  # what is wrong with an account as a whole


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

    def stands_alone(self, adapter: BatchProvider) -> bool:
        """Tell whether the environment means an account: it proves one, or names a bucket for its files."""
        gaps = filled({}, adapter.credentials, self._resolve)
        return self.proves(adapter.capabilities.provider) or any("bucket" in name for name in gaps)

    def _proven(self, adapter: BatchProvider, settings: Mapping[str, Any], environment: Environment) -> Made:
        settings = dict(_of_one_proof(settings, environment))
        made = _made(adapter, settings, environment)
        if made[0] is not None or any(name in settings for proof in environment.proofs for name in proof):
            return made
        for proof in environment.proofs:
            if self._whole(proof):
                return _made(adapter, {**settings, **self._found(proof)}, environment)
        return made

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


def _of_one_proof(settings: Mapping[str, Any], environment: Environment) -> Iterator[tuple[str, Any]]:
    """Yield settings without other proofs than the first that is said: as in LiteLLM a key goes before a token."""
    said = [proof for proof in environment.proofs if not proof.keys().isdisjoint(settings)]
    others = {name for proof in said[1:] for name in proof} - (said[0].keys() if said else set())
    yield from ((name, value) for name, value in settings.items() if name not in others)


def _made(adapter: BatchProvider, settings: Mapping[str, Any], environment: Environment) -> Made:
    try:
        credentials = adapter.credentials.model_validate(settings)
    except ValidationError as error:  # its texts may quote what they refuse: the names are enough
        names = sorted({".".join(map(str, fault["loc"])) or _WHOLE for fault in error.errors(include_input=False)})
        return None, _lacks(adapter, environment, names, settings)
    wrong = [f"{name} {what}" for name, what in credential_problems(credentials)]
    return (None, ", ".join(wrong)) if wrong else (credentials, "")


def _lacks(adapter: BatchProvider, environment: Environment, names: Sequence[str], settings: Container[str]) -> str:
    """Return what is wrong with an account, and the remedy for what nobody has said."""
    said = [name for name in names if name in settings]
    lacking = [name for name in names if name not in settings]
    told = []
    if lacking:
        remedy = _remedy(adapter, environment, lacking, settings)
        told.append(f"{', '.join(lacking)} missing or unusable{remedy}")
    if said:
        told.append(f"{', '.join(said)} unusable as written")
    return "; ".join(told)


def _remedy(adapter: BatchProvider, environment: Environment, names: Iterable[str], settings: Container[str]) -> str:
    """Return what to set or to write for what an account lacks, in LiteLLM's words.

    Where its credentials do not fit together, that is what proves it, and where it is, as far as `settings` lack them.
    """
    proof = environment.proofs[0] if environment.proofs else {}
    variables = {**adapter.credentials.gaps, **environment.others, **proof}
    theirs = {_HOST: "api_base"} | {ours: their for their, ours in adapter.capabilities.litellm.items()}
    proven = any(name in settings for each in environment.proofs for name in each)
    whole = [name for name in (*([] if proven else [*proof][:1]), _HOST) if name not in settings]
    wanted = dict.fromkeys(each for name in names for each in (whole if name == _WHOLE else [name]))
    told = [(theirs.get(name, name), " or ".join(variables[name])) for name in wanted if name in variables]
    if not told:
        return ""
    written = ", ".join(f"{name}: {REFERENCE}NAME" for name, _ in told)
    return f"; set {', and '.join(texts for _, texts in told)}, or write {written}"
