"""Parasail. Source: reference page of compatible services, 2026-11-29
(captures of third parties, August and September 2026)."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service

PARASAIL = OpenAICompatible(
    Service(
        provider="parasail",
        title="Parasail",
        default_host="https://api.parasail.io/v1",
        endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings"}),
        max_lines=50_000,
        max_bytes=1000 * 10**6,
        signed_content=True,
        shows_label=False,  # UNVERIFIED
        discount=0.5,
        caveats=(
            "A cancelled job names no files: answers made until then are paid for and cannot be read.",
            "An answer has at most 8,192 tokens, 16,384 on request.",
        ),
    )
)
