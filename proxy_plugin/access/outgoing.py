"""The client of all calls to providers, as the configuration wants it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from urllib.parse import urlsplit

from proxy_plugin.config import Config
from proxy_plugin.ground import hosts
from proxy_plugin.providers.direct.base import Outgoing
from proxy_plugin.providers.http import Http, HttpSettings


def http_of(config: Config, own: set[str] | None = None) -> Http:
    """Return the client. It is used on the event loop only, and closed there.

    `own` gets the hosts of the operator's own accounts; one that is added later may be reached then.
    """
    server, own = config.server, set() if own is None else own
    own |= own_hosts(config)
    return Http(
        HttpSettings(
            outgoing_proxy=server.outgoing_proxy.get_secret_value() if server.outgoing_proxy else None,
            ca_bundle=str(server.ca_bundle) if server.ca_bundle else None,
            may_reach=partial(hosts.may_reach, listed=server.custom_hosts, own=own),
        )
    )


def outgoing_of(config: Config, headers: Mapping[str, str], parallel: int) -> Outgoing:
    """Return how ordinary calls leave the machine; `headers` are what the client wants the provider to get."""
    server = config.server
    return Outgoing(
        proxy=server.outgoing_proxy.get_secret_value() if server.outgoing_proxy else None,
        ca_bundle=str(server.ca_bundle) if server.ca_bundle else None,
        headers=dict(headers),
        may_reach=partial(hosts.may_reach, listed=server.custom_hosts, own=own_hosts(config)),
        parallel=parallel,
    )


def own_hosts(config: Config) -> frozenset[str]:
    """Return the hosts of the operator's own accounts, which may be private."""
    values = (value for key in config.virtual_keys.values() for _, value in key.credentials)
    return frozenset(urlsplit(each).hostname or "" for each in values if isinstance(each, str) and "://" in each)
