"""Which kept answers a batch may be given: those of its workspace and of the same account, not too old."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from proxy_plugin.access.headers import RequestHeaders
from proxy_plugin.answers.keys import KEYS
from proxy_plugin.answers.lookup import Keeping, Looking
from proxy_plugin.answers.shelf import Shelf
from proxy_plugin.config import Config
from proxy_plugin.ground.fingerprints import fingerprint
from proxy_plugin.providers import catalog
from proxy_plugin.routing.route import Route, StoredTarget

FOLDER = "cache"  # in data_dir, unless `cache.dir` names another


def folder(config: Config) -> Path:
    """Return the folder of the kept answers."""
    return config.cache.dir or config.storage.data_dir / FOLDER


def shelf(config: Config) -> Shelf:
    """Return where answers are kept, and how much of them."""
    cache, limits = config.cache, config.limits
    where = str(folder(config).absolute())
    return Shelf(where, cache.max_bytes, cache.max_age, limits.max_line_bytes, limits.disk_reserve_bytes)


def looking(config: Config, secret: bytes, route: Route, workspace: str, now: float) -> Looking | None:
    """Return how the split of a file looks answers up; None where its route asks for none, or none are kept."""
    asked = route.cache
    if not asked or not config.cache.max_bytes:
        return None
    return Looking(
        shelf=shelf(config),
        workspace=workspace,
        accounts=dict(_accounts(config, secret, route)),
        now=now,
        max_age=config.cache.max_age if asked.max_age is None else min(asked.max_age, config.cache.max_age),
        namespace=asked.namespace,
        refresh=asked.refresh,
        native=route.native_answers is True,
    )


def keeping(config: Config, route: Route, assignment: Path, now: float) -> Keeping | None:
    """Return how the answers of a part are kept; the keys of its lines are beside its assignment."""
    if not route.cache or not config.cache.max_bytes:
        return None
    return Keeping(shelf(config), str(assignment.with_name(KEYS)), now)


def _accounts(config: Config, secret: bytes, route: Route) -> Iterator[tuple[str, str]]:
    for target in route.targets:
        text = _account(config, target)
        if text is not None:
            yield target.slug, fingerprint(secret, f"{target.provider}\0{text}")


def _account(config: Config, target: StoredTarget) -> str | None:
    """Return what tells an account from others; None for a virtual key that is gone."""
    if target.byok:
        return target.byok.key
    key = config.virtual_keys.get(target.slug)
    return None if key is None else catalog.load(key.provider).account_key(key.credentials)


def steered(route: Route, asked: RequestHeaders) -> Route:
    """Return the route with what the headers say of kept answers. Without `cache` in its config they say nothing."""
    if not route.cache or not (asked.cache_refresh or asked.cache_namespace):
        return route
    namespace = asked.cache_namespace or route.cache.namespace
    refresh = asked.cache_refresh or route.cache.refresh
    return msgspec.structs.replace(
        route, cache=msgspec.structs.replace(route.cache, namespace=namespace, refresh=refresh)
    )
