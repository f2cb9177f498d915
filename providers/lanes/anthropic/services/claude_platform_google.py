"""Claude on Google Cloud, managed by Anthropic: Anthropic's own API below a path that names project and workspace.

Source: project's reference page "new lanes", section 1, of 2026-11-29 (SDK 2.14.0, `lib/google_cloud/_client.py`,
README: "Batches"). Claude models of Vertex AI itself are another service with jobs of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from proxy_plugin.providers.base import Account, Credentials
from proxy_plugin.providers.lanes.anthropic.lane import CAPABILITIES, Anthropic, VersionCredentials
from proxy_plugin.providers.signing.accounts import GOOGLE_OF_LITELLM, GoogleCredentials, Name, Proof


class ClaudeOnGoogleCredentials(VersionCredentials, GoogleCredentials):
    """An account of Google Cloud and the workspace that stands in the path. `custom_host` is the host alone."""

    anthropic_google_cloud_workspace_id: Name
    """The workspace, which every call names. Example: wrkspc_example"""


class ClaudeOnGoogle(Anthropic):
    """The workspace is in the path, the proof a bearer token."""

    credentials: type[Credentials] = ClaudeOnGoogleCredentials
    capabilities = replace(
        CAPABILITIES,
        provider="claude-platform-google",
        title="Claude on Google Cloud",
        default_host="https://claude.googleapis.com",
        model_patterns=(),
        priced_as="anthropic",
        litellm=GOOGLE_OF_LITELLM,
    )

    def account_key(self, credentials: Credentials) -> str:
        """Return base, which names project and workspace, and what proves the account."""
        return "\x1f".join((self._host(credentials), *cast("ClaudeOnGoogleCredentials", credentials).identity()))

    def _proof(self, account: Account) -> Proof:
        return cast("ClaudeOnGoogleCredentials", account.credentials).prove(account.http)

    def _host(self, credentials: Credentials) -> str:
        ours = cast("ClaudeOnGoogleCredentials", credentials)
        place = f"projects/{ours.vertex_project_id}/locations/{ours.vertex_region}"
        workspace = f"workspaces/{ours.anthropic_google_cloud_workspace_id}/invoke"
        return f"{self.capabilities.host(ours)}/v1/{place}/{workspace}/v1"


CLAUDE_PLATFORM_GOOGLE = ClaudeOnGoogle()
