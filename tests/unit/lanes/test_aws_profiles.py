"""Profiles of `~/.aws`: which keys, roles and regions an account of the operator's takes from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy_plugin.providers.lanes.bedrock.accounts import BedrockCredentials
from proxy_plugin.providers.signing import aws_files
from proxy_plugin.providers.signing.aws import Keys
from proxy_plugin.providers.signing.aws_keys import AssumedRole, Instance, WebIdentity

SECRET, ROLE, OTHER = "wJalr-secret", "arn:aws:iam::111122223333:role/R", "arn:aws:iam::111122223333:role/Other"
CREDENTIALS = f"""[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = {SECRET}
[prod]
aws_access_key_id = AKIAPROD
aws_secret_access_key = {SECRET}%x
aws_session_token = tok
"""
CONFIG = f"""[default]
region = eu-west-3
[profile prod]
region = eu-central-1
s3 =
  max_concurrent_requests = 20
[profile taking]
role_arn = {ROLE}
source_profile = prod
external_id = x1
role_session_name = batches
[profile machine]
role_arn = {ROLE}
credential_source = Ec2InstanceMetadata
[profile web]
role_arn = {ROLE}
web_identity_token_file = /run/token
[profile chained]
role_arn = {ROLE}
source_profile = taking
[profile sso]
sso_session = company
[profile program]
credential_process = /bin/keys
[sso-session company]
sso_region = us-east-1
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(CREDENTIALS)
    (tmp_path / ".aws/config").write_text(CONFIG)
    return tmp_path


def keys(**given: Any) -> Any:
    return BedrockCredentials.model_validate(given)._keys()


def test_the_default_profile_is_found_where_nothing_else_is_said() -> None:
    found = BedrockCredentials.model_validate({})
    assert (found._keys(), found.aws_region) == (Keys("AKIADEFAULT", SECRET), "eu-west-3")
    assert found.borrowed() is not None, "no caller acts as the machine"
    assert SECRET not in repr(found)
    own = BedrockCredentials.model_validate({"aws_region": "us-west-2"})
    assert own.aws_region == "us-west-2"


def test_a_profile_is_named_by_the_account_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prod = Keys("AKIAPROD", f"{SECRET}%x", "tok")
    assert keys(aws_profile="prod") == prod
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_PROFILE", "prod")
    assert keys().id == "AKIAENVIRONMENT"
    assert keys(aws_profile="default").id == "AKIADEFAULT", "what the account says itself comes first"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert keys() == prod


def test_a_profile_may_take_a_role() -> None:
    taken = keys(aws_profile="taking")
    assert isinstance(taken, AssumedRole)
    assert (taken.base, taken.role, taken.external_id) == (Keys("AKIAPROD", f"{SECRET}%x", "tok"), ROLE, "x1")
    assert taken.session == "batches"
    assert isinstance(keys(aws_profile="machine").base, Instance)
    web = keys(aws_profile="web")
    assert isinstance(web, WebIdentity)
    assert web.path == "/run/token"
    assert keys(aws_profile="prod", aws_role_arn=OTHER).role == OTHER


def test_files_may_lie_elsewhere_or_nowhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "elsewhere").write_text(CREDENTIALS.replace("AKIADEFAULT", "AKIAELSEWHERE"))
    monkeypatch.setenv(aws_files.CREDENTIALS, str(home / "elsewhere"))
    assert keys().id == "AKIAELSEWHERE"
    monkeypatch.setenv(aws_files.CREDENTIALS, "/no/such/file")
    with pytest.raises(ValidationError, match="AWS_SHARED_CREDENTIALS_FILE names no file"):
        keys()
    monkeypatch.delenv(aws_files.CREDENTIALS)
    for each in (home / ".aws").iterdir():
        each.unlink()
    assert isinstance(keys(), Instance)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"aws_profile": "nobody"}, "no profile nobody"),
        ({"aws_profile": "sso"}, "sso_session of the profile sso is not supported"),
        ({"aws_profile": "program"}, "credential_process of the profile program is not supported"),
        ({"aws_profile": "chained"}, "taking takes a role itself"),
        ({"aws_profile": "taking", "aws_role_arn": OTHER}, "leave out aws_role_arn"),
        ({"aws_profile": "prod", "aws_access_key_id": "A", "aws_secret_access_key": "b"}, "does not go with a key"),
    ],
)
def test_what_a_profile_cannot_be_is_said_by_name(given: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        keys(**given)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["key = without a section", "[default]\nno equals sign"])
def test_a_file_of_something_else_is_refused(home: Path, text: str) -> None:
    (home / ".aws/config").write_text(text)
    with pytest.raises(ValidationError, match="no file of profiles"):
        keys()
