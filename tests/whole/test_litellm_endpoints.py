"""LiteLLM's own tests of its files and batches routes, call by call, against a gateway with LiteLLM's file.

Written anew after BerriAI/litellm, `tests/openai_endpoints_tests` (`test_openai_files_endpoints.py`,
`test_openai_batches_endpoint.py`, `test_model_based_routing_files_batches.py`, `test_bedrock_batches_api.py`,
`test_vertex_ai_batches_api.py`, `azure_endpoints_tests/test_e2e_azure_batches.py`; read 2026-11-30): that repository is
too large to be had at test time. The names are theirs. Not among them: fine-tuning, responses and skills, which are not
routes of ours, and `get_any_completed_batch_id_azure`, which no test of theirs calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.stack import Gateway

MASTER = "sk-master-of-the-tests-4a7f"
ACCOUNT_1, ACCOUNT_2 = "gpt-4o-test-account-1", "gpt-4o-test-account-2"
BEDROCK = "bedrock/batch-anthropic.claude-3-5-sonnet-20240620-v1:0"
VERTEX = "vertex_ai/gemini-2.5-flash-batches"
LINE: dict[str, Any] = {
    "custom_id": "ae006110bb364606||/workspace/saved_models/meta-llama/Meta-Llama-3.1-8B-Instruct",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "gpt-4o-2024-05-13", "max_tokens": 1024, "messages": [{"role": "user", "content": "Hello"}]},
}
FINE_TUNING = b'{"prompt": "Hello", "completion": "Hi"}'


def _params(sandbox: Sandbox, provider: str, model: str) -> dict[str, Any]:
    """Return the parameters of an entry that lead to a stand-in."""
    account = find(provider).virtual_key(sandbox.url(provider))
    return {"model": model} | {name: value for name, value in account.items() if name != "provider"}


def _of_files(sandbox: Sandbox, theirs: str, ours: str) -> dict[str, Any]:
    return {"custom_llm_provider": theirs} | {k: v for k, v in _params(sandbox, ours, "").items() if k != "model"}


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    models = {
        ACCOUNT_1: ("openai", "openai/gpt-4o"),
        ACCOUNT_2: ("openai", "openai/gpt-4o"),
        BEDROCK: ("bedrock", "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        VERTEX: ("vertex-ai", "vertex_ai/gemini-2.5-flash"),
    }
    said = {
        "model_list": [{"model_name": n, "litellm_params": _params(sandbox, *each)} for n, each in models.items()],
        "files_settings": [_of_files(sandbox, "openai", "openai"), _of_files(sandbox, "azure", "azure-openai")],
        "general_settings": {"master_key": MASTER},
    }
    made = Gateway(tmp_path_factory.mktemp("litellm"), {}, litellm=said)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """Return their client: LiteLLM's address has no version in it."""
    with openai.OpenAI(base_url=gateway.url.removesuffix("/v1"), api_key=MASTER, max_retries=0) as made:
        yield made


def lines(*models: str) -> bytes:
    made = [LINE | {"custom_id": f"request-{n}", "body": LINE["body"] | {"model": m}} for n, m in enumerate(models)]
    return "\n".join(map(json.dumps, made)).encode()


def ended(client: openai.OpenAI, gateway: Gateway, batch_id: str, **more: Any) -> Any:
    gateway.asks = {"x-portkey-api-key": MASTER, "x-portkey-virtual-key": ""}
    gateway.until(batch_id)
    return client.batches.retrieve(batch_id, **more)


def test_file_operations(client: openai.OpenAI) -> None:
    file = client.files.create(purpose="fine-tune", file=("mydata.jsonl", FINE_TUNING))
    assert file.id in {each.id for each in client.files.list()}
    assert (client.files.retrieve(file.id).purpose, client.files.retrieve(file.id).id) == ("fine-tune", file.id)
    content = client.files.content(file.id)
    assert (content.content, content.response.status_code) == (FINE_TUNING, 200)
    told = content.response.headers
    assert told["content-type"] == "application/octet-stream"
    assert int(told["content-length"]) == len(FINE_TUNING)
    assert file.filename in told["content-disposition"]
    assert told["x-request-id"]
    assert client.files.delete(file.id).deleted


def test_batches_operations(client: openai.OpenAI) -> None:
    file = client.files.create(purpose="batch", file=("input.jsonl", json.dumps(LINE).encode()))
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    found = client.batches.retrieve(batch.id)
    assert (found.id, found.input_file_id) == (batch.id, file.id)
    assert len(client.batches.list().data) > 0
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    assert client.files.delete(file.id).deleted is True


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_e2e_batches_files(client: openai.OpenAI, gateway: Gateway, provider: str) -> None:
    """A plain model outside of the list runs with the provider that is named."""
    more = {"custom_llm_provider": provider}
    file = client.files.create(purpose="batch", file=("input.jsonl", json.dumps(LINE).encode()), extra_body=more)
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"description": "input.jsonl"},
        extra_body=more,
    )
    batch = ended(client, gateway, batch.id, extra_query=more)
    assert (batch.status, batch.request_counts.completed) == ("completed", 1)
    content = client.files.content(batch.output_file_id, extra_query=more).content
    assert [json.loads(line)["custom_id"] for line in content.splitlines()] == [LINE["custom_id"]]
    jobs = gateway.call("GET", f"/batches/{batch.id}?include=jobs")["jobs"]
    assert {each["virtual_key"] for each in jobs} == {"files-openai" if provider == "openai" else "files-azure-openai"}
    assert batch.id in {each.id for each in client.batches.list(extra_query=more)}
    other = {"custom_llm_provider": "azure" if provider == "openai" else "openai"}
    assert batch.id not in {each.id for each in client.batches.list(extra_query=other)}


def test_scenario_1_encoded_file_id_routing(client: openai.OpenAI) -> None:
    file = client.files.create(
        purpose="batch", file=("batch.jsonl", lines("gpt-4o")), extra_headers={"x-litellm-model": ACCOUNT_1}
    )
    assert file.id.startswith("file-")
    assert (client.files.retrieve(file.id).id, client.files.retrieve(file.id).purpose) == (file.id, "batch")
    assert client.files.content(file.id).content == lines("gpt-4o")
    assert client.files.delete(file.id).deleted


def test_scenario_2_model_via_header_and_query(client: openai.OpenAI) -> None:
    headers, query = {"x-litellm-model": ACCOUNT_2}, {"model": ACCOUNT_2}
    file = client.files.create(purpose="fine-tune", file=("data.jsonl", FINE_TUNING), extra_headers=headers)
    assert client.files.list(extra_query=query).data
    assert client.files.delete(file.id, extra_headers=headers).deleted
    file = client.files.create(purpose="batch", file=("test.jsonl", b'{"test": "data"}'), extra_query=query)
    assert client.files.delete(file.id).deleted


def test_scenario_3_fallback_to_provider(client: openai.OpenAI) -> None:
    file = client.files.create(purpose="fine-tune", file=("fallback.jsonl", b'{"prompt": "Test"}'))
    assert not file.id.startswith("file-bGl0ZWxs")
    assert client.files.delete(file.id).deleted


@pytest.mark.parametrize("by_header", [False, True])
def test_scenarios_of_batches(client: openai.OpenAI, gateway: Gateway, *, by_header: bool) -> None:
    """The file was uploaded for a model: its batches run on that one's account, whether it is said again or not."""
    headers = {"x-litellm-model": ACCOUNT_1}
    file = client.files.create(purpose="batch", file=("b.jsonl", lines("gpt-4o", "gpt-4o")), extra_headers=headers)
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        extra_headers=headers if by_header else {},
    )
    assert batch.id.startswith("batch_")
    assert batch.input_file_id == file.id
    assert (client.batches.retrieve(batch.id).id, client.batches.retrieve(batch.id).input_file_id) == (
        batch.id,
        file.id,
    )
    batch = ended(client, gateway, batch.id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 2)
    jobs = gateway.call("GET", f"/batches/{batch.id}?include=jobs")["jobs"]
    assert {(each["virtual_key"], each["model"]) for each in jobs} == {(f"model-{ACCOUNT_1}", "gpt-4o")}
    assert batch.id in {each.id for each in client.batches.list(extra_query={"model": ACCOUNT_1})}
    assert batch.id not in {each.id for each in client.batches.list(extra_query={"model": ACCOUNT_2})}


def test_id_encoding_format(client: openai.OpenAI) -> None:
    headers = {"x-litellm-model": ACCOUNT_1}
    file = client.files.create(purpose="batch", file=("f.jsonl", b'{"test": "data"}'), extra_headers=headers)
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    for found, prefix in ((file.id, "file-"), (batch.id, "batch_")):
        assert found.startswith(prefix)
        assert len(found.removeprefix(prefix)) > 20
    assert batch.input_file_id == file.id


def test_invalid_model_name(client: openai.OpenAI) -> None:
    headers = {"x-litellm-model": "non-existent-model-12345"}
    with pytest.raises(openai.BadRequestError, match="not found in model_list"):
        client.files.create(purpose="batch", file=("e.jsonl", b'{"test": "data"}'), extra_headers=headers)


@pytest.mark.parametrize(("model", "provider"), [(BEDROCK, "bedrock"), (VERTEX, "vertex-ai")])
def test_batches_of_a_cloud(client: openai.OpenAI, gateway: Gateway, model: str, provider: str) -> None:
    """Upload with `target_model_names`, create without a word."""
    file = client.files.create(
        purpose="batch", file=("c.jsonl", lines("a", "b")), extra_body={"target_model_names": model}
    )
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"description": "Test batch job"},
    )
    assert batch.id
    headers = {"x-portkey-api-key": MASTER, "x-portkey-virtual-key": ""}
    asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions"}
    [target] = gateway.call("POST", "/batches/plan", asked, headers=headers)["targets"]
    assert (target["provider"], target["lines"]) == (provider, 2)


@pytest.mark.parametrize(
    "payload",
    [
        {"endpoint": "/v1/chat/completions"},
        {"endpoint": "/v1/chat/completions", "completion_window": "24h"},
        {"input_file_id": "file-123", "completion_window": "24h"},
        {"input_file_id": "file-123", "endpoint": "/v1/chat/completions"},
        {"input_file_id": "file-123", "endpoint": "/v1/invalid-endpoint", "completion_window": "24h"},
        {"input_file_id": "file-123", "endpoint": "/v1/chat/completions", "completion_window": "invalid-window"},
        {},
    ],
)
def test_azure_batches_error_shape(client: openai.OpenAI, payload: dict[str, Any]) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/v1/batches", cast_to=object, body=payload)
    assert caught.value.status_code in (400, 404)
    assert isinstance(caught.value.response.json()["error"]["message"], str)


def test_azure_batches_get_nonexistent(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch-nonexistent123")


def test_azure_batches_create_and_retrieve_success(client: openai.OpenAI, gateway: Gateway) -> None:
    more = {"custom-llm-provider": "azure"}
    file = client.files.create(purpose="batch", file=("b.jsonl", lines("gpt-4", "gpt-4")), extra_headers=more)
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", extra_headers=more
    )
    assert (made.object, made.endpoint, made.completion_window) == ("batch", "/v1/chat/completions", "24h")
    assert made.status in ("validating", "in_progress", "completed")
    assert isinstance(made.created_at, int)
    batch = ended(client, gateway, made.id)
    assert (batch.status, batch.input_file_id, batch.created_at) == ("completed", file.id, made.created_at)
    assert batch.completed_at
    results = [json.loads(line) for line in client.files.content(batch.output_file_id).content.splitlines()]
    assert {each["custom_id"] for each in results} == {"request-0", "request-1"}
    assert all(each["response"]["body"]["choices"][0]["message"]["content"] for each in results)
