"""Whether accounts can be used: one cheap call to each, the one that reads its newest job, which costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy_plugin.access.outgoing import http_of
from proxy_plugin.config import Config, VirtualKey
from proxy_plugin.config.sections import Storage
from proxy_plugin.config.stores.checks import CLOCK, DATABASE, STORE
from proxy_plugin.ground.masking import Masker, secrets_in
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import (
    Account,
    BatchProvider,
    InputMode,
    NoToken,
    Probes,
    ProviderError,
    Refused,
    TryLater,
)
from proxy_plugin.providers.http import Http
from proxy_plugin.storage import reach

AT_ONCE = 8  # accounts that are asked at the same time
SECONDS = 30.0  # for one account
ASKED_TO_WAIT = 429
_MOST_COPIES = "/v1"  # of OpenAI's API, on hosts that no page tells of


@dataclass(frozen=True, slots=True)
class Finding:
    """What one call told of one account. `reason` is for an operator, without secrets; empty where it is usable."""

    usable: bool
    reason: str = ""


async def look(config: Config) -> Mapping[str, Finding]:
    """Ask every account of the configuration for its newest job and return what that tells, by virtual key."""
    http, places, mask = http_of(config), asyncio.Semaphore(AT_ONCE), Masker(secrets_in(config)).mask

    async def asked(slug: str, key: VirtualKey) -> Finding:
        async with places:
            found = await _asked(http, slug, key)
        return Finding(found.usable, mask(found.reason))

    try:
        found = await asyncio.gather(*(asked(slug, key) for slug, key in config.virtual_keys.items()))
    finally:
        await http.close()
    return dict(zip(config.virtual_keys, found, strict=True))


async def look_at_stores(storage: Storage) -> dict[str, str]:
    """Return why the database and the object store of replicas cannot be used, "" where they can, by what they are."""
    found = dict[str, str]()
    if storage.database is not None:
        found[DATABASE], apart = await asyncio.to_thread(reach.database, storage.database)
        if apart:
            found[CLOCK] = apart
    if storage.blob_url is not None:
        found[STORE] = await asyncio.to_thread(reach.store, storage.blob_url, storage.store_options())
    return found


async def _asked(http: Http, slug: str, key: VirtualKey) -> Finding:
    lane = catalog.load(key.provider)
    if lane.capabilities.input_mode is InputMode.DIRECT:  # a call would cost something
        missing = catalog.lacking(key.provider)
        return Finding(usable=not missing, reason=missing)
    try:
        async with asyncio.timeout(SECONDS):
            await _probed(lane, Account(slug, key.credentials, http, slug))
    except TimeoutError:
        return Finding(usable=False, reason=f"{_host(key)} does not answer within {SECONDS:.0f} s")
    except ProviderError as error:
        return _told(error, key)
    except ValueError as error:  # of an address or header that cannot be sent; it shows no value
        return Finding(usable=False, reason=str(error))
    return Finding(usable=True)


async def _probed(lane: BatchProvider, account: Account) -> None:
    if isinstance(lane, Probes):
        await lane.probe(account)
    else:
        await lane.fence(account)


def _told(error: ProviderError, key: VirtualKey) -> Finding:
    said = error if isinstance(error, Refused) else error.said
    status = error.status if isinstance(error, (Refused, TryLater)) else None
    words = f" The provider says: {said.message}" if said is not None and said.message != said.code else ""
    if isinstance(error, NoToken):  # whoever proves the account was asked, and not yet its provider
        return Finding(usable=False, reason=str(error))
    if status == ASKED_TO_WAIT:
        return Finding(usable=True)  # it knows the account
    if status in {401, 403} or (said is not None and _is_about_key(said, key)):
        return Finding(usable=False, reason=f"{_host(key)} refuses the key (HTTP {status}).{words}")
    if status in {404, 405, 410} or (status is None and not error.unreachable):
        return Finding(usable=False, reason=f"{_host(key)} has no batch API at this path{_path(key)}.{words}")
    if error.unreachable:
        return Finding(usable=False, reason=f"{_host(key)} cannot be reached: {error}")
    return Finding(usable=False, reason=f"{_host(key)} answers with HTTP {status}.{words}")


def _is_about_key(said: Refused, key: VirtualKey) -> bool:
    """Tell whether a refusal with another status is about the key, by the words that the lane knows of."""
    known = catalog.load(key.provider).capabilities.wrong_key
    return any(word == said.code or word in said.message for word in known)


def _path(key: VirtualKey) -> str:
    """Say what a host of the operator's lacks, compared with the provider's own."""
    host, usual = key.credentials.custom_host, catalog.load(key.provider).capabilities.default_host
    wanted, given = urlsplit(usual).path.rstrip("/"), urlsplit(host or "").path.rstrip("/")
    if host is None or given == wanted or (not usual and given.endswith(_MOST_COPIES)):
        return ""
    own = (
        f"the provider's own addresses end with {wanted or '/'!r}" if usual else f"most servers' with {_MOST_COPIES!r}"
    )
    return f": custom_host has the path {given or '/'!r}, and {own}"


def _host(key: VirtualKey) -> str:
    return catalog.load(key.provider).capabilities.host(key.credentials)
