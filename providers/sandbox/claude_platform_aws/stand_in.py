"""What others must know of the stand-in for Claude Platform on AWS."""

from dataclasses import replace

from proxy_plugin.providers.sandbox.anthropic.stand_in import STAND_IN as ANTHROPIC
from proxy_plugin.providers.sandbox.sigv4 import access_key

WORKSPACE = "wrkspc_sandbox"


def _with_key(url: str, key: str) -> dict[str, str]:
    return {"api_key": key, "custom_host": url, "anthropic_aws_workspace_id": WORKSPACE}


def _signing(url: str, key: str) -> dict[str, str]:
    return {**access_key(key), "custom_host": url, "anthropic_aws_workspace_id": WORKSPACE}


def _headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "anthropic-version": "2023-06-01", "anthropic-workspace-id": WORKSPACE}


STAND_IN = replace(
    ANTHROPIC,
    provider="claude-platform-aws",
    dialect="proxy_plugin.providers.sandbox.claude_platform_aws.dialect:ClaudeOnAWS",
    settings=_with_key,
    headers=_headers,
)
SIGNED = replace(STAND_IN, settings=_signing)  # the same, for clients that sign; they need botocore
