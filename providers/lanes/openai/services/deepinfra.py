"""DeepInfra. Source: reference page of compatible services, 2026-11-29
(captures of third parties, August and September 2026; launch post of 2026-06-19)."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service

DEEPINFRA = OpenAICompatible(
    Service(
        provider="deepinfra",
        title="DeepInfra",
        default_host="https://api.deepinfra.com/v1",
        endpoints=frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}),
        max_lines=50_000,
        max_bytes=200 * 10**6,
        max_inputs=50_000,
        first_line=0,
        stripped=frozenset({"stream", "stream_options"}),  # each is a 500 of its line
        shows_label=False,  # UNVERIFIED
        discount=0.2,
        caveats=(
            "A cancel is best effort: a job may run to its end all the same.",
            "An account has at most 100 unfinished batches and 2 GB of files.",
        ),
    )
)
