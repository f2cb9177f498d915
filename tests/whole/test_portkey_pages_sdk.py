"""The code blocks of Portkey's pages on files and batches as calls of its own SDK, with other base URL and keys.

Portkey's docs of 2026-08-21: "Files" and "Batches" of OpenAI, Azure OpenAI, Anthropic and Fireworks, blocks for Python.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, KEY, Gateway, lane
from tests.support.waiting import until

portkey_ai = pytest.importorskip("portkey_ai", reason="Portkey's SDK is not installed: pip install portkey-ai")

CHAT, COUNT = "/v1/chat/completions", 6
FIELDS: Mapping[str, Mapping[str, str]] = {  # what a page's client names beside the key
    "openai": {"openai_organization": "org-mine", "openai_project": "proj-mine"},
    "azure-openai": {
        "azure_resource_name": "mine",
        "azure_deployment_id": "gpt-4.1-mini",
        "azure_api_version": "v1",
        "azure_model_name": "gpt-4.1-mini",
    },
    "anthropic": {"anthropic_version": "2023-06-01"},
    "fireworks-ai": {"fireworks_account_id": "sandbox"},
}
FILED = [name for name in FIELDS if name != "anthropic"]  # whose pages upload a file
pytestmark = pytest.mark.sandbox(
    options={name: {**find(name).quick, "answers": "echo", "run_seconds": 0.1} for name in FIELDS}
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Gateway]:
    keys = {f"{name}-prod": lane(sandbox, provider=name) for name in FIELDS}
    made = Gateway(tmp_path_factory.mktemp("pages"), keys, server={"custom_hosts": ["127.0.0.1"]})
    made.start()
    yield made
    made.close()


@pytest.fixture(params=["own key", "slug", "virtual key"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(gateway: Gateway, sandbox: Sandbox, way: str) -> Iterator[Callable[..., Any]]:
    """Makes the client of a provider's page, its account named in one of the ways that the pages know."""
    with ExitStack() as stack:

        def make(provider: str, **more: Any) -> Any:
            named: dict[str, Any] = {"provider": f"@{provider}-prod"}
            if way == "virtual key":
                named = {"virtual_key": f"{provider}-prod"}
            elif way == "own key":
                named = {"provider": provider, "Authorization": f"Bearer {DEFAULT_KEY}", **FIELDS[provider]}
                named["custom_host"] = sandbox.url(provider)
            portkey = portkey_ai.Portkey(base_url=gateway.url, api_key=KEY, **named, **more)
            stack.callback(portkey.close)
            stack.callback(portkey.openai_client.close)
            return portkey

        yield make


def until_it_ends(portkey: Any, batch_id: str) -> Any:
    until(lambda: portkey.batches.retrieve(batch_id=batch_id).status in ENDS, "the end of the batch")
    return portkey.batches.retrieve(batch_id=batch_id)


@pytest.mark.parametrize("provider", FILED)
def test_files_and_a_batch_of_one(client: Callable[..., Any], sandbox: Sandbox, tmp_path: Path, provider: str) -> None:
    portkey, lines = client(provider), chat_lines(COUNT, model=find(provider).model)
    dataset = tmp_path / "dataset.jsonl"
    dataset.write_bytes(jsonl(lines))
    with dataset.open("rb") as file:
        uploaded = portkey.files.create(file=file, purpose="batch")
    assert uploaded.id in {each["id"] for each in portkey.files.list().data}
    assert portkey.files.retrieve(file_id=uploaded.id).filename == "dataset.jsonl"
    assert portkey.files.content(file_id=uploaded.id).content == dataset.read_bytes()
    order = {"input_file_id": uploaded.id, "endpoint": CHAT, "completion_window": "24h", "metadata": {"team": "evals"}}
    made = portkey.batches.create(**order)
    assert (made.object, made.metadata) == ("batch", {"team": "evals"})
    done = until_it_ends(portkey, made.id)
    assert (done.status, done.request_counts.completed) == ("completed", COUNT)
    assert made.id in {each["id"] for each in portkey.batches.list(limit=10).data}
    for content in (
        portkey.batches.output(batch_id=made.id).content,
        portkey.files.content(done.output_file_id).content,
    ):
        rows = [json.loads(line) for line in content.splitlines()]
        said = [row["response"]["body"]["choices"][0]["message"]["content"] for row in rows]
        assert said == [expected_text(CHAT, line["body"], "echo") for line in lines]
    assert portkey.files.delete(file_id=uploaded.id).deleted is True
    assert {entry["provider"] for entry in sandbox.control.log()} == {provider}
    assert sandbox.control.violations() == []


@pytest.mark.parametrize("strict", [True, False])
def test_anthropics_requests_travel_in_the_create(client: Callable[..., Any], strict: bool) -> None:
    portkey = client("anthropic", strict_open_ai_compliance=strict)
    said = [[{"role": "user", "content": f"Hello, world {n}"}] for n in range(COUNT)]
    model = find("anthropic").model
    requests = [
        {"custom_id": f"my-request-{n}", "params": {"model": model, "max_tokens": 100, "messages": each}}
        for n, each in enumerate(said)
    ]
    made = portkey.batches.create(
        input_file_id=None, endpoint="/v1/messages", completion_window="24h", requests=requests
    )
    assert until_it_ends(portkey, made.id).status == "completed"
    rows = [json.loads(line) for line in portkey.batches.output(batch_id=made.id).content.splitlines()]
    bodies = [row["response"]["body"] for row in rows]
    texts = [body["choices"][0]["message"]["content"] if strict else body["content"][0]["text"] for body in bodies]
    assert texts == [f"echo: Hello, world {n}" for n in range(COUNT)]


@pytest.mark.parametrize("provider", FILED)
def test_a_batch_is_cancelled(client: Callable[..., Any], sandbox: Sandbox, tmp_path: Path, provider: str) -> None:
    sandbox.control.options(provider, run_seconds=600)
    portkey, dataset = client(provider), tmp_path / "dataset.jsonl"
    dataset.write_bytes(jsonl(chat_lines(COUNT, model=find(provider).model)))
    with dataset.open("rb") as file:
        uploaded = portkey.files.create(file=file, purpose="batch")
    made = portkey.batches.create(input_file_id=uploaded.id, endpoint=CHAT, completion_window="24h")
    until(sandbox.control.log, "a job at the provider")
    assert portkey.batches.cancel(batch_id=made.id).status in {"cancelling", "cancelled"}
    assert until_it_ends(portkey, made.id).status == "cancelled"
