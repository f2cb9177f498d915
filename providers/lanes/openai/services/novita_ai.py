"""Novita AI. Source: reference page of compatible services, 2026-11-29
(novita.ai, "Create batch")."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.listing import Listing, moment

NOVITA_AI = OpenAICompatible(
    Service(
        provider="novita-ai",
        title="Novita AI",
        default_host="https://api.novita.ai/openai/v1",
        endpoints=frozenset({"/v1/chat/completions", "/v1/completions"}),
        words={"progress": "in_progress"},  # in capitals there, as all of them
        bare_lines=True,  # the lines of the docs have neither url nor method
        # its reference lists, deletes and reads files, without parameters, and has none by its id
        files=Listing("files", None, "after", moment),
        files_by_id=False,
        shows_label=False,  # UNVERIFIED
        results_kept_seconds=15 * 86400,  # an older page; a newer one may say 30
        caveats=("Files are kept for 15 days; a newer page may say 30.",),
    )
)
