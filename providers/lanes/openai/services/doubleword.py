"""Doubleword. Source: reference page of compatible services, 2026-11-29 (a skill page alone)."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.lanes.openai.service import WORDS

DOUBLEWORD = OpenAICompatible(
    Service(
        provider="doubleword",
        title="Doubleword",
        default_host="https://api.doubleword.ai/v1",
        endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings"}),
        words=WORDS,
        loose_rows=True,
        shows_label=False,  # UNVERIFIED: "full compatibility"
        caveats=(
            "UNVERIFIED: limits, endpoints and prices; max_lines_per_job and max_bytes_per_job set limits.",
            "'completion_window: 1h' of the account asks for the quicker service, at another price.",
        ),
    )
)
