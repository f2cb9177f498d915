"""OpenAI itself. Sources as in `lanes.openai.lane`."""

from __future__ import annotations

from proxy_plugin.providers.keys import KeyCredentials
from proxy_plugin.providers.lanes.openai.files import PURPOSES
from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service


class OpenAICredentials(KeyCredentials):
    """OpenAI's key, and the organisation and project that it should act for."""

    openai_organization: str | None = None
    """The organisation that the key acts for. Example: org-example"""
    openai_project: str | None = None
    """The project that the key acts for. Example: proj_example"""


OPENAI = OpenAICompatible(
    Service(
        provider="openai",
        title="OpenAI",
        default_host="https://api.openai.com/v1",
        credentials=OpenAICredentials,
        headers={"OpenAI-Organization": "openai_organization", "OpenAI-Project": "openai_project"},
        model_patterns=(
            "gpt-*",
            "chatgpt-*",
            "o[134]",
            "o[134]-*",
            "text-embedding-*",
            "omni-moderation-*",
            "ft:gpt-*",
        ),
        file_purposes=PURPOSES,
        endpoints=frozenset(  # reference page "Create batch", `endpoint`, openapi.yaml of 2026-08-21
            {
                "/v1/responses",
                "/v1/chat/completions",
                "/v1/embeddings",
                "/v1/completions",
                "/v1/moderations",
                "/v1/images/generations",
                "/v1/images/edits",
                "/v1/videos",
            }
        ),
        max_lines=50_000,  # guide, "Rate limits", 2026-06-27; so are the next two
        max_bytes=200 * 10**6,  # "200 MB", not said whether 2**20: the smaller reading costs one more part at most
        max_inputs=50_000,  # embedding inputs over all lines
        one_model_per_job=True,  # guide, "Prepare your batch file"
        settle_seconds=900.0,  # our caution, no page names a bound
        results_kept_seconds=30 * 86400,  # guide, 2026-06-27
        discount=0.5,
        caveats=(
            "Results are deleted 30 days after the job ended.",
            "An answer that was finished while a job was being cancelled may be in no file (seen 2026-09-02).",
        ),
    )
)
