"""What is wrong, or idle, in what a configuration says of its callers: keys of ours, and LiteLLM's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from proxy_plugin.config.sections import LITELLM, ApiKey, Auth, KeyOfLiteLLM, LiteLLMKeys, Server
from proxy_plugin.routing import portkey_config
from proxy_plugin.routing.config_text import Invalid
from proxy_plugin.routing.config_tree import NamedAccount, OwnAccount, Slug

Named = list[tuple[str, ApiKey | KeyOfLiteLLM]]  # (what a message calls the entry, the entry)

# SHA-256 of keys of LiteLLM's manual (1.110.2, `proxy/auth/master_key_boot_check.py`).
_PUBLISHED = frozenset({"88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"})


def named(section: str, api_keys: Iterable[ApiKey], litellm: LiteLLMKeys) -> Named:
    """Return all entries that say what callers may do, with what messages call them."""
    ours: Named = [(f"{section}.api_keys: {key.name}", key) for key in api_keys]
    return ours + [(f"{section}.litellm_keys.{path}", entry) for path, entry in litellm.entries()]


def twins(path: str, api_keys: tuple[ApiKey, ...]) -> Iterator[str]:
    """Yield a problem for each field of which two keys of ours have the same."""
    for what, values in (("name", [key.name for key in api_keys]), ("key", [key.digest() for key in api_keys])):
        if len(set(values)) < len(values):
            yield f"{path}: two entries have the same {what}"


def published(section: str, api_keys: Iterable[ApiKey], master: str) -> Iterator[str]:
    """Yield a warning for each key that everybody knows."""
    for key in api_keys:
        if key.digest().hex() in _PUBLISHED:
            where = master if key.name == master else f"{section}.api_keys: {key.name}"
            yield f"{where}: everybody knows this key, so LiteLLM does not start with it; use sk- and 32 random letters"


def no_section(section: str, models: object) -> str:
    """Return the warning for a file that has no section of ours; LiteLLM's models are accounts without one."""
    what = "its defaults hold" if models else "no virtual key is configured"
    return f"{section}: there is no such section, so {what}"


def idle(entries: Named, slugs: Iterable[str]) -> Iterator[str]:
    """Yield a warning for each pattern of virtual keys that matches none."""
    for where, entry in entries:
        for pattern in entry.virtual_keys:
            if pattern != "*" and not _matches(pattern, slugs):
                yield f"{where}: {pattern} matches no virtual key"


def wrong_defaults(entries: Named, slugs: set[str], configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a problem for each default that names nothing, or what its caller may not use or bring."""
    for entry_at, entry in entries:
        where = f"{entry_at}: default"
        if entry.default is None:
            continue
        if entry.default not in slugs and entry.default not in configs:
            near = get_close_matches(entry.default, sorted([*slugs, *configs]), 1)
            yield f"{where}: unknown virtual key or config{f'; did you mean {near[0]}?' if near else ''}"
            continue
        accounts = _accounts_of(configs[entry.default]) if entry.default in configs else [Slug(entry.default)]
        for slug in sorted({each.slug for each in accounts if isinstance(each, Slug)}):
            if not any(_matches(pattern, [slug]) for pattern in entry.virtual_keys):
                of = "this API key" if isinstance(entry, ApiKey) else "this entry"
                yield f"{where}: virtual_keys of {of} does not allow {slug}"
        if any(isinstance(each, OwnAccount) for each in accounts):
            yield f"{where}: the config brings a key; make a virtual key of it"


def unasked(section: str, auth: Auth, server: Server, api_keys: tuple[ApiKey, ...], *, inside: bool) -> Iterator[str]:
    """Yield a warning for each setting that means nothing without an upstream; `inside` LiteLLM that says who calls."""
    if server.upstream is not None:
        return
    if auth == LITELLM and not inside:
        alone = "only keys that stand in this file are known" if api_keys else "nobody is known"
        yield f"{section}.auth: LiteLLM's keys are asked of server.upstream, which is not set, so {alone}"
    for key in api_keys:
        if key.upstream_key is not None:
            yield f"{section}.api_keys: {key.name}: upstream_key means nothing without server.upstream"


def _accounts_of(raw: Mapping[str, Any]) -> list[NamedAccount | None]:
    """Return the accounts that lines of a saved config can come to; none for one that has problems of its own."""
    try:
        return [each.settings.account for each in portkey_config.read(raw).targets()]
    except Invalid:
        return []


def _matches(pattern: str, slugs: Iterable[str]) -> bool:
    return any(fnmatchcase(slug, pattern) for slug in slugs)
