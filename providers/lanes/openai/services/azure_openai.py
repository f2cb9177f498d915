"""Azure OpenAI: OpenAI's API at a resource of one's own, below two kinds of paths, for a key or a token of Entra.

Sources: reference pages "Azure OpenAI (Microsoft Foundry) - batch" and "Azure AI Foundry", with their updates of
2026-11-29 (Microsoft Learn, batch how-to; REST reference of v1; `openai` 3.57.0 `lib/azure.py`).

Lines name `/chat/completions`, which both kinds of paths take; a line is translated before its account is known. Input
in a blob of one's own (`input_blob`) is left out: such jobs carry no metadata, so a lost one could not be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self, cast

from pydantic import Field, model_validator

from proxy_plugin.providers.api_base import ApiBase
from proxy_plugin.providers.base import Account, Credentials, PartFile, Refused
from proxy_plugin.providers.lanes.openai.lane import OpenAICompatible, Service
from proxy_plugin.providers.signing.accounts import Proof
from proxy_plugin.providers.signing.azure_accounts import EntraCredentials

EMBEDDINGS = "/v1/embeddings"
V1 = frozenset({"v1", "preview", "latest"})
DAYS_14, DAYS_30 = 14 * 86400, 30 * 86400


class AzureCredentials(EntraCredentials):
    """A resource, how it is reached, and what proves the account. Each line names its deployment as `model`."""

    azure_resource_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$")] | None = None
    """The resource; it makes the host, where `custom_host` does not say it. Example: my-resource"""
    azure_api_version: Annotated[str, Field(pattern=r"^(v1|preview|latest|\d{4}-\d{2}-\d{2}(-preview)?)$")] = "v1"
    """The version of the API: `v1`, `preview`, `latest`, or a day."""
    azure_deployment_id: str | None = None
    """Portkey's, of single calls; batches are of the whole resource. Example: my-deployment"""
    azure_model_name: str | None = None
    """Portkey's, of single calls; a line names its deployment. Example: gpt-4.1-mini"""
    azure_embeddings: bool = True
    """false: this account runs no embeddings in batches."""
    azure_input_seconds: Annotated[int, Field(ge=DAYS_14, le=DAYS_30)] | None = DAYS_14
    """For how long Azure keeps input files; `null`: until they are deleted."""

    @model_validator(mode="after")
    def _has_place(self) -> Self:
        if not self.azure_resource_name and not self.custom_host:
            raise ValueError("give azure_resource_name, or custom_host such as https://RESOURCE.openai.azure.com")
        return self

    @property
    def sent_version(self) -> str:
        """The `api-version` of every call; v1 needs none."""
        return "" if self.azure_api_version == "v1" else self.azure_api_version

    @property
    def expiry(self) -> Mapping[str, str]:
        """Fields of an upload. Of files that expire a resource may have 10,000, else 500. The names have dots."""
        if self.azure_input_seconds is None:
            return {}
        return {"expires_after.anchor": "created_at", "expires_after.seconds": str(self.azure_input_seconds)}


class AzureOpenAI(OpenAICompatible):
    """The batch lane of a resource's deployments of the kinds GlobalBatch and DataZoneBatch."""

    def account_key(self, credentials: Credentials) -> str:
        """Return host and what proves the account."""
        return "\x1f".join((self._host(credentials), *cast("AzureCredentials", credentials).identity()))

    async def stage(self, account: Account, part: PartFile, *, again: bool) -> dict[str, str]:
        """Upload the part, or refuse embeddings for an account that says that it runs none."""
        if part.endpoint == EMBEDDINGS and not cast("AzureCredentials", account.credentials).azure_embeddings:
            message = "This account runs no embeddings in batches (azure_embeddings of its virtual key)."
            raise Refused(message, code="unsupported_endpoint", param="url")
        return await super().stage(account, part, again=again)

    def _proof(self, account: Account) -> Proof:
        return cast("AzureCredentials", account.credentials).prove(account.http)

    def _host(self, credentials: Credentials) -> str:
        ours = cast("AzureCredentials", credentials)
        root = self.service.api_base.host(self.capabilities.host(ours))
        return f"{root}/openai/v1" if ours.azure_api_version in V1 else f"{root}/openai"


AZURE_OPENAI = AzureOpenAI(
    Service(
        provider="azure-openai",
        title="Azure OpenAI",
        default_host="https://{azure_resource_name}.openai.azure.com",
        credentials=AzureCredentials,
        settings={"upload": "expiry"},
        params={"api-version": "sent_version"},
        # LiteLLM takes the resource, a deployment's whole URL and v1's base (1.106.2, `llms/azure/common_utils.py`).
        api_base=ApiBase(ahead_of="/openai"),
        litellm={
            "api_version": "azure_api_version",
            "tenant_id": "azure_entra_tenant_id",
            "client_id": "azure_entra_client_id",
            "client_secret": "azure_entra_client_secret",
            "azure_scope": "azure_entra_scope",
        },
        endpoints=frozenset({"/v1/chat/completions", "/v1/responses", EMBEDDINGS}),
        urls={"/v1/chat/completions": "/chat/completions"},
        processed=True,  # "Files"
        patience=60.0,  # "Poll no more often than every 60 s"
        max_lines=100_000,  # "Files"; the reference of v1 has OpenAI's 50,000
        max_bytes=200 * 10**6,  # "Files"
        max_inputs=50_000,  # reference of v1: "restricted to a maximum of 50,000 embedding inputs"
        discount=0.5,  # of global standard
        caveats=(
            "The model of a line is the name of a deployment of the kind GlobalBatch or DataZoneBatch.",
            "Jobs are not expired by Azure after 24 hours.",
            "UNVERIFIED: embeddings. The reference of v1 lists them, the how-to page does not: azure_embeddings false.",
            "Input files expire after 14 days, or as azure_input_seconds says: without, 500 fit into a resource.",
            "UNVERIFIED: the scope of tokens for a project of Foundry; azure_entra_scope changes it.",
        ),
    )
)
