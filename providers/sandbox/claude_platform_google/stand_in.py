"""What others must know of the stand-in for Claude on Google Cloud."""

from dataclasses import replace

from proxy_plugin.providers.sandbox.anthropic.stand_in import STAND_IN as ANTHROPIC
from proxy_plugin.providers.sandbox.tokens import service_account

PROJECT, LOCATION, WORKSPACE = "sandbox", "global", "wrkspc_sandbox"
BASE = f"v1/projects/{PROJECT}/locations/{LOCATION}/workspaces/{WORKSPACE}/invoke/v1"


def _settings(url: str, key: str) -> dict[str, str]:
    workspace = {"vertex_project_id": PROJECT, "anthropic_google_cloud_workspace_id": WORKSPACE}
    proof = {"vertex_service_account_json": service_account(key), "google_token_url": f"{url}/token"}
    return {"custom_host": url, **workspace, **proof}


def _headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "anthropic-version": "2023-06-01"}


STAND_IN = replace(
    ANTHROPIC,
    provider="claude-platform-google",
    dialect="proxy_plugin.providers.sandbox.claude_platform_google.dialect:ClaudeOnGoogle",
    settings=_settings,
    headers=_headers,
    root="",  # it is in the paths, below the project
    jobs=f"{BASE}/messages/batches",
    lacks={
        **ANTHROPIC.lacks,
        "test_a_wrong_provider_key_is_said_in_every_row": "an account has a service account or a token, never both",
    },
    free=("tokens.create", *ANTHROPIC.free),
)
