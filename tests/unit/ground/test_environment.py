"""No secret stays in the environment of the process."""

from __future__ import annotations

import os

import pytest

from proxy_plugin.ground.environment import forget_secrets

SECRETS = [
    "OPENAI_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AZURE_CLIENT_SECRET",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "HF_TOKEN",
    "PGPASSWORD",
    "DB_PASSWD",
    "my_apikey",
    "LITELLM_MASTER_KEY",
    "SSH_PRIVATE_KEY",
]
OTHERS = ["PATH", "HOME", "TZ", "LANG", "PYTHONPATH", "PROXY_PLUGIN_FAIL", "KEYBOARD", "MONKEY", "TMPDIR"]


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment, which is put back afterwards."""
    for name, value in list(os.environ.items()):
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_called_a_secret_goes(environ: pytest.MonkeyPatch, name: str) -> None:
    environ.setenv(name, "x")
    forget_secrets()
    assert name not in os.environ


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_none_stays(environ: pytest.MonkeyPatch, name: str) -> None:
    environ.setenv(name, "something")
    forget_secrets(["", "some", "elsewhere-1234"])
    assert os.environ[name] == "something"


@pytest.mark.parametrize("value", ["acme-1234-secret", "https://user:acme-1234-secret@host/db"])
def test_what_holds_a_known_secret_goes_whatever_it_is_called(environ: pytest.MonkeyPatch, value: str) -> None:
    environ.setenv("ACME", value)
    forget_secrets(["acme-1234-secret"])
    assert "ACME" not in os.environ
