"""Alibaba DashScope (Model Studio). Source: reference page of compatible services, 2026-11-29 (help.aliyun.com)."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service

DASHSCOPE = OpenAICompatible(
    Service(
        provider="dashscope",
        title="Alibaba DashScope",
        default_host="https://dashscope.aliyuncs.com/compatible-mode/v1",
        endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings"}),
        max_lines=50_000,
        max_bytes=500 * 10**6,
        max_line_bytes=6 * 10**6,
        label="ds_name",  # of the documented keys of metadata the one that is shown and searched, up to 100 characters
        patience=60.0,  # "poll >= 1 min"
        discount=0.5,
        caveats=(
            "Keys are per region; Singapore's custom_host is https://dashscope-intl.aliyuncs.com/compatible-mode/v1.",
            "A line may hold 6 MB and 256 K tokens of context.",
            "'completion_window' of the account may say 24h to 336h.",
            "Many models think unless 'enable_thinking' of the body says false.",
            "Jobs are listed for 30 days.",
        ),
    )
)
