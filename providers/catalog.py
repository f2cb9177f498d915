"""Provider names to adapters, imported only when first used.

Adapters outside this tree register under the entry point group `proxy_plugin.providers`: name -> `module:OBJECT`.
Providers that only litellm knows are data (`direct/litellm.json`): `load` gives a lane of ordinary calls for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, cast

from proxy_plugin.providers.base import BatchProvider

if TYPE_CHECKING:
    from proxy_plugin.providers.direct.lane import Direct

GROUP = "proxy_plugin.providers"
ONLY = "PROXY_PLUGIN_ONLY_PROVIDERS"  # comma list: every other provider is as if it did not exist
BUILT_IN = {
    "anthropic": "proxy_plugin.providers.lanes.anthropic.lane:ANTHROPIC",
    "cohere": "proxy_plugin.providers.lanes.cohere.lane:COHERE",
    "azure-openai": "proxy_plugin.providers.lanes.openai.services.azure_openai:AZURE_OPENAI",
    "bedrock": "proxy_plugin.providers.lanes.bedrock.lane:BEDROCK",
    "claude-platform-aws": "proxy_plugin.providers.lanes.anthropic.services.claude_platform_aws:CLAUDE_PLATFORM_AWS",
    "claude-platform-google": (
        "proxy_plugin.providers.lanes.anthropic.services.claude_platform_google:CLAUDE_PLATFORM_GOOGLE"
    ),
    "dashscope": "proxy_plugin.providers.lanes.openai.services.dashscope:DASHSCOPE",
    "deepinfra": "proxy_plugin.providers.lanes.openai.services.deepinfra:DEEPINFRA",
    "doubleword": "proxy_plugin.providers.lanes.openai.services.doubleword:DOUBLEWORD",
    "fireworks-ai": "proxy_plugin.providers.lanes.fireworks_ai.lane:FIREWORKS",
    "google": "proxy_plugin.providers.lanes.google.lane:GOOGLE",
    "groq": "proxy_plugin.providers.lanes.openai.services.groq:GROQ",
    "mistral-ai": "proxy_plugin.providers.lanes.mistral_ai.lane:MISTRAL",
    "moonshot": "proxy_plugin.providers.lanes.openai.services.moonshot:MOONSHOT",
    "nebius": "proxy_plugin.providers.lanes.openai.services.nebius:NEBIUS",
    "novita-ai": "proxy_plugin.providers.lanes.openai.services.novita_ai:NOVITA_AI",
    "openai": "proxy_plugin.providers.lanes.openai.services.openai:OPENAI",
    "openai-compatible": "proxy_plugin.providers.lanes.openai.services.openai_compatible:OPENAI_COMPATIBLE",
    "parasail": "proxy_plugin.providers.lanes.openai.services.parasail:PARASAIL",
    "perplexity-ai": "proxy_plugin.providers.lanes.openai.services.perplexity_ai:PERPLEXITY_AI",
    "qianfan": "proxy_plugin.providers.lanes.openai.services.qianfan:QIANFAN",
    "siliconflow": "proxy_plugin.providers.lanes.openai.services.siliconflow:SILICONFLOW",
    "together-ai": "proxy_plugin.providers.lanes.together_ai.lane:TOGETHER",
    "vertex-ai": "proxy_plugin.providers.lanes.vertex_ai.lane:VERTEX_AI",
    "voyage": "proxy_plugin.providers.lanes.voyage.lane:VOYAGE",
    "watsonx": "proxy_plugin.providers.lanes.openai.services.watsonx:WATSONX",
    "x-ai": "proxy_plugin.providers.lanes.x_ai.lane:XAI",
    "z-ai": "proxy_plugin.providers.lanes.openai.services.zhipu:Z_AI",
    "zhipu": "proxy_plugin.providers.lanes.openai.services.zhipu:ZHIPU",
}
ALIASES = {  # LiteLLM's names
    "azure": "azure-openai",
    "vertex_ai": "vertex-ai",
    "gemini": "google",
    "mistral": "mistral-ai",
    "together_ai": "together-ai",
    "fireworks_ai": "fireworks-ai",
    "xai": "x-ai",
    "novita": "novita-ai",
    "perplexity": "perplexity-ai",
    "zai": "z-ai",
    "openai_like": "openai-compatible",
    "cohere_chat": "cohere",
    "vllm": "hosted_vllm",  # its `vllm` would run the model inside of this process
}
_SECOND = {  # names that LiteLLM has besides for the same service, litellm 1.110.2, `types/utils.py`, `main.py`
    "text-completion-openai": "openai",
    "custom_openai": "openai",
    "azure_text": "azure-openai",
    "vertex_ai_beta": "vertex-ai",
    "anthropic_text": "anthropic",
}
_IN_BEDROCK = (
    *("ai21", "amazon", "anthropic", "cohere", "deepseek", "google", "meta", "minimax", "mistral", "moonshot"),
    *("moonshotai", "nvidia", "openai", "qwen", "stability", "twelvelabs", "writer", "xai", "zai"),
)
# Whose a model is that LiteLLM's file names without a provider, as globs of the lists that `get_llm_provider` goes by
# (litellm 1.110.2). They come before `model_patterns`, which are no longer the provider's alone there.
PLAIN = {
    "bedrock": (
        *(f"{start}{vendor}.*" for vendor in _IN_BEDROCK for start in ("", "*.")),
        "claude-*-v[1-9]:[0-9]",
    ),
    "vertex-ai": (
        *("gemini-*", "text-embedding-0*", "text-embedding-large-exp-*", "text-embedding-preview-*"),
        *("text-multilingual-embedding-*", "multimodalembedding*", "medlm-*", "text-unicorn*", "deep-research-*"),
    ),
    "cohere": ("command", "command-*", "c4ai-*", "embed-english-*", "embed-multilingual-*", "rerank-*"),
    "openai": (
        *("computer-use-*", "chat-latest", "daybreak-*", "dall-e-*", "sora-*", "tts-*", "whisper-*"),
        *("babbage-*", "davinci-*", "ft:babbage-*", "ft:davinci-*", "ft:o[134]-*"),
    ),
    "ai21_chat": ("j2-*", "jamba-*"),
}


class Environment(NamedTuple):
    """LiteLLM's variables for what an account does not say: credential -> names, of which the first set one counts.

    Of the alternatives in `proofs` the first that is there whole counts, where an account proves itself by nothing.
    """

    proofs: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    others: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def _key(*names: str, base: tuple[str, ...] = (), **others: tuple[str, ...]) -> Environment:
    return Environment(({"api_key": names},), ({"custom_host": base} if base else {}) | others)


_ENTRA = {
    "azure_entra_tenant_id": ("AZURE_TENANT_ID",),
    "azure_entra_client_id": ("AZURE_CLIENT_ID",),
    "azure_entra_client_secret": ("AZURE_CLIENT_SECRET",),
}
# litellm 1.106.2: `main.py`, `litellm_core_utils/get_llm_provider_logic.py`, `llms/*/`, in the order in which it looks.
# What proves accounts of AWS and Google without a key is found by their credentials themselves.
ENVIRONMENT = {
    "anthropic": _key("ANTHROPIC_API_KEY", base=("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL")),
    "azure-openai": Environment(
        (
            {"api_key": ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY")},
            {"azure_ad_token": ("AZURE_AD_TOKEN",)},
            _ENTRA,
        ),
        {"custom_host": ("AZURE_API_BASE",), "azure_api_version": ("AZURE_API_VERSION",)},
    ),
    "bedrock": Environment((), {"aws_region": ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")}),
    "claude-platform-aws": Environment(
        ({"api_key": ("ANTHROPIC_AWS_API_KEY",)},),
        {"anthropic_aws_workspace_id": ("ANTHROPIC_AWS_WORKSPACE_ID", "ANTHROPIC_WORKSPACE_ID")},
    ),
    "cohere": _key("COHERE_API_KEY", "CO_API_KEY", base=("COHERE_API_BASE",)),
    "dashscope": _key("DASHSCOPE_API_KEY", base=("DASHSCOPE_API_BASE",)),
    "deepinfra": _key("DEEPINFRA_API_KEY", base=("DEEPINFRA_API_BASE",)),
    "fireworks-ai": _key(
        *("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
        base=("FIREWORKS_API_BASE",),
        fireworks_account_id=("FIREWORKS_ACCOUNT_ID",),
    ),
    "google": _key("GOOGLE_API_KEY", "GEMINI_API_KEY", base=("GEMINI_API_BASE",)),
    "groq": _key("GROQ_API_KEY", base=("GROQ_API_BASE",)),
    "mistral-ai": _key("MISTRAL_API_KEY", base=("MISTRAL_API_BASE",)),
    "moonshot": _key("MOONSHOT_API_KEY", base=("MOONSHOT_API_BASE",)),
    "nebius": _key("NEBIUS_API_KEY", base=("NEBIUS_API_BASE",)),
    "novita-ai": _key("NOVITA_API_KEY", base=("NOVITA_API_BASE",)),
    "openai": _key(
        "OPENAI_API_KEY",
        base=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        openai_organization=("OPENAI_ORGANIZATION", "OPENAI_ORG_ID"),
        openai_project=("OPENAI_PROJECT_ID",),  # these two, as the client beneath reads them
    ),
    "openai-compatible": _key("OPENAI_LIKE_API_KEY", base=("OPENAI_LIKE_API_BASE",)),
    "parasail": _key("PARASAIL_API_KEY", base=("PARASAIL_API_BASE",)),
    "perplexity-ai": _key("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY", base=("PERPLEXITY_API_BASE",)),
    "together-ai": _key(
        *("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
        base=("TOGETHER_AI_API_BASE",),
    ),
    "vertex-ai": Environment((), {"vertex_service_account_json": ("VERTEXAI_CREDENTIALS",)}),
    "voyage": _key("VOYAGE_API_KEY", "VOYAGE_AI_API_KEY", "VOYAGE_AI_TOKEN"),
    "watsonx": _key(
        *("WATSONX_APIKEY", "WATSONX_API_KEY", "WX_API_KEY"),
        base=("WATSONX_API_BASE", "WATSONX_URL", "WX_URL", "WML_URL"),
        watsonx_project_id=("WATSONX_PROJECT_ID", "WX_PROJECT_ID", "PROJECT_ID"),
    ),
    "x-ai": _key("XAI_API_KEY", base=("XAI_API_BASE",)),
    "z-ai": _key("ZAI_API_KEY", base=("ZAI_API_BASE",)),
}
LITELLMS_OWN = "openai"  # the provider that LiteLLM takes where a request for files or batches names none
COMPATIBLE = "openai-compatible"  # the lane of whoever copies OpenAI's API


class UnknownProvider(LookupError):
    """No adapter is registered under this name."""


@cache
def _registered() -> dict[str, str]:
    found = BUILT_IN | {point.name: point.value for point in entry_points(group=GROUP)}
    only = os.environ.get(ONLY)
    return found if only is None else {name: found[name] for name in only.split(",") if name in found}


def names() -> tuple[str, ...]:
    """Return the names of providers with a lane of batches, aliases left out."""
    return tuple(sorted(_registered()))


@cache
def litellms() -> frozenset[str]:
    """Return the names of providers that only litellm knows: ordinary calls alone."""
    from proxy_plugin.providers.direct.litellm_providers import providers  # noqa: PLC0415

    only = os.environ.get(ONLY)
    shown = providers().keys() if only is None else providers().keys() & {*only.split(",")}
    return frozenset(shown) - _registered().keys()


def canonical(name: str) -> str:
    """Return Portkey's name for a provider given under Portkey's or LiteLLM's."""
    return ALIASES.get(name) or _SECOND.get(name, name)


def aliases(name: str) -> tuple[str, ...]:
    """Return LiteLLM's names for a provider, where they differ from Portkey's."""
    return tuple(alias for alias, own in ALIASES.items() if own == name)


def of_plain(model: str) -> str | None:
    """Return whose a model is to LiteLLM that is named without a provider; None where its lists do not tell."""
    return next((name for name, globs in PLAIN.items() if any(fnmatchcase(model, each) for each in globs)), None)


def environment(name: str) -> Environment:
    """Return LiteLLM's variables for a provider; those that it alone knows have them named alike, as far as they do."""
    if name in ENVIRONMENT or name not in litellms():
        return ENVIRONMENT.get(name, Environment())
    own = name.upper().replace("-", "_")
    return _key(f"{own}_API_KEY", base=(f"{own}_API_BASE",))


def nearest(name: str) -> str | None:
    """Return the provider's name, Portkey's, that an unknown one was probably meant to be."""
    known = (*names(), *litellms())
    meant = {each: canonical(each) for each in (*known, *ALIASES) if canonical(each) in known}
    near = get_close_matches(name.strip().lower(), sorted(meant), 1)
    return meant[near[0]] if near else None


def advice(name: str, host: str = "custom_host") -> str:
    """Return what may be done about an unknown provider: sentences behind another, which lists those there are.

    Whose name was probably meant, and how a copy of OpenAI's API is served. `host` is how the caller spells
    `custom_host`.
    """
    near = nearest(name)
    meant = f" Did you mean '{near}'?" if near else ""
    meant += " Nor has litellm calls of that name." if litellms() else ""
    if COMPATIBLE not in _registered():
        return meant
    return (
        f"{meant} A server that copies OpenAI's Files and Batches is served as '{COMPATIBLE}', with its base URL,"
        f" version path included, in {host}."
    )


@cache
def load(name: str) -> BatchProvider:
    """Return the adapter called `name`; where only litellm knows it, one of ordinary calls (`InputMode.DIRECT`).

    Raises UnknownProvider, which lists the names there are.
    """
    reference = _registered().get(canonical(name))
    if reference is None and canonical(name) in litellms():
        return cast("BatchProvider", direct(name))
    if reference is None:
        raise UnknownProvider(f"unknown provider {name!r}; known: {', '.join(names())}.{advice(name)}")
    module, _, attribute = reference.partition(":")
    return cast("BatchProvider", getattr(import_module(module), attribute))


def lacking(name: str) -> str:
    """Say what must be installed before a provider that only litellm knows can be called; empty where all is there."""
    from proxy_plugin.providers.direct.litellm_providers import MISSING, installed  # noqa: PLC0415

    return MISSING if canonical(name) in litellms() and not installed() else ""


def lacking_for_calls(name: str) -> str:
    """Say why a provider cannot be asked by ordinary calls now; empty where it can."""
    from proxy_plugin.providers.direct.litellm_providers import MISSING, installed  # noqa: PLC0415

    try:
        found = direct(name)
    except UnknownProvider as unknown:
        return str(unknown)
    return MISSING if found.by_litellm and not installed(found.way.module) else ""


def way_of_calls(name: str) -> str | None:
    """Return who makes the ordinary calls of a provider: "litellm", "own" for our client, None where nobody can."""
    try:
        return "litellm" if direct(name).by_litellm else "own"
    except UnknownProvider:
        return None


@cache
def direct(name: str) -> Direct:
    """Return the ordinary calls of the provider called `name`.

    Raises UnknownProvider, which says why where it has a lane of batches and no such calls.
    """
    from proxy_plugin.providers.direct import lane, ways  # noqa: PLC0415 - few need them

    own = canonical(name)
    if own not in _registered() and own in litellms():
        return lane.of_litellm(own)
    found = lane.of_lane(load(own))
    if found is None:
        raise UnknownProvider(ways.NONE.get(own, f"{load(own).capabilities.title} has no ordinary calls here."))
    return found
