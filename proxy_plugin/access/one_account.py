"""The account of a request that takes exactly one, such as a file that a provider keeps: config first, then headers."""

from __future__ import annotations

from multidict import MultiMapping

from proxy_plugin.access import headers
from proxy_plugin.access.brought import Brought
from proxy_plugin.access.callers import Caller
from proxy_plugin.access.headers import RequestHeaders
from proxy_plugin.access.own_keys import OwnKeys
from proxy_plugin.config import Config, VirtualKey
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.routing.config_tree import NamedAccount, Node, OwnAccount, Slug
from proxy_plugin.routing.portkey_config import read_header


def named(config: Config, asked: RequestHeaders, caller: Caller) -> VirtualKey | OwnAccount | str | None:
    """Return the virtual key that a request names, or the account or the provider of a key of the caller's own.

    None where it names nothing. No name is looked up; a config is read here and now. Raises BadRequest, Forbidden.
    """
    node = None if asked.config is None else read_header(asked.config, config.configs, headers.CONFIG)
    return _named(config, asked, caller, node)


def _named(
    config: Config, asked: RequestHeaders, caller: Caller, node: Node | None
) -> VirtualKey | OwnAccount | str | None:
    account = None if node is None else _account_of(node)
    if isinstance(account, OwnAccount):
        return account
    if isinstance(account, Slug):
        if asked.custom_host is not None:
            raise headers.misplaced_host()
        return headers.find_virtual_key(account.slug, caller, config)
    if asked.slug is None and asked.provider is not None:
        return asked.provider
    return headers.resolve_target(asked, caller, config) or (_default(config, caller) if asked.names_nothing else None)


async def chosen(
    config: Config, own_keys: OwnKeys, asked: RequestHeaders, caller: Caller, sent: MultiMapping[str]
) -> VirtualKey | Brought | None:
    """Return the account that `named` tells of, with what the caller brought for it. Raises BadRequest, Forbidden."""
    node = None if asked.config is None else await headers.config_node(asked.config, config)
    found = _named(config, asked, caller, node)
    if isinstance(found, OwnAccount):
        return await own_keys.choose_in_config(found, caller)
    if isinstance(found, str):
        return await own_keys.choose(sent, found, caller)
    return found


def _default(config: Config, caller: Caller) -> VirtualKey | None:
    """Return the one account of the caller's default, None where it has several."""
    node = headers.default_node(config, caller)
    accounts = {target.settings.account for target in node.targets()} if node else set()
    found = next(iter(accounts)) if len(accounts) == 1 else None
    return headers.find_virtual_key(found.slug, caller, config) if isinstance(found, Slug) else None


def _account_of(node: Node) -> NamedAccount | None:
    accounts = [target.settings.account for target in node.targets()]
    if any(account != accounts[0] for account in accounts):
        message = f"{headers.CONFIG} names several accounts, and this request takes one; name it in {headers.PROVIDER}."
        raise BadRequest(message, param=headers.CONFIG)
    return accounts[0]
