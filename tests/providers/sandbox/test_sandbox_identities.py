"""What gives out keys and tokens, before botocore's own ways to ask for them and before ours, up to a lane's call."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.credentials import ContainerProvider, InstanceMetadataProvider
from botocore.exceptions import ClientError
from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher

from proxy_plugin.providers.base import Account, NoToken, Refused, TryLater
from proxy_plugin.providers.catalog import load
from proxy_plugin.providers.http import Http
from proxy_plugin.providers.sandbox.identity import aws, google
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.sigv4 import access_key
from proxy_plugin.providers.sandbox.tokens import CLIENT, service_account
from proxy_plugin.providers.signing import aws_keys, google_defaults
from proxy_plugin.providers.signing.aws import Keys
from proxy_plugin.providers.signing.aws_keys import AssumedRole, Container, Instance, Sts, WebIdentity

AWS, GOOGLE = "claude-platform-aws", "claude-platform-google"
NOBODY = "sk-nobody-has-this-9d2c"
Set = Callable[[str, str], None]


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    made = Http()
    yield made
    await made.close()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that knows no account."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "CLOUDSDK_", "GCE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    return monkeypatch


def keys(key: str = DEFAULT_KEY) -> Keys:
    made = access_key(key)
    return Keys(made["aws_access_key_id"], made["aws_secret_access_key"])


def sts(sandbox: Sandbox) -> Sts:
    return Sts(aws.REGION, f"{sandbox.url(AWS)}/sts")


def role(sandbox: Sandbox, **changes: Any) -> AssumedRole:
    facts: dict[str, Any] = {
        "base": keys(),
        "role": aws.ROLE,
        "session": "tests",
        "external_id": aws.EXTERNAL_ID,
        "sts": sts(sandbox),
    }
    return AssumedRole(**(facts | changes))


# botocore


def client(sandbox: Sandbox, key: str = DEFAULT_KEY) -> Any:
    own = access_key(key)
    return botocore.session.Session().create_client(
        "sts",
        region_name=aws.REGION,
        endpoint_url=f"{sandbox.url(AWS)}/sts/",
        aws_access_key_id=own["aws_access_key_id"],
        aws_secret_access_key=own["aws_secret_access_key"],
    )


def test_botocore_takes_a_role(sandbox: Sandbox, bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {"RoleArn": aws.ROLE, "RoleSessionName": "tests", "DurationSeconds": 900}
    found = client(sandbox).assume_role(**asked, ExternalId=aws.EXTERNAL_ID)["Credentials"]
    assert found["AccessKeyId"].startswith("ASIA")
    assert found["SessionToken"]
    by_token = client(sandbox).assume_role_with_web_identity(**asked, WebIdentityToken=DEFAULT_KEY)
    assert by_token["AssumedRoleUser"]["Arn"] == f"{aws.ROLE}/tests"
    for made, more, code in (
        (client(sandbox), {}, "AccessDenied"),
        (client(sandbox, NOBODY), {"ExternalId": aws.EXTERNAL_ID}, "InvalidClientTokenId"),
    ):
        with pytest.raises(ClientError) as caught:
            made.assume_role(**asked, **more)
        assert caught.value.response["Error"]["Code"] == code


def test_botocore_asks_a_container_and_a_machine(sandbox: Sandbox, bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url, file = sandbox.url(AWS), tmp_path / "token"
    file.write_text(DEFAULT_KEY)
    said = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/v2/credentials/task",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
    }
    of_container = ContainerProvider(environ=said, fetcher=ContainerMetadataFetcher()).load()
    fetcher = InstanceMetadataFetcher(base_url=f"{url}/", timeout=5, num_attempts=1)
    of_machine = InstanceMetadataProvider(iam_role_fetcher=fetcher).load()
    for found in (of_container, of_machine):
        frozen = found.get_frozen_credentials()
        assert frozen.access_key.startswith("ASIA")
        assert frozen.token


# ours


def source(way: str, sandbox: Sandbox, tmp_path: Path) -> Any:
    file = tmp_path / "token"
    file.write_text(f"{DEFAULT_KEY}\n")
    url = sandbox.url(AWS)
    made = {
        "role": role(sandbox),
        "role of a machine": role(sandbox, base=Instance(url)),
        "web identity": WebIdentity(aws.ROLE, "tests", str(file), sts(sandbox)),
        "container": Container(f"{url}/v2/credentials/task", path=str(file)),
        "instance": Instance(url),
    }
    return made[way]


@pytest.mark.parametrize("way", ["role", "role of a machine", "web identity", "container", "instance"])
async def test_keys_are_given_out(sandbox: Sandbox, http: Http, tmp_path: Path, way: str) -> None:
    made = source(way, sandbox, tmp_path)
    token = await made.fetch(http)
    name, secret, session = json.loads(token.text)
    assert name.startswith("ASIA")
    assert 3500 < token.seconds <= 3600
    assert secret not in repr(token)
    assert hash(made) == hash(source(way, sandbox, tmp_path)), "equal ways share their keys"
    assert session


REFUSED: list[tuple[str, Mapping[str, Any], str]] = [
    ("wrong secret", {"base": Keys(keys().id, "wrong")}, "check aws_secret_access_key"),
    ("unknown key", {"base": keys(NOBODY)}, "check aws_access_key_id"),
    ("wrong external id", {"external_id": "somebody-else"}, "trust policy of aws_role_arn"),
    ("no external id", {"external_id": None}, "trust policy of aws_role_arn"),
    ("wrong region", {"sts": None}, "check the region"),
]


@pytest.mark.parametrize(("what", "changes", "words"), REFUSED)
async def test_what_sts_refuses_says_what_to_do(
    sandbox: Sandbox, http: Http, what: str, changes: Mapping[str, Any], words: str
) -> None:
    changes = {**changes, "sts": Sts("eu-west-1", sts(sandbox).endpoint)} if "sts" in changes else changes
    with pytest.raises(NoToken) as caught:
        await role(sandbox, **changes).fetch(http)
    assert words in str(caught.value), what
    assert DEFAULT_KEY not in str(caught.value)


async def test_a_token_file_and_an_agent_that_are_wrong(sandbox: Sandbox, http: Http, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(NOBODY)
    with pytest.raises(NoToken, match="trusts the identity provider") as caught:
        await WebIdentity(aws.ROLE, "tests", str(file), sts(sandbox)).fetch(http)
    assert NOBODY not in str(caught.value)
    with pytest.raises(NoToken, match="cannot be read"):
        await WebIdentity(aws.ROLE, "tests", str(tmp_path / "none"), sts(sandbox)).fetch(http)
    with pytest.raises(NoToken, match="neither TLS, loopback nor an agent"):
        await Container("http://agent.example/v2", "secret").fetch(http)
    with pytest.raises(NoToken, match="role of the task"):
        await Container(f"{sandbox.url(AWS)}/v2/credentials/task", NOBODY).fetch(http)
    with pytest.raises(NoToken, match="set aws_access_key_id"):
        await Instance("http://127.0.0.1:9").fetch(http)


def account(sandbox: Sandbox, http: Http, provider: str = AWS, **given: str) -> tuple[Any, Account]:
    lane = load(provider)
    more = {"anthropic_aws_workspace_id": "wrkspc_sandbox"} if provider == AWS else {}
    more |= {} if provider == AWS else {"vertex_project_id": "sandbox"}
    more |= {} if provider == AWS else {"anthropic_google_cloud_workspace_id": "wrkspc_sandbox"}
    read = lane.credentials.model_validate({**more, "custom_host": sandbox.url(provider), **given})
    return lane, Account("prod", read, http, "fingerprint")


def ways_of_aws(sandbox: Sandbox, tmp_path: Path) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Settings of an account, and its environment, by way."""
    file, url = tmp_path / "token", sandbox.url(AWS)
    file.write_text(DEFAULT_KEY)
    taken = {"aws_role_arn": aws.ROLE, "aws_external_id": aws.EXTERNAL_ID, "aws_sts_endpoint_url": f"{url}/sts"}
    machine, key = {"aws_ec2_metadata_url": url}, access_key(DEFAULT_KEY)
    agent = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/v2/credentials/task",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": DEFAULT_KEY,
    }
    web = {"AWS_ROLE_ARN": aws.ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file)}
    return {
        "assumed role": ({**key, **taken, "aws_auth_type": "assumedRole"}, {}),
        "key of the environment": ({}, {name.upper(): value for name, value in key.items()}),
        "role by the environment": (taken, {name.upper(): value for name, value in key.items()}),
        "web identity": ({"aws_sts_endpoint_url": f"{url}/sts"}, web),
        "web identity, asked for": ({"aws_auth_type": "webIdentity", "aws_sts_endpoint_url": f"{url}/sts"}, web),
        "container": ({}, agent),
        "container, asked for": ({"aws_auth_type": "container"}, agent),
        "instance": (machine, {}),
        "instance beside a container": ({**machine, "aws_auth_type": "instance"}, agent),
        "role by the instance": ({**machine, **taken}, {}),
        "role by a web identity": (taken, {**web, "AWS_ROLE_ARN": aws.POD_ROLE}),
    }


WAYS = [
    *("assumed role", "key of the environment", "role by the environment", "web identity", "web identity, asked for"),
    *("container", "container, asked for", "instance", "instance beside a container", "role by the instance"),
    "role by a web identity",
]


@pytest.mark.parametrize("way", WAYS)
async def test_an_account_of_aws_calls_by_each_way(
    sandbox: Sandbox, http: Http, bare: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    given, environ = ways_of_aws(sandbox, tmp_path)[way]
    for name, value in environ.items():
        bare.setenv(name, value)
    lane, prod = account(sandbox, http, **given)
    again = account(sandbox, http, **given)[1]
    for name in environ:
        bare.delenv(name)
    assert await lane.fence(prod)
    assert lane.account_key(prod.credentials) == lane.account_key(again.credentials)
    own = way == "assumed role"
    assert (prod.credentials.borrowed() is None) == own, "no caller acts as the machine"


async def test_keys_that_have_ended_are_renewed_once(sandbox: Sandbox, http: Http, bare: pytest.MonkeyPatch) -> None:
    url = sandbox.url(AWS)
    taken = {"aws_role_arn": aws.ROLE, "aws_external_id": aws.EXTERNAL_ID, "aws_sts_endpoint_url": f"{url}/sts"}
    lane, prod = account(sandbox, http, **access_key(DEFAULT_KEY), **taken)

    async def asked() -> int:
        return sum(each["op"] == "keys.assume" for each in await sandbox.requests())

    before = await asked()
    for _ in range(3):
        await lane.fence(prod)
    assert await asked() == before + 1
    await sandbox.advance(4000)  # our own clock does not know
    assert await lane.fence(prod)
    assert await asked() == before + 2
    await sandbox.advance(4000)
    await sandbox.options(AWS, key_seconds=-1.0)
    with pytest.raises(Refused) as caught:
        await lane.fence(prod)
    assert "the session is over" in caught.value.message
    assert await asked() == before + 3, "renewed once, then it is the provider's no"


# Google


def text_of(kind: str, sandbox: Sandbox, tmp_path: Path) -> str:
    url, file, sealed = sandbox.url(GOOGLE), tmp_path / "subject", tmp_path / "subject.json"
    file.write_text(f"{DEFAULT_KEY}\n")
    sealed.write_text(json.dumps({"id_token": DEFAULT_KEY}))
    person = {"type": "authorized_user", "client_id": CLIENT, "client_secret": CLIENT, "refresh_token": DEFAULT_KEY}
    pool = {
        "type": "external_account",
        "audience": google.AUDIENCE,
        "subject_token_type": google.JWT,
        "token_url": f"{url}/v1/token",
        "credential_source": {"file": str(file)},
    }
    shape = {"type": "json", "subject_token_field_name": "id_token"}
    lent = {"service_account_impersonation_url": f"{url}{google.LENT}"}
    whole = {"type": "impersonated_service_account", "source_credentials": person, **lent}
    made: dict[str, Any] = {
        "person": person,
        "pool": pool,
        "pool, JSON": {**pool, "credential_source": {"file": str(sealed), "format": shape}},
        "pool, AWS": {**pool, "subject_token_type": google.AWS4, "credential_source": source_on_aws(sandbox)},
        "pool, lent": {**pool, **lent, "service_account_impersonation": {"token_lifetime_seconds": 1200}},
        "lent": whole,
    }
    return json.dumps(made[kind])


def source_on_aws(sandbox: Sandbox) -> dict[str, str]:
    return {
        "environment_id": "aws1",
        "region_url": f"{sandbox.url(AWS)}{aws.ZONE}",
        "url": f"{sandbox.url(AWS)}/latest/meta-data/iam/security-credentials",
        "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
    }


KINDS = ["person", "pool", "pool, JSON", "pool, AWS", "pool, lent", "lent"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_account_of_google_calls_by_each_kind(
    sandbox: Sandbox, http: Http, bare: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    tokens = {"google_token_url": f"{sandbox.url(GOOGLE)}/token"}
    for name, value in access_key(DEFAULT_KEY).items():  # sign for those of the kind that asks for it
        bare.setenv(name.upper(), value)
    text = text_of(kind, sandbox, tmp_path)
    lane, prod = account(sandbox, http, GOOGLE, vertex_service_account_json=text, **tokens)
    assert await lane.fence(prod)
    assert prod.credentials.borrowed() == "vertex_service_account_json", "it names hosts and files"
    file = tmp_path / "adc.json"
    file.write_text(text)
    bare.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    by_default = account(sandbox, http, GOOGLE, **tokens)[1]
    assert await lane.fence(by_default)
    assert lane.account_key(by_default.credentials) == lane.account_key(prod.credentials)


@pytest.mark.parametrize("region", [None, "eu-west-1"])
async def test_a_workload_of_aws_signs_for_the_region_that_it_is_in(
    sandbox: Sandbox, http: Http, bare: pytest.MonkeyPatch, region: str | None
) -> None:
    if region:
        bare.setenv("AWS_REGION", region)
    for name, value in access_key(NOBODY).items():
        bare.setenv(name.upper(), value)
    text = json.dumps({**json.loads(text_of("pool, AWS", sandbox, Path(os.environ["HOME"])))})
    lane, prod = account(sandbox, http, GOOGLE, vertex_service_account_json=text)
    with pytest.raises(NoToken, match="Unable to verify the subject token"):
        await lane.fence(prod)
    asked = [each["op"] for each in await sandbox.requests()]
    assert ("keys.zone" in asked) == (region is None)


async def test_a_machine_of_google_and_what_gcloud_left(
    sandbox: Sandbox, http: Http, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare.setenv("GCE_METADATA_HOST", sandbox.url(GOOGLE).removeprefix("http://"))
    lane, prod = account(sandbox, http, GOOGLE)
    assert await lane.fence(prod)
    assert prod.credentials.borrowed() is not None
    folder = tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    (folder / "application_default_credentials.json").write_text(text_of("person", sandbox, tmp_path))
    lane, prod = account(sandbox, http, GOOGLE, google_token_url=f"{sandbox.url(GOOGLE)}/token")
    assert await lane.fence(prod)
    bare.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")
    with pytest.raises(ValueError, match="names no file that can be read"):
        account(sandbox, http, GOOGLE)


async def test_a_service_account_of_its_own_is_not_borrowed(sandbox: Sandbox, http: Http) -> None:
    prod = account(sandbox, http, GOOGLE, vertex_service_account_json=service_account(DEFAULT_KEY))[1]
    assert prod.credentials.borrowed() is None
    assert account(sandbox, http, GOOGLE, api_key=DEFAULT_KEY)[1].credentials.borrowed() is None


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("pool", {"audience": "//iam.googleapis.com/nobody"}, "check the audience"),
    ("pool", {"credential_source": {"file": "/no/such/file"}}, "cannot be read"),
    ("pool", {"credential_source": {"url": "http://127.0.0.1:9/x"}}, "check the url of credential_source"),
    ("person", {"refresh_token": NOBODY}, "log in again"),
]


@pytest.mark.parametrize(("kind", "changes", "words"), WRONG)
async def test_what_google_refuses_says_what_to_do(
    sandbox: Sandbox, http: Http, tmp_path: Path, kind: str, changes: dict[str, Any], words: str
) -> None:
    text = json.dumps(json.loads(text_of(kind, sandbox, tmp_path)) | changes)
    source = google_defaults.source_of(text, f"{sandbox.url(GOOGLE)}/token")
    with pytest.raises(TryLater, match=words) as caught:
        await source.fetch(http)
    assert NOBODY not in str(caught.value)


def test_no_secret_is_shown_of_a_way() -> None:
    secret = "s3cr3t-of-nobody-41d9"
    base = Keys("AKIA1", secret, secret)
    shown = [AssumedRole(base, "r", "s", None, Sts("x")), Container("http://localhost", secret)]
    assert secret not in repr([*shown, google_defaults.Person("c", secret, secret), aws_keys.Instance()])
