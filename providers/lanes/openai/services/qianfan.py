"""Baidu Qianfan. Source: reference page of new lanes, 5, 2026-11-29 (cloud.baidu.com/doc/qianfan)."""

from __future__ import annotations

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.lanes.openai.service import WORDS

ENDPOINTS = ("/v1/chat/completions", "/v1/images/generations", "/v1/images/edits")
QIANFAN = OpenAICompatible(
    Service(
        provider="qianfan",
        title="Baidu Qianfan",
        default_host="https://qianfan.baidubce.com/v2",  # UNVERIFIED
        endpoints=frozenset(ENDPOINTS),
        urls={path: path.replace("/v1/", "/v2/") for path in ENDPOINTS},  # lines and creates name /v2/ paths
        words=WORDS,
        loose_rows=True,
        shows_label=False,  # UNVERIFIED
        discount=0.6,  # "40 % of real time"
        caveats=(
            "BOS, Baidu's object storage, must be switched on for the account.",
            "UNVERIFIED: the base URL, limits and states; max_lines_per_job and max_bytes_per_job set limits.",
        ),
    )
)
