"""The vendors that copy OpenAI's API, each as OpenAI's stand-in with what their pages tell of them.

Sources: reference pages of compatible services, of Groq and of new lanes, with their updates of 2026-11-29.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_plugin.providers.sandbox.openai.differences import CAPITALS
from proxy_plugin.providers.sandbox.openai.stand_in import STAND_IN
from proxy_plugin.providers.sandbox.stand_ins import StandIn, bearer, key_and_host

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
PROJECT = "9a1c2c3e-5b0f-4d57-8f77-2f3b1c0d9e55"


def itself(*endpoints: str) -> dict[str, str]:
    """The endpoints of a vendor whose paths are OpenAI's."""
    return {path: path for path in endpoints}


def copy(provider: str, models: tuple[str, str], differs: Mapping[str, Any], **facts: Any) -> StandIn:
    """The record of one vendor. `limits` are options beyond the differences."""
    limits = facts.pop("limits", {})
    return STAND_IN.under(provider, models=models, traits={**limits, "differs": differs}, **facts)


def _in_project(url: str, key: str) -> dict[str, Any]:
    return {**key_and_host(url, key), "watsonx_project_id": PROJECT}


def _of_project(key: str) -> dict[str, str]:
    return {**bearer(key), "X-IBM-Project-ID": PROJECT}


NOT_BY_ID = tuple(each for each in STAND_IN.free if each not in {"files.retrieve", "files.content"})

_ZHIPU = {
    "base": "api/paas/v4",
    "endpoints": {"/v4/chat/completions": CHAT, "/v4/embeddings": EMBEDDINGS},
    "window_needed": False,  # the docs have none, the SDK wants one
    "members": {"auto_delete_input_file": True},
    "metadata": "taken",
    "counts": "beside",
    "needs_purpose": True,
    "file_orders": ["created_at"],
    "most_files": 100,
    "files_by_id": False,
}

COPIES = (
    copy(
        "groq",
        ("llama-3.1-8b-instant", "llama-3.3-70b-versatile"),
        {
            "base": "openai/v1",
            "endpoints": itself(CHAT),
            "windows": (24, 7 * 24),
            "expiries": False,
            "file_params": [],
            "cursors": True,
            "many_models": True,
            "bad_lines_alone": True,
            "problems": "list",
        },
    ),
    copy(
        "dashscope",
        ("qwen-plus", "qwen-flash"),
        {
            "base": "compatible-mode/v1",
            "endpoints": itself(CHAT, EMBEDDINGS),
            "windows": (24, 336),
            "metadata_keys": ["ds_name", "ds_description", "ds_batch_finish_callback"],
        },
        limits={"max_batch_bytes": 500 * 10**6},
    ),
    copy("zhipu", ("glm-4.7", "glm-4.7-flash"), _ZHIPU, free=("files.content", *NOT_BY_ID)),
    copy("z-ai", ("glm-4.7", "glm-5"), _ZHIPU, free=("files.content", *NOT_BY_ID)),
    copy("moonshot", ("kimi-k2.6", "kimi-k2.5"), {"endpoints": itself(CHAT), "windows": (12, 7 * 24)}),
    copy(
        "siliconflow",
        ("deepseek-ai/DeepSeek-V3", "Qwen/QwQ-32B"),
        {
            "endpoints": itself(CHAT),
            "windows": (24, 336),
            "members": {"replace": None},
            "metadata": "taken",
            "words": {"validating": "in_queue"},
            "counts": "late",
            "wrapped_files": True,
            "file_params": ["purpose", "limit"],
            "needs_purpose": True,
            "files_by_id": False,
            "result_urls": True,
            "problems": "list",
        },
        limits={"max_lines": 5_000},
        results="files.signed",
        free=("files.signed", *NOT_BY_ID),
    ),
    copy(
        "nebius",
        ("Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-V3"),
        {"endpoints": itself(CHAT, EMBEDDINGS), "members": {"override_settings": None}, "metadata": "taken"},
        limits={"max_lines": 5_000_000},
    ),
    copy(
        "novita-ai",
        ("deepseek/deepseek-v3.2", "zai-org/glm-4.7"),
        {
            "base": "openai/v1",
            "endpoints": itself(CHAT, COMPLETIONS),
            "windows": (24, 48),
            "metadata": "taken",
            "words": {**CAPITALS, "in_progress": "PROGRESS"},
            "times": "text",
            "counts": "beside",
            "problems": "text",
            "bare_lines": True,
            "file_params": [],
            "files_by_id": False,
        },
        free=("files.content", *NOT_BY_ID),
    ),
    copy(
        "deepinfra",
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-72B-Instruct"),
        {
            "endpoints": itself(CHAT, COMPLETIONS, EMBEDDINGS),
            "metadata": "taken",
            "counts": "late",
            "first_line": 0,
            "errors": "detail",
            "streams_fail": True,
            "error_rows": "error",
            "always_error_file": True,
            "needs_file": True,
        },
    ),
    copy(
        "parasail",
        ("parasail-llama-33-70b-fp8", "parasail-qwen3-32b"),
        {
            "endpoints": itself(CHAT, EMBEDDINGS),
            "metadata": "taken",
            "expires": False,
            "signed_content": True,
            "deletes_anything": True,
            "cancel_keeps": False,
            "plain_401": True,
        },
        results="files.signed",
        free=(*STAND_IN.free, "files.signed"),
        partial=False,
    ),
    copy("doubleword", ("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-235B-A22B"), {"windows": (1, 24), "metadata": "taken"}),
    copy(
        "perplexity-ai",
        ("perplexity/sonar", "openai/gpt-5-mini"),
        {
            "endpoints": itself("/v1/responses"),
            "window_needed": False,
            "expiries": False,
            "idempotency": True,
            "checks_uploads": True,
        },
        endpoint="/v1/responses",
    ),
    copy(
        "watsonx",
        ("ibm/granite-3-8b-instruct", "meta-llama/llama-3-3-70b-instruct"),
        {
            "base": "ml/v1",
            "endpoints": itself(CHAT),
            "windows": (1, 24),
            "query": {"version": r"\d{4}-\d{2}-\d{2}"},
            "one_header_of": ["X-IBM-Project-ID", "X-IBM-Space-ID"],
            "times": "milliseconds",
            "metadata": "taken",
        },
        settings=_in_project,
        headers=_of_project,
    ),
    copy(
        "qianfan",
        ("ernie-4.5-turbo-128k", "ernie-x1-turbo-32k"),
        {
            "base": "v2",
            "endpoints": {
                "/v2/chat/completions": CHAT,
                "/v2/images/generations": "/v1/images/generations",
                "/v2/images/edits": "/v1/images/edits",
            },
            "metadata": "taken",
        },
    ),
    copy(  # what asks most of a client that knows nothing of it: nothing is shown but ids, states and counts
        "openai-compatible",
        ("some-model", "another-model"),
        {
            "metadata": "refused",
            "times": "milliseconds",
            "words": {
                "validating": "QUEUED",
                "in_progress": "RUNNING",
                "completed": "SUCCESS",
                "expired": "EXPIRED",
            },
            "counts": "late",
            "errors": "detail",
        },
        settings=lambda url, key: {**key_and_host(url, key), "job_metadata": False},
    ),
)
