"""OpenAI's stand-in in the names of Perplexity and Zhipu, driven by their own official SDKs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.waiting import until


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    names = ("perplexity-ai", "zhipu")
    with Sandbox(providers=names, options={name: find(name).quick for name in names}) as running:
        yield running


def sdk(module: str, package: str) -> Any:
    pytest.importorskip(module, reason=f"the SDK is not installed: pip install {package}")
    return import_module(module)


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_perplexitys_sdk_gets_the_first_batch_of_a_key_and_its_answers(sandbox: Sandbox) -> None:
    made = sdk("perplexity", "perplexityai")
    body = {"model": "perplexity/sonar", "input": [{"role": "user", "content": "hello"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}
    base = sandbox.url("perplexity-ai").removesuffix("/v1")  # the SDK's paths have it
    with made.Perplexity(base_url=base, api_key=DEFAULT_KEY, max_retries=0) as client:
        file = client.files.create(file=("a.jsonl", jsonl(line)), purpose="batch")
        order = {"endpoint": "/v1/responses", "input_file_id": file.id, "idempotency_key": "k1", "metadata": {"m": "1"}}
        batch = client.batches.create(**order)
        assert client.batches.create(**order).id == batch.id
        until(lambda: client.batches.retrieve(batch.id).status == "completed", "the end")
        batch = client.batches.retrieve(batch.id)
        content = client.files.content(batch.output_file_id)
        assert client.files.retrieve(file.id).filename == "a.jsonl"
        assert [each.id for each in client.batches.list().data] == [batch.id]
    assert (batch.metadata, batch.request_counts.completed) == ({"m": "1"}, 1)
    text = content.read() if hasattr(content, "read") else content
    assert expected_text("/v1/responses", body) in str(text)


def test_zhipus_sdk_runs_a_batch(sandbox: Sandbox) -> None:
    made = sdk("zai", "zai-sdk")
    body = {"model": "glm-4.7", "messages": [{"role": "user", "content": "hello"}]}
    line = {"custom_id": "a-line", "method": "POST", "url": "/v4/chat/completions", "body": body}
    client = made.ZhipuAiClient(base_url=sandbox.url("zhipu"), api_key=DEFAULT_KEY, disable_token_cache=True)
    file = client.files.create(file=("a.jsonl", jsonl(line)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v4/chat/completions", completion_window="24h", auto_delete_input_file=False
    )
    until(lambda: client.batches.retrieve(batch.id).status == "completed", "the end")
    batch = client.batches.retrieve(batch.id)
    assert [each.id for each in client.batches.list(limit=5).data] == [batch.id]
    listed = client.files.list(purpose="batch", limit=100, order="created_at")
    assert file.id in {each.id for each in listed.data}
    content = client.files.content(batch.output_file_id).content
    assert expected_text("/v1/chat/completions", body) in content.decode()
