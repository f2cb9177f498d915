"""SiliconFlow. Source: reference page of compatible services, 2026-11-29."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.listing import Listing, moment

SILICONFLOW = OpenAICompatible(
    Service(
        provider="siliconflow",
        title="SiliconFlow",
        default_host="https://api.siliconflow.cn/v1",
        endpoints=frozenset({"/v1/chat/completions"}),
        max_lines=5_000,
        max_bytes=10**9,
        # docs.siliconflow.cn, "Get file list": purpose and limit alone; no page has a file by its id
        files=Listing("files", 1000, "after", moment, {"purpose": "batch"}),
        files_by_id=False,
        words={"in_queue": "validating"},
        shows_label=False,  # UNVERIFIED
        results_kept_seconds=30 * 86400,
        discount=0.5,
        caveats=(
            "Keys of the international service need the custom_host https://api.siliconflow.com/v1 (UNVERIFIED).",
            "Conversations have the roles system, user and assistant, and end with a user's turn.",
            "'completion_window' of the account may say 24h to 336h.",
        ),
    )
)
