"""How the demo's gateway reaches a stand-in: the settings of its virtual key, and the lines that it takes.

Every function raises `LookupError` for a provider without a stand-in.
"""

from typing import Any

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY
from proxy_plugin.providers.sandbox.stand_ins import find


def virtual_key(provider: str, url: str, key: str = DEFAULT_KEY) -> dict[str, Any]:
    """The settings of a virtual key whose account is at the stand-in at `url`."""
    return find(provider).virtual_key(url, key)


def model_and_endpoint(provider: str) -> tuple[str, str]:
    """A model and an endpoint that lines for this stand-in may name."""
    found = find(provider)
    return found.model, found.endpoint


def paced(provider: str, seconds: float) -> dict[str, dict[str, float]]:
    """Options for `process.Sandbox` with which a job runs for `seconds`."""
    return {find(provider).provider: {"run_seconds": seconds}}
