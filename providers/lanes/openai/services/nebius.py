"""Nebius Token Factory. Source: reference page of compatible services, 2026-11-29."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service

NEBIUS = OpenAICompatible(
    Service(
        provider="nebius",
        title="Nebius Token Factory",
        default_host="https://api.tokenfactory.nebius.com/v1",
        endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings"}),
        max_lines=5_000_000,
        max_bytes=10 * 10**9,
        shows_label=False,  # UNVERIFIED: "same otherwise"
        discount=0.5,  # "of base flavor"
        caveats=("An account has at most 500 batches.",),
    )
)
