"""Accounts of clouds that callers bring in Portkey's headers: each proof works, and no machine lends its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import openai
import pytest

from proxy_plugin.providers.sandbox.identity.aws import EXTERNAL_ID, ROLE
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.sigv4 import access_key
from proxy_plugin.providers.sandbox.stand_ins import find
from proxy_plugin.providers.sandbox.tokens import CLIENT, TENANT, service_account
from tests.support.folders import holding
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, KEY, Gateway
from tests.support.waiting import until

OWN = "sk-own-cl0ud-s3cr3t-key"
AZURE, AWS, GOOGLE = "azure-openai", "claude-platform-aws", "claude-platform-google"
pytestmark = pytest.mark.sandbox(keys=[OWN])
Headers = Mapping[str, str]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("byok"), {}, server={"custom_hosts": ["127.0.0.1"]})
    made.start()
    yield made
    made.close()


def bearer(key: str) -> Headers:
    return {"Authorization": f"Bearer {key}"}


def entra(url: str, **more: str) -> Headers:
    return {
        "azure-auth-mode": "entra",
        "azure-entra-tenant-id": TENANT,
        "azure-entra-client-id": CLIENT,
        "azure-entra-client-secret": OWN,
        "azure-authority-url": url,
        **more,
    }


def ways(url: str) -> dict[str, Headers]:
    """Headers without `x-portkey-`; `Authorization` is the one of that name."""
    azure = {"azure-resource-name": "mine", "azure-deployment-id": "gpt-4.1-mini", "azure-model-name": "gpt-4.1-mini"}
    aws = {"anthropic-aws-workspace-id": "wrkspc_sandbox"}
    google = {"vertex-project-id": "sandbox", "anthropic-google-cloud-workspace-id": "wrkspc_sandbox"}
    signing = {name.replace("_", "-"): value for name, value in access_key(OWN, session=True).items()}
    return {
        f"{AZURE} key v1": {**azure, **bearer(OWN), "azure-api-version": "v1"},
        f"{AZURE} key dated": {**azure, **bearer(OWN), "azure-api-version": "2024-10-21"},
        f"{AZURE} entra": {**azure, **entra(url)},
        f"{AWS} key": {**aws, **bearer(OWN)},
        f"{AWS} signature": {**aws, **signing, "aws-auth-type": "accessKey", "aws-region": "us-east-1"},
        f"{AWS} role by a signature": {
            **aws,
            **{name.replace("_", "-"): value for name, value in access_key(OWN).items()},
            "aws-auth-type": "assumedRole",
            "aws-role-arn": ROLE,
            "aws-external-id": EXTERNAL_ID,
            "aws-sts-endpoint-url": f"{url}/sts",
        },
        f"{GOOGLE} account": {
            **google,
            "vertex-service-account-json": service_account(OWN),
            "google-token-url": f"{url}/token",
        },
        f"{GOOGLE} token": {**google, **bearer(OWN)},
    }


def client(gateway: Gateway, sandbox: Sandbox, provider: str, sent: Headers) -> openai.OpenAI:
    headers = {name if name == "Authorization" else f"x-portkey-{name}": value for name, value in sent.items()}
    headers |= {
        "x-portkey-api-key": KEY,
        "x-portkey-provider": provider,
        "x-portkey-custom-host": sandbox.url(provider),
    }
    return openai.OpenAI(base_url=gateway.url, api_key=KEY, default_headers=headers, max_retries=0)


def order(caller: openai.OpenAI, provider: str) -> Any:
    lines = chat_lines(6, model=find(provider).model)
    file = caller.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    return caller.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


@pytest.mark.parametrize("way", ways(""))
def test_each_proof_runs_a_batch_and_is_written_nowhere(gateway: Gateway, sandbox: Sandbox, way: str) -> None:
    if "signature" in way and find_spec("botocore") is None:
        pytest.skip("signatures are botocore's")
    provider = way.split(maxsplit=1)[0]
    with client(gateway, sandbox, provider, ways(sandbox.url(provider))[way]) as caller:
        batch = order(caller, provider)
        until(lambda: caller.batches.retrieve(batch.id).status in ENDS, lambda: caller.batches.retrieve(batch.id))
        done = caller.batches.retrieve(batch.id)
        assert (done.status, done.errors, done.request_counts and done.request_counts.completed) == (
            "completed",
            None,
            6,
        )
    assert holding(gateway.home, OWN) == []
    assert sandbox.control.violations() == []


WORKSPACE = {"anthropic-aws-workspace-id": "wrkspc_sandbox"}
OWN_KEY = {name.replace("_", "-"): value for name, value in access_key(OWN).items()}
PROJECT = {"vertex-project-id": "p", "anthropic-google-cloud-workspace-id": "w"}
HOST = "http://169.254.169.254/token"
NAMING = [  # JSON that leads to files and hosts of whoever runs the gateway
    json.dumps(each)
    for each in (
        {
            "type": "external_account",
            "audience": "a",
            "subject_token_type": "t",
            "token_url": HOST,
            "credential_source": {"file": "/etc/hostname"},
        },
        {"type": "authorized_user", "client_id": "c", "client_secret": OWN, "refresh_token": OWN},
        {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": HOST,
            "source_credentials": json.loads(service_account(OWN)),
        },
    )
]


@pytest.mark.parametrize(
    ("provider", "sent", "words"),
    [
        (AZURE, {"azure-auth-mode": "managed"}, "own key"),
        (AZURE, {"azure-auth-mode": "managed", "Authorization": f"Bearer {OWN}"}, "does not go with"),
        (
            AZURE,
            {
                "azure-auth-mode": "workload",
                "azure-entra-tenant-id": "t",
                "azure-workload-client-id": "w",
                "azure-federated-token-file": "/etc/hostname",
            },
            "own key",
        ),
        (AZURE, entra("https://169.254.169.254"), "Invalid custom host"),
        (AWS, WORKSPACE, "own key"),
        (AWS, {**WORKSPACE, "aws-auth-type": "instance"}, "own key"),
        (AWS, {**WORKSPACE, "aws-role-arn": ROLE}, "own key"),
        (AWS, {**WORKSPACE, **OWN_KEY, "aws-profile": "default"}, "aws-profile: callers bring keys"),
        (AWS, {**WORKSPACE, "aws-profile": "nobody"}, "aws-profile: callers bring keys"),
        (
            AWS,
            {**WORKSPACE, "aws-role-arn": ROLE, "aws-web-identity-token-file": "/etc/hostname"},
            "callers bring keys",
        ),
        (
            AWS,
            {**WORKSPACE, "aws-auth-type": "container", "Authorization": f"Bearer {OWN}"},
            "AWS_CONT|give api_key",
        ),
        (AWS, {**WORKSPACE, **OWN_KEY, "aws-auth-type": "instance"}, "does not go with"),
        (AWS, {**WORKSPACE, **OWN_KEY, "aws-web-identity-token-file": "/etc/hostname"}, "callers bring keys"),
        (AWS, {**WORKSPACE, **OWN_KEY, "aws-sts-endpoint-url": "http://169.254.169.254"}, "Invalid custom host"),
        (GOOGLE, PROJECT, "own key"),
        *((GOOGLE, {**PROJECT, "vertex-service-account-json": text}, "for virtual keys") for text in NAMING),
        (GOOGLE, {**PROJECT, "vertex-service-account-json": "/etc/account.json"}, "JSON text itself"),
    ],
)
def test_no_caller_acts_as_the_machine(
    gateway: Gateway, sandbox: Sandbox, provider: str, sent: Headers, words: str
) -> None:
    with (
        client(gateway, sandbox, provider, sent) as caller,
        pytest.raises(openai.BadRequestError, match=words) as caught,
    ):
        order(caller, provider)
    assert OWN not in json.dumps(caught.value.body)
