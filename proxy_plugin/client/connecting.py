"""Which gateway, with which key, for which account: as the caller says, or the environment, as for the commands."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from proxy_plugin.commands.connection import Transport
from proxy_plugin.commands.problems import Misuse
from proxy_plugin.commands.session import BASE_URL, header


def transport(
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    virtual_key: str | None = None,
    provider: str | None = None,
    config: Mapping[str, Any] | str | None = None,
    provider_key: str | None = None,
    env: Mapping[str, str] = os.environ,
) -> Transport:
    """Return the way to a gateway. Raises Misuse.

    `config` is a routing config, or the id of a saved one; `provider_key` goes with `provider`, which you bring the key
    of. The base URL and the gateway's key may stand in PROXY_PLUGIN_BASE_URL or PORTKEY_BASE_URL and PORTKEY_API_KEY.
    """
    if sum(bool(each) for each in (virtual_key, provider, config)) > 1:
        raise Misuse("give one of virtual_key, provider and config.")
    key = provider_key or (env.get("PROXY_PLUGIN_PROVIDER_KEY") if provider and not provider.startswith("@") else None)
    wanted = {
        "x-portkey-api-key": (api_key or env.get("PORTKEY_API_KEY"), "api_key or PORTKEY_API_KEY"),
        "x-portkey-virtual-key": (virtual_key, "virtual_key"),
        "x-portkey-provider": (provider, "provider"),
        "x-portkey-config": (config if config is None or isinstance(config, str) else json.dumps(config), "config"),
        "Authorization": (f"Bearer {key.strip()}" if key else None, "provider_key"),
    }
    where = base_url or env.get("PROXY_PLUGIN_BASE_URL") or env.get("PORTKEY_BASE_URL") or BASE_URL
    return Transport(where, {name: header(value.strip(), said) for name, (value, said) in wanted.items() if value})
