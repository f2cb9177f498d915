"""LiteLLM's paths with a provider in front, `/azure/v1/batches`: ours where the caller is, and about that provider.

`openai` there says nothing: clients of OpenAI's put it before every path, whatever the models are.
"""

from __future__ import annotations

import re
from dataclasses import replace

from proxy_plugin.access.callers import Caller
from proxy_plugin.access.headers import VIRTUAL_KEY, RequestHeaders
from proxy_plugin.access.litellm_words import account, accounts
from proxy_plugin.config import Config
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
    slugs = accounts(provider, config, caller)
    if len(slugs) == 1 or needed:
        return replace(asked, slug=account(named, config, caller, where="the path", param=VIRTUAL_KEY))
    return asked
