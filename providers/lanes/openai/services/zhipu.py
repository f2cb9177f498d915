"""Zhipu BigModel, and Z.ai, its service abroad. Sources: reference page of compatible services, 2026-11-29;
zai-sdk 0.2.3 (`types/batch`)."""

from __future__ import annotations

from dataclasses import replace

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.listing import Listing, moment

ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings")
_FACTS = Service(
    provider="zhipu",
    title="Zhipu BigModel",
    default_host="https://open.bigmodel.cn/api/paas/v4",
    endpoints=frozenset(ENDPOINTS),
    urls={path: path.replace("/v1/", "/v4/") for path in ENDPOINTS},  # lines and creates name /v4/ paths
    max_lines=50_000,
    max_bytes=100 * 10**6,
    max_inputs=10_000,  # "embeddings 10,000"
    # docs.bigmodel.cn, "File list": purpose is needed, at most 100; neither they nor the SDK have a file by its id
    files=Listing("files", 100, "after", moment, {"order": "created_at"}),
    files_by_id=False,
    order={"auto_delete_input_file": False},  # true unless said: our input is what a look-up knows its job by
    shows_label=False,  # UNVERIFIED; the SDK sends metadata, no page shows it in a list
    discount=0.5,
    caveats=(
        "The account must have passed Zhipu's identity check, and each model has a cap on what is queued.",
        "UNVERIFIED: the docs name no completion_window, the SDK wants 24h, which is sent.",
    ),
)
ZHIPU = OpenAICompatible(_FACTS)
Z_AI = OpenAICompatible(
    replace(
        _FACTS,
        provider="z-ai",
        title="Z.ai",
        default_host="https://api.z.ai/api/paas/v4",  # zai-sdk 0.2.3, `ZaiClient`
        caveats=(*_FACTS.caveats, "UNVERIFIED: batches are documented for BigModel; the SDK has them for Z.ai too."),
    )
)
