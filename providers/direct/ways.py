"""How ordinary calls are made at providers that have a lane of batches: one record each, what is left out is as there.

A provider that speaks OpenAI's API is called by our own client, the others through litellm, under whose names they are
told what our credentials hold. Sources, read on 2026-11-30: of each path the provider's API reference; of litellm's
names 1.110.2, `main.py` and `llms/*`, where each `api_base` is read; "Using Cohere models via the OpenAI SDK"
(docs.cohere.com); "OpenAI compatibility" of Fireworks (docs.fireworks.ai), Mistral's and Together's API references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy_plugin.providers.api_base import AS_IT_IS, ApiBase

CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
EMBEDDINGS, MODERATIONS, RERANK = "/v1/embeddings", "/v1/moderations", "/v1/rerank"
IMAGES = "/v1/images/generations"
TALKS = frozenset({CHAT, RESPONSES, COMPLETIONS})
NOT_CALLS = frozenset({"/v1/images/edits", "/v1/videos"})  # a form, and a job: no single call with a JSON body
AWS = {
    "aws_access_key_id": "aws_access_key_id",
    "aws_secret_access_key": "aws_secret_access_key",
    "aws_session_token": "aws_session_token",
    "aws_region": "aws_region_name",
    "aws_role_arn": "aws_role_name",
    "aws_role_session_name": "aws_session_name",
    "aws_external_id": "aws_external_id",
    "aws_web_identity_token_file": "aws_web_identity_token",
    "aws_sts_endpoint_url": "aws_sts_endpoint",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How calls are made where they are not as `OWN_CLIENT` says.

    `own_lines`: the lane's own translation makes bodies that its API takes, and reads its answers. `refused`:
    credentials with which there is no such call, and what to do.
    """

    endpoints: frozenset[str] | None = None  # None: the lane's
    base: ApiBase = AS_IT_IS  # how the base URL of the lane becomes that of calls
    urls: Mapping[str, str] = field(default_factory=dict)  # below it, where they are not OpenAI's without /v1
    own_lines: bool = False
    litellm: str = ""  # the provider's name there; empty: our own client
    names: Mapping[str, str] = field(default_factory=dict)  # our credential -> litellm's parameter
    hosts: Mapping[str, tuple[str, ApiBase]] = field(default_factory=dict)  # those that are a base URL, and its form
    headers: Mapping[str, str] = field(default_factory=dict)  # further ones -> credential
    refused: Mapping[str, str] = field(default_factory=dict)


OWN_CLIENT = Way()
KEY, BASE = {"api_key": "api_key"}, "api_base"
WAYS: Mapping[str, Way] = {
    "anthropic": Way(
        endpoints=TALKS,
        litellm="anthropic",
        names=KEY,
        hosts={"custom_host": (BASE, ApiBase(cut=("/messages", "/v1"), added="/v1/messages"))},
        headers={"anthropic-version": "anthropic_version", "anthropic-beta": "anthropic_beta"},
    ),
    "azure-openai": Way(base=ApiBase(ahead_of="/openai", added="/openai/v1")),  # v1 serves every resource
    "bedrock": Way(
        endpoints=TALKS | {EMBEDDINGS},
        litellm="bedrock",
        names=AWS | KEY,
        hosts={"bedrock_runtime_endpoint_url": ("aws_bedrock_runtime_endpoint", ApiBase(cut=("/openai/v1",)))},
    ),
    "cohere": Way(
        endpoints=frozenset({CHAT, EMBEDDINGS, RERANK}),
        urls={
            CHAT: "/compatibility/v1/chat/completions",
            EMBEDDINGS: "/compatibility/v1/embeddings",
            RERANK: "/v2/rerank",
        },
    ),
    "fireworks-ai": Way(
        endpoints=frozenset({CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES}),
        base=ApiBase(cut=("/inference/v1",), added="/inference/v1"),
    ),
    "google": Way(endpoints=TALKS | {EMBEDDINGS}, litellm="gemini", names=KEY, hosts={"custom_host": (BASE, AS_IT_IS)}),
    "groq": Way(endpoints=frozenset({CHAT, RESPONSES})),
    "mistral-ai": Way(own_lines=True),
    "perplexity-ai": Way(
        endpoints=frozenset({CHAT, RESPONSES}),
        base=ApiBase(cut=("/v1",)),
        urls={CHAT: "/chat/completions", RESPONSES: "/v1/responses"},
    ),
    "together-ai": Way(endpoints=frozenset({CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, RERANK})),
    "vertex-ai": Way(
        endpoints=TALKS | {EMBEDDINGS},
        litellm="vertex_ai",
        names={
            "vertex_project_id": "vertex_project",
            "vertex_region": "vertex_location",
            "vertex_service_account_json": "vertex_credentials",
        },
        hosts={"custom_host": (BASE, AS_IT_IS), "vertex_endpoint_url": (BASE, AS_IT_IS)},
        refused={"api_key": "an access token is of no use to litellm; give vertex_service_account_json"},
    ),
    "voyage": Way(
        endpoints=frozenset({EMBEDDINGS, RERANK}),
        litellm="voyage",
        names=KEY,
        hosts={"custom_host": (BASE, AS_IT_IS)},
    ),
    "watsonx": Way(
        endpoints=frozenset({CHAT, COMPLETIONS, EMBEDDINGS, RERANK}),
        litellm="watsonx",
        names=KEY | {"watsonx_project_id": "project_id", "watsonx_space_id": "space_id"},
        hosts={"custom_host": (BASE, ApiBase(cut=("/ml/v1",)))},
    ),
    "x-ai": Way(endpoints=frozenset({CHAT, RESPONSES, IMAGES})),
}
NONE: Mapping[str, str] = {  # lanes without such a way -> why; so are those of other packages that copy no API
    "claude-platform-aws": "Calls of Claude Platform on AWS are signed as neither our client nor litellm does it.",
    "claude-platform-google": "litellm has no calls of Claude on Google Cloud; vertex-ai has Claude's models.",
}
WITHOUT_BATCHES: Mapping[str, str] = {  # litellm's, that have batches which cannot be served -> why; of 2026-11-29
    "openrouter": (
        "OpenRouter's batches are not used: they carry no mark of ours and cannot be cancelled, so a create whose "
        "reply is lost can neither be told from another job of its size before it is paid for, nor be stopped."
    ),
}
