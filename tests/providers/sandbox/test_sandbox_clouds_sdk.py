"""Azure's, AWS's and Google's stand-ins, driven by the clients that OpenAI's and Anthropic's SDKs have for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import AzureOpenAI

from proxy_plugin.providers.sandbox.claude_platform_aws import stand_in as aws
from proxy_plugin.providers.sandbox.claude_platform_google import stand_in as google
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.sigv4 import access_key
from tests.support import waiting

Make = Callable[..., Any]
VERSION = {"anthropic-version": "2023-06-01"}


def azure(sandbox: Sandbox, version: str = "2024-10-21", **more: Any) -> AzureOpenAI:
    proof = more or {"api_key": DEFAULT_KEY}
    return AzureOpenAI(azure_endpoint=sandbox.url("azure-openai"), api_version=version, max_retries=0, **proof)


def rows(client: AzureOpenAI, file_id: str) -> list[Any]:
    return [json.loads(line) for line in client.files.content(file_id).content.splitlines()]


def test_a_batch_of_azure_runs_from_upload_to_rows(sandbox: Sandbox) -> None:
    client = azure(sandbox)
    body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hello"}]}
    lines = [{"custom_id": str(n), "method": "POST", "url": "/chat/completions", "body": body} for n in range(5)]
    data = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("input.jsonl", data), purpose="batch")
    assert str(file.status) == "pending"
    endpoint: Any = "/chat/completions"
    with pytest.raises(openai.BadRequestError, match="not processed"):
        client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    waiting.until(lambda: client.files.retrieve(file.id).status == "processed", "the file is processed")
    made = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    assert (str(made.status), made.output_file_id, made.request_counts) == ("Validating", "", None)

    def ended() -> list[Any]:
        found = client.batches.retrieve(made.id)
        return [found] if str(found.status) == "Completed" else []

    batch = waiting.until(ended, "the end of the batch")[0]
    assert sorted(row["custom_id"] for row in rows(client, batch.output_file_id)) == [str(n) for n in range(5)]
    assert client.files.retrieve(batch.error_file_id).bytes == 0
    assert [each.id for each in client.batches.list()] == [made.id]


def test_azure_takes_an_entra_token_and_wants_a_dated_version(sandbox: Sandbox) -> None:
    form = "grant_type=client_credentials&client_id=sandbox-client&scope=https://cognitiveservices.azure.com/.default"
    token = _post(
        f"{sandbox.url('azure-openai')}/sandbox-tenant/oauth2/v2.0/token", f"{form}&client_secret={DEFAULT_KEY}"
    )
    assert [*azure(sandbox, azure_ad_token=token).batches.list()] == []
    with pytest.raises(openai.AuthenticationError):
        azure(sandbox, azure_ad_token="somebody's").batches.list()
    with pytest.raises(openai.NotFoundError):
        azure(sandbox, version="v1").batches.list()


def _post(url: str, form: str) -> str:
    import urllib.request

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = urllib.request.Request(url, form.encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["access_token"])


def _run(client: Anthropic, ask: Make) -> None:
    """A batch from its create to its results, whose address the SDK takes from the batch."""
    made = client.messages.batches.create(requests=[ask(f"r-{n}") for n in range(5)], extra_headers=VERSION)

    def ended() -> list[Any]:
        found = client.messages.batches.retrieve(made.id, extra_headers=VERSION)
        return [found] if found.processing_status == "ended" else []

    waiting.until(ended, "the end of the batch")
    results = client.messages.batches.results(made.id, extra_headers=VERSION)
    assert sorted(row.custom_id for row in results) == [f"r-{n}" for n in range(5)]
    assert [each.id for each in client.messages.batches.list(extra_headers=VERSION)] == [made.id]


@pytest.mark.parametrize("proof", ["key", "signature", "session"])
def test_claude_on_aws(sandbox: Sandbox, ask: Make, proof: str) -> None:
    if proof != "key":
        pytest.importorskip("boto3", reason="the SDK signs with boto3")
    names = {"aws_access_key_id": "aws_access_key", "aws_secret_access_key": "aws_secret_key"}
    account = access_key(DEFAULT_KEY, session=proof == "session")
    given = {names.get(name, name): value for name, value in account.items()} | {"aws_region": "us-east-1"}
    more: Any = {"api_key": DEFAULT_KEY} if proof == "key" else given
    url = sandbox.url(aws.STAND_IN.provider).removesuffix("/v1")
    with anthropic.AnthropicAWS(base_url=url, workspace_id=aws.WORKSPACE, max_retries=0, **more) as client:
        _run(client, ask)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"aws_secret_key": "another"}, "does not match"),
        ({"aws_region": "eu-west-1"}, "scoped"),
        ({"workspace_id": "wrkspc_other"}, "workspace"),
        ({"aws_access_key": "AKIA0000000000000000"}, "invalid"),
    ],
)
def test_claude_on_aws_refuses_what_is_not_the_accounts(sandbox: Sandbox, changed: dict[str, str], words: str) -> None:
    pytest.importorskip("boto3", reason="the SDK signs with boto3")
    account = access_key(DEFAULT_KEY)
    given: Any = {
        "aws_access_key": account["aws_access_key_id"],
        "aws_secret_key": account["aws_secret_access_key"],
        "aws_region": "us-east-1",
        "workspace_id": aws.WORKSPACE,
        **changed,
    }
    url = sandbox.url(aws.STAND_IN.provider).removesuffix("/v1")
    client = anthropic.AnthropicAWS(base_url=url, max_retries=0, **given)
    with client, pytest.raises(anthropic.APIStatusError, match=words):
        client.messages.batches.list(extra_headers=VERSION)


def test_claude_on_google(sandbox: Sandbox, ask: Make) -> None:
    base = f"{sandbox.url(google.STAND_IN.provider)}/{google.BASE}".removesuffix("/v1")
    with anthropic.AnthropicGoogleCloud(base_url=base, token_provider=lambda: DEFAULT_KEY, max_retries=0) as client:
        _run(client, ask)
    stranger = anthropic.AnthropicGoogleCloud(base_url=base, token_provider=lambda: "nobody's", max_retries=0)
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.batches.list(extra_headers=VERSION)
