"""IBM watsonx.ai. Source: reference page of new lanes, 4, 2026-11-29 (ibm-watsonx-ai 1.8.1, IBM's tests)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from proxy_plugin.providers.api_base import ApiBase
from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.lanes.openai.service import WORDS, CopyCredentials


class WatsonxCredentials(CopyCredentials):
    """IBM's API key itself, no token made of it, and the project or the space that files and jobs are in."""

    watsonx_project_id: str | None = None
    """The project that files and jobs are in; give this one or `watsonx_space_id`. Example:
    11111111-2222-3333-4444-555555555555
    """
    watsonx_space_id: str | None = None
    """The deployment space that files and jobs are in. Example: 11111111-2222-3333-4444-555555555555"""
    watsonx_version: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2026-03-01"
    """The version of the API, a day."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.watsonx_project_id) == bool(self.watsonx_space_id):
            raise ValueError("set either watsonx_project_id or watsonx_space_id")
        return self


WATSONX = OpenAICompatible(
    Service(
        provider="watsonx",
        title="IBM watsonx.ai",
        default_host="https://us-south.ml.cloud.ibm.com/ml/v1",
        api_base=ApiBase(cut=("/ml/v1",), added="/ml/v1"),  # litellm 1.106.2, `llms/watsonx/chat/transformation.py`
        endpoints=frozenset({"/v1/chat/completions"}),
        credentials=WatsonxCredentials,
        headers={"X-IBM-Project-ID": "watsonx_project_id", "X-IBM-Space-ID": "watsonx_space_id"},
        litellm={"project_id": "watsonx_project_id", "space_id": "watsonx_space_id"},
        params={"version": "watsonx_version"},
        words=WORDS,
        loose_rows=True,
        shows_label=False,  # UNVERIFIED
        caveats=(
            "Other regions need a custom_host, such as https://eu-de.ml.cloud.ibm.com/ml/v1.",
            "Files are kept in the Cloud Object Storage of the project or space.",
            "UNVERIFIED: limits, and the shape of rows, which is taken to be OpenAI's.",
        ),
    )
)
