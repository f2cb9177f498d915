"""Google's token services, before google-auth: each kind of account gets a token that the platform takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.identity import google
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.tokens import ACCOUNT, CLIENT, CLOUD_PLATFORM

identity_pool = pytest.importorskip("google.auth.identity_pool", reason="google-auth is not installed")
impersonated = pytest.importorskip("google.auth.impersonated_credentials")
metadata = pytest.importorskip("google.auth.compute_engine._metadata")
exceptions = pytest.importorskip("google.auth.exceptions")
requests = pytest.importorskip("google.auth.transport.requests")
oauth = pytest.importorskip("google.oauth2.credentials")

PROVIDER = "claude-platform-google"


@pytest.fixture
def url(sandbox: Sandbox) -> str:
    return sandbox.url(PROVIDER)


def person(url: str, key: str = DEFAULT_KEY) -> Any:
    named = {"client_id": CLIENT, "client_secret": CLIENT, "token_uri": f"{url}/token"}
    return oauth.Credentials(None, refresh_token=key, **named)


def pool(url: str, file: Path, **more: Any) -> Any:
    file.write_text(DEFAULT_KEY)
    return identity_pool.Credentials(
        audience=google.AUDIENCE,
        subject_token_type=google.JWT,
        token_url=f"{url}/v1/token",
        credential_source={"file": str(file)},
        scopes=[CLOUD_PLATFORM],
        **more,
    )


def lent(url: str) -> Any:
    return impersonated.Credentials(person(url), ACCOUNT, [CLOUD_PLATFORM], iam_endpoint_override=f"{url}{google.LENT}")


def test_each_kind_of_account_gets_a_token(url: str, tmp_path: Path) -> None:
    impersonation = {"service_account_impersonation_url": f"{url}{google.LENT}"}
    made = [person(url), pool(url, tmp_path / "t"), pool(url, tmp_path / "t", **impersonation), lent(url)]
    for each in made:
        each.refresh(requests.Request())
        assert each.valid
        assert each.token


def test_a_person_who_is_unknown_is_refused(url: str) -> None:
    with pytest.raises(exceptions.RefreshError, match="invalid_grant"):
        person(url, "sk-nobody").refresh(requests.Request())


def test_the_metadata_server_gives_a_token(url: str) -> None:
    root = f"{url}/computeMetadata/v1/"
    found = metadata.get(requests.Request(), "instance/service-accounts/default/token", root=root)
    assert json.dumps(found["access_token"])
    assert found["token_type"] == "Bearer"
