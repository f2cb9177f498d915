"""The endpoints that a batch may be created for: one as at OpenAI, and ours, several or `auto`."""

from __future__ import annotations

from typing import Any

from proxy_plugin.ground.errors import BadRequest

AUTO = "auto"
ENDPOINTS = (  # OpenAI's description, commit f85dbe2, 2026-08-21: CreateBatchRequest.endpoint
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
)


def asked_endpoint(value: object) -> str:
    """Return a create's `endpoint` as it is stored: one of ENDPOINTS, `auto`, or several joined by commas.

    Raises BadRequest, with the endpoints that there are.
    """
    if value == AUTO:
        return AUTO
    several: list[Any] = value if isinstance(value, list) else [value]
    if not several or any(not isinstance(each, str) or each not in ENDPOINTS for each in several):
        raise BadRequest(
            f"'endpoint' must be one of {', '.join(ENDPOINTS)}; or, for a file that mixes them, a list of these or "
            f"'{AUTO}'.",
            param="endpoint",
        )
    return ",".join(dict.fromkeys(several))


def is_mixed(endpoint: str) -> bool:
    """Tell whether lines of a batch may have different urls, so that each goes by its own."""
    return endpoint == AUTO or "," in endpoint


def served(endpoint: str) -> tuple[str, ...]:
    """Return the urls that the lines of a batch may have, by its stored `endpoint`."""
    return ENDPOINTS if endpoint == AUTO else tuple(endpoint.split(","))
