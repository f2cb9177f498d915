"""The account of a request that takes exactly one, such as a file that a provider keeps: config first, then headers."""

from __future__ import annotations

from aiohttp import web

from proxy_plugin.access import headers
from proxy_plugin.access import own_keys as byok
from proxy_plugin.access.own_keys import Brought
from proxy_plugin.config import VirtualKey
from proxy_plugin.errors import BadRequest
from proxy_plugin.gateway import GATEWAY
from proxy_plugin.routing.config_tree import NamedAccount, OwnAccount, Slug
from proxy_plugin.routing.portkey_config import read_header
from proxy_plugin.web.entrance import CALLER, HEADERS


def named(request: web.Request) -> VirtualKey | OwnAccount | str | None:
    """Return the virtual key that a request names, or the account or the provider of a key of the caller's own.

    None where it names nothing. No name is looked up. Raises BadRequest, Forbidden.
    """
    gateway, asked, caller = request.app[GATEWAY], request[HEADERS], request[CALLER]
    account = _in_config(request)
    if isinstance(account, OwnAccount):
        return account
    if isinstance(account, Slug):
        if asked.custom_host is not None:
            raise headers.misplaced_host()
        return headers.find_virtual_key(account.slug, caller, gateway.config)
    if asked.slug is None and asked.provider is not None:
        return asked.provider
    return headers.resolve_target(asked, caller, gateway.config)


async def chosen(request: web.Request) -> VirtualKey | Brought | None:
    """Return the account that `named` tells of, with what the caller brought for it. Raises BadRequest, Forbidden."""
    gateway, caller, found = request.app[GATEWAY], request[CALLER], named(request)
    if isinstance(found, OwnAccount):
        return await byok.choose_in_config(gateway, found, caller)
    if isinstance(found, str):
        return await byok.choose(gateway, request.headers, found, caller)
    return found


def _in_config(request: web.Request) -> NamedAccount | None:
    asked = request[HEADERS]
    if asked.config is None:
        return None
    node = read_header(asked.config, request.app[GATEWAY].config.configs, headers.CONFIG)
    accounts = [target.settings.account for target in node.targets()]
    if any(account != accounts[0] for account in accounts):
        message = f"{headers.CONFIG} names several accounts, and this request takes one; name it in {headers.PROVIDER}."
        raise BadRequest(message, param=headers.CONFIG)
    return accounts[0]
