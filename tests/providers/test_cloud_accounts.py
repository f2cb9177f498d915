"""Credentials of the clouds: what is given together, what is refused, and where calls go."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from proxy_plugin.providers.base import Account, LineIn, LineRejected, Refused, Target
from proxy_plugin.providers.catalog import load
from proxy_plugin.providers.http import Http
from proxy_plugin.providers.keys import Key
from proxy_plugin.providers.sandbox.tokens import service_account
from proxy_plugin.providers.signing.accounts import AwsCredentials
from proxy_plugin.providers.signing.aws_keys import Instance

SECRET = "s3cr3t-of-nobody-41d9"
AZURE, AWS, GOOGLE = load("azure-openai"), load("claude-platform-aws"), load("claude-platform-google")
PLACE = {"azure_resource_name": "mine"}
CLIENT = {"azure_entra_tenant_id": "t", "azure_entra_client_id": "c", "azure_entra_client_secret": SECRET}
BEGIN = "-----BEGIN "
CERTIFIED = {
    "azure_entra_tenant_id": "t",
    "azure_entra_client_id": "c",
    "azure_entra_client_certificate": f"{BEGIN}CERTIFICATE-----\n{SECRET}\n{BEGIN}PRIVATE KEY-----\n{SECRET}\n",
}
WORKLOAD = {
    "azure_entra_tenant_id": "t",
    "azure_workload_client_id": "w",
    "azure_federated_token_file": "/run/token",
}
WORKSPACE = {"anthropic_aws_workspace_id": "wrkspc_1"}
PROJECT = {"vertex_project_id": "p", "anthropic_google_cloud_workspace_id": "wrkspc_1"}
KEY = {"aws_access_key_id": "AKIA1", "aws_secret_access_key": SECRET}
ROLE = {"aws_role_arn": "arn:aws:iam::111122223333:role/Gateway"}


def pool(**source: Any) -> str:
    named = dict.fromkeys(("audience", "subject_token_type", "token_url"), "x")
    return json.dumps({"type": "external_account", **named, "credential_source": source})


SERVICE_ACCOUNT = {"vertex_service_account_json": service_account("sk-some")}


@pytest.mark.parametrize(
    ("lane", "given"),
    [
        (AZURE, {**PLACE, "api_key": SECRET}),
        (AZURE, {**PLACE, "azure_ad_token": SECRET}),
        (AZURE, {**PLACE, **CLIENT}),
        (AZURE, {**PLACE, **CLIENT, "azure_auth_mode": "entra"}),
        (AZURE, {**PLACE, **CERTIFIED}),
        (AZURE, {**PLACE, "azure_auth_mode": "managed"}),
        (AZURE, {**PLACE, "azure_auth_mode": "workload", **WORKLOAD}),
        (AZURE, {"custom_host": "https://mine.openai.azure.com", "api_key": SECRET}),
        (AWS, {**WORKSPACE, "api_key": SECRET}),
        (AWS, {**WORKSPACE, "aws_access_key_id": "AKIA1", "aws_secret_access_key": SECRET}),
        (GOOGLE, {**PROJECT, **SERVICE_ACCOUNT}),
        (GOOGLE, {**PROJECT, "api_key": SECRET}),
    ],
)
def test_an_account_is_read_and_shows_no_secret(lane: Any, given: dict[str, str]) -> None:
    found = lane.credentials.model_validate(given)
    assert SECRET not in repr(found)
    assert lane.account_key(found) == lane.account_key(lane.credentials.model_validate(given))


@pytest.mark.parametrize(
    ("lane", "given", "words"),
    [
        (AZURE, PLACE, "give one of api_key"),
        (AZURE, {"api_key": SECRET}, "azure_resource_name"),
        (AZURE, {**PLACE, **CLIENT, "api_key": SECRET}, "give one of api_key"),
        (AZURE, {**PLACE, "azure_entra_client_secret": SECRET}, "azure_entra_tenant_id"),
        (AZURE, {**PLACE, "api_key": SECRET, "azure_auth_mode": "managed"}, "api_key does not go with"),
        (AZURE, {**PLACE, **CLIENT, "azure_auth_mode": "workload"}, "azure_entra_client_secret does not go with"),
        (AZURE, {**PLACE, "api_key": SECRET, "azure_auth_mode": "entra"}, "needs azure_entra_client_secret"),
        (AZURE, {"azure_resource_name": "a.example/#", "api_key": SECRET}, "azure_resource_name"),
        (AZURE, {**PLACE, **CLIENT, "azure_entra_tenant_id": "../t"}, "azure_entra_tenant_id"),
        (AZURE, {**PLACE, "api_key": SECRET, "azure_api_version": "v1&x=1"}, "azure_api_version"),
        (AZURE, {**PLACE, "api_key": SECRET, "azure_input_seconds": 3600}, "azure_input_seconds"),
        (AZURE, {**PLACE, **CERTIFIED, "azure_entra_client_id": None}, "certificate needs azure_entra_tenant_id"),
        (AZURE, {**PLACE, **CERTIFIED, **CLIENT}, "give one of"),
        (AZURE, {**PLACE, **CERTIFIED, "azure_entra_client_certificate": "/no/such/file"}, "neither PEM nor the path"),
        (AZURE, {**PLACE, **CERTIFIED, "azure_entra_client_certificate": BEGIN + "CERT-----"}, "and its private key"),
        (AZURE, {**PLACE, "azure_auth_mode": "workload"}, "AZURE_FEDERATED_TOKEN_FILE"),
        (AWS, {**WORKSPACE, "api_key": SECRET, "aws_auth_type": "instance"}, "give api_key, or"),
        (AWS, {**WORKSPACE, **KEY, "aws_auth_type": "container"}, "does not go with aws_auth_type container"),
        (AWS, {**WORKSPACE, **KEY, "aws_web_identity_token_file": "/etc/passwd", **ROLE}, "does not go with"),
        (AWS, {**WORKSPACE, **KEY, "aws_web_identity_token_file": "/etc/passwd"}, "does not go with"),
        (AWS, {**WORKSPACE, **KEY, "aws_external_id": "x1"}, "aws_external_id goes with aws_role_arn"),
        (AWS, {**WORKSPACE, **KEY, "aws_auth_type": "assumedRole"}, "needs aws_role_arn"),
        (AWS, {**WORKSPACE, **KEY, "aws_role_arn": "arn:aws:iam::1:user/x"}, "aws_role_arn"),
        (AWS, {**WORKSPACE, "aws_auth_type": "container"}, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        (AWS, {**WORKSPACE, "aws_auth_type": "accessKey"}, "needs aws_access_key_id"),
        (AWS, {**WORKSPACE, "aws_auth_type": "webIdentity"}, "AWS_WEB_IDENTITY_TOKEN_FILE"),
        (AWS, {"api_key": SECRET}, "anthropic_aws_workspace_id"),
        (AWS, {**WORKSPACE, "aws_secret_access_key": SECRET}, "go together"),
        (AWS, {**WORKSPACE, "aws_session_token": SECRET}, "aws_session_token goes with"),
        (AWS, {**WORKSPACE, "aws_region": "evil.example/"}, "aws_region"),
        (GOOGLE, {**PROJECT, **SERVICE_ACCOUNT, "api_key": SECRET}, "give one of"),
        (GOOGLE, {**PROJECT, "vertex_service_account_json": '{"a": 1}'}, "client_email"),
        (GOOGLE, {**PROJECT, "vertex_service_account_json": "/no/such/file"}, "neither JSON nor the path"),
        (GOOGLE, {**PROJECT, "vertex_service_account_json": '{"type": "external_account"}'}, "has no audience"),
        (GOOGLE, {**PROJECT, "vertex_service_account_json": '{"type": "gdch"}'}, "is of none of the types"),
        (GOOGLE, {**PROJECT, "vertex_service_account_json": pool(executable={"command": "x"})}, "no program is run"),
        (GOOGLE, {**PROJECT, "vertex_service_account_json": pool(environment_id="aws1")}, "without region_url"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(lane: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        lane.credentials.model_validate(given)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_environment_is_read_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway takes secrets out of its environment before it serves anybody."""
    for name, value in (("ACCESS_KEY_ID", "ASIA1"), ("SECRET_ACCESS_KEY", SECRET), ("SESSION_TOKEN", "tok")):
        monkeypatch.setenv(f"AWS_{name}", value)
    for name, value in (("FEDERATED_TOKEN_FILE", "/run/token"), ("TENANT_ID", "t"), ("CLIENT_ID", "w")):
        monkeypatch.setenv(f"AZURE_{name}", value)
    machine = AWS.credentials.model_validate(WORKSPACE)
    brought = AWS.credentials.model_validate({**WORKSPACE, "api_key": "sk-brought-key"})
    workload = AZURE.credentials.model_validate({**PLACE, "azure_auth_mode": "workload"})
    monkeypatch.undo()
    assert machine.model_dump()["aws_secret_access_key"].get_secret_value() == SECRET
    assert machine.model_dump()["aws_session_token"].get_secret_value() == "tok"
    assert brought.model_dump()["aws_access_key_id"] is None
    assert {name: workload.model_dump()[name] for name in WORKLOAD} == WORKLOAD
    with pytest.raises(ValidationError, match="aws_session_token goes with"):
        AWS.credentials.model_validate({**WORKSPACE, "aws_session_token": "of nobody"})


def test_a_service_account_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    path.write_text(SERVICE_ACCOUNT["vertex_service_account_json"])
    by_path = GOOGLE.credentials.model_validate({**PROJECT, "vertex_service_account_json": str(path)})
    assert by_path == GOOGLE.credentials.model_validate({**PROJECT, **SERVICE_ACCOUNT})


@pytest.mark.parametrize(
    ("lane", "given", "base"),
    [
        (AZURE, PLACE, "https://mine.openai.azure.com/openai/v1"),
        (AZURE, {**PLACE, "azure_api_version": "preview"}, "https://mine.openai.azure.com/openai/v1"),
        (AZURE, {**PLACE, "azure_api_version": "2024-10-21"}, "https://mine.openai.azure.com/openai"),
        (AZURE, {"custom_host": "https://h.example"}, "https://h.example/openai/v1"),
        (AZURE, {"custom_host": "https://openai.example/apim/openai/v1/"}, "https://openai.example/apim/openai/v1"),
        (AWS, {**WORKSPACE, "aws_region": "eu-west-1"}, "https://aws-external-anthropic.eu-west-1.api.aws/v1"),
        (
            GOOGLE,
            {**PROJECT, "vertex_region": "us-east5"},
            "https://claude.googleapis.com/v1/projects/p/locations/us-east5/workspaces/wrkspc_1/invoke/v1",
        ),
    ],
)
async def test_where_calls_go(lane: Any, given: dict[str, Any], base: str) -> None:
    account = Account("prod", lane.credentials.model_validate({**given, "api_key": SECRET}), Http())
    assert repr(lane._origin(account)) == f"Origin({base})"


def test_azures_lines_name_a_path_that_both_kinds_take() -> None:
    body = b'{"model":"my-deployment","messages":[]}'
    chat = AZURE.translate(LineIn("id", "/v1/chat/completions", body, "my-deployment"), Target())
    assert json.loads(chat.data) == {
        "custom_id": "id",
        "method": "POST",
        "url": "/chat/completions",
        "body": json.loads(body),
    }
    assert (
        json.loads(AZURE.translate(LineIn("id", "/v1/responses", body, "m"), Target()).data)["url"] == "/v1/responses"
    )
    with pytest.raises(LineRejected, match="/v1/completions"):
        AZURE.translate(LineIn("id", "/v1/completions", body, "m"), Target())


class Bearing(AwsCredentials):
    """As of a service that takes API keys, beside one that wants signatures."""

    _bearer: ClassVar[str] = "AWS_BEARER_TOKEN_BEDROCK"
    api_key: Key | None = None


def test_an_api_key_of_the_environment_is_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    brought = Bearing.model_validate({"api_key": SECRET})
    assert brought.borrowed() is None
    with pytest.raises(Refused, match="credentials_missing"):
        brought.sign("s3")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", SECRET)
    lent = Bearing.model_validate({})
    assert lent.api_key is not None
    assert lent.borrowed() is not None
    assert isinstance(lent._keys(), Instance), "what is signed is signed by the machine's role"
    keyed = Bearing.model_validate(KEY)
    assert (keyed.api_key, keyed.borrowed()) == (None, None)
    for asked in ({"aws_auth_type": "instance"}, ROLE, {"aws_web_identity_token_file": "/x", **ROLE}):
        assert Bearing.model_validate({"api_key": "sk-brought-key", **asked}).borrowed() is not None


def test_who_an_account_is_does_not_change_with_what_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    given = [KEY, {**KEY, **ROLE}, {**KEY, **ROLE, "aws_external_id": "x1"}, ROLE, {}, {"aws_auth_type": "instance"}]
    given += [{**each, "aws_region": "eu-west-1"} for each in given]
    found = [Bearing.model_validate(each).identity() for each in given]
    assert len(set(found)) == len(found)
    assert found == [Bearing.model_validate({**each}).identity() for each in given]
    session = {"aws_session_token": "another"}
    assert Bearing.model_validate({**KEY, **session}).identity() == Bearing.model_validate(KEY).identity()
    elsewhere = Bearing.model_validate({**KEY, **ROLE}).model_copy(update={"aws_region": "eu-west-1"})
    assert elsewhere.sign("s3")[1] != Bearing.model_validate({**KEY, **ROLE}).sign("s3")[1]
