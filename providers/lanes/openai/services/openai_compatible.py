"""Whatever speaks OpenAI's Files and Batches API at a base URL of its own: one's own gateway, a young service.

Source: reference page of compatible services, 2026-11-29 ("Self-hosted").
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.lanes.openai.service import SETTINGS, WORDS, CopyCredentials


class CompatibleCredentials(CopyCredentials):
    """A key, any text where the server asks for none, the base URL, version path included, and the key's header."""

    custom_host: str
    """The server's base URL, version path included. Example: https://llm.example/v1"""
    key_header: Annotated[str, Field(pattern=r"(?i)^(authorization|api-?key|x-[a-z0-9-]{0,40}(key|token))$")] | None = (
        None
    )
    """The header that holds the key; none: `Authorization`, as a bearer token. Example: api-key"""


OPENAI_COMPATIBLE = OpenAICompatible(
    Service(
        provider="openai-compatible",
        title="OpenAI-compatible server",
        default_host="",  # an account names it
        endpoints=frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"}),
        credentials=CompatibleCredentials,
        settings={**SETTINGS, "key_header": "key_header"},
        words=WORDS,
        loose_rows=True,
        shows_label=False,  # of such a server nothing is known
        caveats=(
            "Its limits are max_lines_per_job and max_bytes_per_job of the account; a job has one model.",
            "'completion_window', 'file_purpose', 'job_metadata' and 'key_header' of the account say what it wants.",
            "vLLM, SGLang, Ollama, TGI and llama.cpp serve no batches; llm-d's batch gateway does.",
            "It must list its jobs with their input_file_id, or a lost create is never found.",
        ),
    )
)
