"""LiteLLM's paths with a provider in front, `/azure/v1/batches`: ours where the caller is, and about that provider.

`openai` there says nothing: clients of OpenAI's put it before every path, whatever the models are.
"""

from __future__ import annotations

import re
from dataclasses import replace

from proxy_plugin.access.callers import Caller
from proxy_plugin.access.headers import VIRTUAL_KEY, RequestHeaders
from proxy_plugin.config import Config
from proxy_plugin.config.model_list import FILES
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.providers import catalog

PROVIDER = "provider"
ROOT = f"/{{{PROVIDER}}}/v1"
_NEUTRAL = "openai"


def pattern() -> str:
    """Return the root as aiohttp's template, which takes names of providers alone."""
    known = sorted({_NEUTRAL, *catalog.names(), *catalog.ALIASES})
    return f"/{{{PROVIDER}:{'|'.join(map(re.escape, known))}}}/v1"


def placed(asked: RequestHeaders, named: str | None, config: Config, caller: Caller, *, needed: bool) -> RequestHeaders:
    """Return what a request asks for, with the caller's one account at the provider that its path names.

    Raises BadRequest where headers name an account elsewhere, and if one is `needed` and there is none, or no single
    one.
    """
    if named is None or named == _NEUTRAL:
        return asked
    provider = catalog.canonical(named)
    if needed and asked.slug is not None:
        key = config.virtual_keys.get(asked.slug)
        if key is not None and key.provider != provider:
            raise BadRequest(
                f"The path names the provider {named}, and the virtual key {asked.slug} is one of {key.provider}'s.",
                param=VIRTUAL_KEY,
            )
    if not asked.names_nothing:
        return asked
    slugs = _accounts(provider, config, caller)
    if len(slugs) == 1:
        return replace(asked, slug=slugs[0])
    if needed:
        raise BadRequest(_which(named, slugs), param=VIRTUAL_KEY)
    return asked


def _accounts(provider: str, config: Config, caller: Caller) -> list[str]:
    """Return the accounts that may be meant: that of `files_settings`, or those that no model of the list has made."""
    made = {each.slug for each in config.models}
    found = [
        slug
        for slug, key in config.virtual_keys.items()
        if key.provider == provider and not key.retired and caller.allows(slug)
    ]
    own = FILES + provider
    return [own] if own in found else [slug for slug in found if slug not in made] or found


def _which(named: str, slugs: list[str]) -> str:
    if not slugs:
        return f"This API key has no account at {named}, which the path names."
    return f"This API key has several accounts at {named}: send '{VIRTUAL_KEY}: slug' with one of {', '.join(slugs)}."
