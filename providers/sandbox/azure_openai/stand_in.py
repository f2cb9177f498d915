"""What others must know of Azure OpenAI's stand-in."""

from dataclasses import replace

from proxy_plugin.providers.sandbox.openai.stand_in import STAND_IN as OPENAI
from proxy_plugin.providers.sandbox.tokens import CLIENT, TENANT

ENDPOINTS = {  # embeddings by the reference of v1, against the how-to page
    "/chat/completions": "/v1/chat/completions",
    **{each: each for each in ("/v1/responses", "/v1/embeddings")},
}
TRAITS = {  # reference page, "Responses, statuses", "Error codes", "Files"
    "max_lines": 100_000,
    "differs": {
        "endpoints": ENDPOINTS,
        "words": {
            word: word.capitalize()
            for word in (
                *("validating", "in_progress", "finalizing", "completed"),
                *("failed", "expired", "cancelling", "cancelled"),
            )
        },
        "times": "text",
        "counts": "late",
        "always_error_file": True,
        "empty_ids": True,
        "dotted_expiry": True,
        "pending_looks": 1,
        "codes": {
            "invalid_url": "url_mismatch",
            "mismatched_model": "model_mismatch",
            "missing_required_parameter": "invalid_request",
        },
    },
}


def _with_key(url: str, key: str) -> dict[str, str]:
    return {"api_key": key, "custom_host": url}


def with_secret(url: str, key: str) -> dict[str, str]:
    """The settings of an account that gets its tokens from Entra."""
    client = {"azure_entra_tenant_id": TENANT, "azure_entra_client_id": CLIENT, "azure_entra_client_secret": key}
    return {**client, "azure_authority_url": url, "custom_host": url}


def _headers(key: str) -> dict[str, str]:
    return {"api-key": key}


STAND_IN = replace(
    OPENAI,
    provider="azure-openai",
    dialect="proxy_plugin.providers.sandbox.azure_openai.dialect:AzureOpenAI",
    settings=_with_key,
    headers=_headers,
    root="",
    jobs="openai/v1/batches",
    uploads="openai/v1/files",
    free=(*OPENAI.free, "files.list"),
    doubted=("files.delete",),
    traits=TRAITS,
)
ENTRA = replace(STAND_IN, settings=with_secret, free=(*STAND_IN.free, "tokens.create"))
