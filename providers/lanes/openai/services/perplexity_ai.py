"""Perplexity's Agent API. Sources: reference page of compatible services, 2026-11-29
(docs.perplexity.ai "Batch", perplexityai 0.46.1)."""

from __future__ import annotations

from proxy_plugin.providers.api_base import ApiBase
from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service

PERPLEXITY_AI = OpenAICompatible(
    Service(
        provider="perplexity-ai",
        title="Perplexity",
        default_host="https://api.perplexity.ai/v1",
        # litellm 1.106.2 adds /v1/responses (`llms/perplexity/responses/transformation.py`)
        api_base=ApiBase(cut=("/chat/completions", "/responses", "/v1"), added="/v1"),
        endpoints=frozenset({"/v1/responses"}),
        model_patterns=("perplexity/*",),  # so are its own models called there, beside those of others
        max_lines=50_000,
        max_bytes=200 * 10**6,
        idempotency="Idempotency-Key",  # "a repeat returns the original batch"
        shows_label=False,  # UNVERIFIED
        results_kept_seconds=30 * 86400,
        caveats=(
            "Only lines of /v1/responses: Perplexity's batches run its Agent API.",
            "Organisations with zero retention are refused.",
            "Results are deleted 30 days after the job ended.",
        ),
    )
)
