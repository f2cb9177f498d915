"""Claude Platform on AWS: Anthropic's own API behind AWS's authentication.

Sources: project's reference page of Anthropic, update 3 of 2026-11-29 (SDK 2.14.0, `lib/aws`; AWS user guide, "feature
support"); Portkey, "Claude Platform (AWS)" (provider slug, names of the fields).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, cast

from pydantic import Field, model_validator

from proxy_plugin.providers.base import Account, Credentials
from proxy_plugin.providers.keys import Key
from proxy_plugin.providers.lanes.anthropic.lane import CAPABILITIES, Anthropic, VersionCredentials
from proxy_plugin.providers.signing.accounts import AWS_OF_LITELLM, AwsCredentials, Proof

SERVICE = "aws-external-anthropic"


class ClaudeOnAWSCredentials(VersionCredentials, AwsCredentials):
    """An API key of the platform, or a key of AWS; and the workspace, which every call names."""

    api_key: Key | None = None
    """An API key of the platform, in the place of AWS's keys. Example: os.environ/ANTHROPIC_AWS_API_KEY"""
    anthropic_aws_workspace_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    """The workspace, which every call names. Example: wrkspc_example"""

    @model_validator(mode="after")
    def _one_proof(self) -> ClaudeOnAWSCredentials:
        others = (self.aws_secret_access_key, self.aws_role_arn, self.aws_auth_type, self.aws_profile)
        if self.api_key is not None and any(each is not None for each in others):
            raise ValueError("give api_key, or what AWS signs with: aws_access_key_id, aws_role_arn or aws_auth_type")
        return self


class ClaudeOnAWS(Anthropic):
    """Every call is signed anew, that for the results too; their address is made of base and id as everywhere."""

    credentials: type[Credentials] = ClaudeOnAWSCredentials
    capabilities = replace(
        CAPABILITIES,
        provider="claude-platform-aws",
        title="Claude Platform on AWS",
        default_host=f"https://{SERVICE}.{{aws_region}}.api.aws/v1",
        model_patterns=(),
        priced_as="anthropic",
        litellm=AWS_OF_LITELLM,
        caveats=(*CAPABILITIES.caveats, "Signatures need botocore: pip install 'proxy-plugin[aws]'. A key does not."),
    )

    def account_key(self, credentials: Credentials) -> str:
        """Return host, workspace and key."""
        ours = cast("ClaudeOnAWSCredentials", credentials)
        key = ours.api_key.get_secret_value() if ours.api_key else ""
        return "\x1f".join((self._host(ours), ours.anthropic_aws_workspace_id, key, *ours.identity()))

    def _proof(self, account: Account) -> Proof:
        ours = cast("ClaudeOnAWSCredentials", account.credentials)
        if ours.api_key is not None:
            return {"x-api-key": ours.api_key.get_secret_value()}, None
        return ours.sign(SERVICE, account.http)

    def _told(self, credentials: Credentials) -> dict[str, str]:
        workspace = cast("ClaudeOnAWSCredentials", credentials).anthropic_aws_workspace_id
        return super()._told(credentials) | {"anthropic-workspace-id": workspace}


CLAUDE_PLATFORM_AWS = ClaudeOnAWS()
