"""By which way lines reach their target: a job of its batch service, or ordinary calls, one a line."""

from __future__ import annotations

from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import InputMode
from proxy_plugin.providers.direct.base import PureHalf
from proxy_plugin.routing.route import ALWAYS, StoredTarget

NATIVE, DIRECT = "native", "direct"  # ways
MOST_CALLS = 5_000  # of a part that is answered by ordinary calls, so that turns come round


def half(provider: str, way: str) -> PureHalf:
    """Return what translates a provider's lines and reads its answers. Raises catalog.UnknownProvider, ImportError."""
    return catalog.direct(provider) if way == DIRECT else catalog.load(provider)


def way_of(target: StoredTarget) -> str:
    """Return by which way a target is asked first: by a job where its provider has them and nobody wants calls."""
    if catalog.load(target.provider).capabilities.input_mode is InputMode.DIRECT:
        return DIRECT
    return DIRECT if target.direct == ALWAYS and has_calls(target.provider) else NATIVE


def has_calls(provider: str) -> bool:
    """Tell whether a provider that has jobs can also be asked by ordinary calls."""
    try:
        catalog.direct(provider)
    except catalog.UnknownProvider:
        return False
    return True


def calls_endpoint(provider: str, endpoint: str) -> bool:
    """Tell whether lines of an endpoint can be ordinary calls of a provider that has jobs."""
    return has_calls(provider) and endpoint in catalog.direct(provider).capabilities.endpoints
