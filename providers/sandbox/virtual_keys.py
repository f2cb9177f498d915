"""How a gateway reaches the stand-ins: the settings of its virtual keys, and the lines that they take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY


@dataclass(frozen=True, slots=True)
class _StandIn:
    """`settings` makes a virtual key's settings of a base URL and a key; `model` and `endpoint` fit its lines."""

    model: str
    endpoint: str
    settings: Callable[[str, str], dict[str, Any]]


def _key_and_host(url: str, key: str) -> dict[str, Any]:
    return {"api_key": key, "custom_host": url}


_STAND_INS: Mapping[str, _StandIn] = {
    "anthropic": _StandIn("claude-haiku-4-5", "/v1/chat/completions", _key_and_host),
    "openai": _StandIn("gpt-4.1-mini", "/v1/chat/completions", _key_and_host),
}


def names() -> tuple[str, ...]:
    """The providers that the functions below know."""
    return tuple(sorted(_STAND_INS))


def virtual_key(provider: str, url: str, key: str = DEFAULT_KEY) -> dict[str, Any]:
    """The settings of a virtual key whose account is at the stand-in at `url`. Raises `LookupError`."""
    return {"provider": provider, **_stand_in(provider).settings(url, key)}


def model_and_endpoint(provider: str) -> tuple[str, str]:
    """A model and an endpoint that lines for this stand-in may name. Raises `LookupError`."""
    found = _stand_in(provider)
    return found.model, found.endpoint


def paced(provider: str, seconds: float) -> dict[str, dict[str, float]]:
    """Options for `process.Sandbox` with which a job runs for `seconds`. Raises `LookupError`."""
    _stand_in(provider)
    return {provider: {"run_seconds": seconds}}


def _stand_in(provider: str) -> _StandIn:
    found = _STAND_INS.get(provider)
    if found is None:
        raise LookupError(f"the sandbox has no stand-in for {provider}; it has {', '.join(names())}")
    return found
