"""An account as it is stored with a batch: what its operator and the config of the batch say together."""

from __future__ import annotations

from msgspec import UNSET

from proxy_plugin.access import headers
from proxy_plugin.access.brought import Brought
from proxy_plugin.config import VirtualKey
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import InputMode
from proxy_plugin.routing.config_tree import TargetSettings
from proxy_plugin.routing.route import ALWAYS, NEVER, StoredTarget, params_switches


def stored(account: VirtualKey | Brought, settings: TargetSettings, model: str | None, *, drop: bool) -> StoredTarget:
    """Return an account as it is stored; `drop` is what the gateway does where nobody says anything."""
    key = account.account if isinstance(account, Brought) else account
    drop_params, strict_params = params_switches(
        (settings.drop_params, settings.strict_params), (key.drop_params, key.strict_params), (drop, None)
    )
    return StoredTarget(
        slug=key.slug,
        provider=key.provider,
        model=model,
        drop_params=drop_params,
        max_lines_per_job=key.max_lines_per_job,
        max_bytes_per_job=key.max_bytes_per_job,
        min_lines_per_job=key.min_lines_per_job,
        models=key.models,
        strict=settings.strict or UNSET,
        changes=settings.changes or UNSET,
        fetch_media=settings.fetch_media or UNSET,
        byok=account.own if isinstance(account, Brought) else UNSET,
        strict_params=strict_params or UNSET,
        direct=_direct(key, settings) or UNSET,
    )


def _direct(key: VirtualKey, settings: TargetSettings) -> str | None:
    """Return how far ordinary calls may go to an account. Raises BadRequest where its operator wants none."""
    if key.direct_calls == NEVER and settings.direct not in (None, NEVER):
        raise BadRequest(
            f"{headers.CONFIG}: direct asks for ordinary calls to the virtual key {key.slug}, which makes none"
            " (direct_calls: never). Leave it out for this target.",
            param=headers.CONFIG,
        )
    if catalog.load(key.provider).capabilities.input_mode is InputMode.DIRECT:  # it has nothing else
        return ALWAYS
    return key.direct_calls if settings.direct is None else settings.direct
