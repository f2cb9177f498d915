"""Groq. Sources: GroqCloud "Batch" docs (mirror, 2026), groq 1.7.0; reference page of 2026-11-29."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.listing import Listing, moment

GROQ = OpenAICompatible(
    Service(
        provider="groq",
        title="Groq",
        default_host="https://api.groq.com/openai/v1",
        endpoints=frozenset({"/v1/chat/completions"}),  # audio goes by url in batches there, and is no endpoint here
        model_patterns=("groq/compound*",),  # called so by itself
        max_lines=50_000,  # guide: "50,000 lines or less"
        max_bytes=200 * 10**6,  # guide: "200MB"; texts of the SDK still say 100 MB
        one_model_per_job=False,  # guide, "Mixed Batch"
        one_answer=True,  # SDK, `n`: "only n=1 is supported. Other values will result in a 400 response"
        batches=Listing("batches", None, "cursor", moment, paging=("paging", "next_cursor")),  # SDK, `batches.list`
        files=Listing("files", None, "after", moment),  # SDK: the list of files takes no parameters
        results_kept_seconds=30 * 86400,
        discount=0.5,
        caveats=(
            "A line that Groq finds invalid does not fail its job; it may be in no result file.",
            "The window is 24h; 'completion_window' of the account may say up to 7d, so that fewer lines expire.",
            "One page of Groq's still names 100 MB a file: 'max_bytes_per_job' sets it.",
            "Results may be deleted 30 days after the job ended.",
        ),
    )
)
