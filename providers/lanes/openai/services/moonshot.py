"""Moonshot AI (Kimi). Source: reference page of compatible services, 2026-11-29."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service

MOONSHOT = OpenAICompatible(
    Service(
        provider="moonshot",
        title="Moonshot AI",
        default_host="https://api.moonshot.ai/v1",
        endpoints=frozenset({"/v1/chat/completions"}),
        max_bytes=100 * 10**6,
        caveats=(
            "Keys of the platform in China need the custom_host https://api.moonshot.cn/v1.",
            "An organisation may keep 1,000 batch files.",
            "'completion_window' of the account may say 12h to 7d.",
            "kimi-k2.5 and kimi-k2.6 refuse other values of temperature and top_p than their own.",
        ),
    )
)
