"""Cohere's stand-in as the official SDK sees it, which reads Avro by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.support.waiting import until

cohere = pytest.importorskip("cohere", reason="the official SDK is not installed: pip install cohere")
EMBED, CHAT = "batch-embed-v2-input", "batch-openai-chat-input"


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Any]:
    httpx = pytest.importorskip("httpx", reason="the official SDK has it")
    with httpx.Client() as http:
        yield cohere.ClientV2(api_key=DEFAULT_KEY, base_url=sandbox.url("cohere"), httpx_client=http)


def texts(*said: str) -> list[dict[str, Any]]:
    inputs = ([{"content": [{"type": "text", "text": text}]}] for text in said)
    return [{"input_type": "search_document", "embedding_types": ["float"], "inputs": each} for each in inputs]


def chats(*said: str) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": text}]} for text in said]


def uploaded(client: Any, kind: str, bodies: list[dict[str, Any]]) -> str:
    lines = (json.dumps({"custom_id": str(n), "body": body}) + "\n" for n, body in enumerate(bodies))
    made = client.datasets.create(name="input", type=kind, data=("input.jsonl", "".join(lines).encode()))
    assert client.datasets.get(made.id).dataset.validation_status == "validated"
    return str(made.id)


def created(client: Any, dataset: str, model: str = "batch-embed-v4") -> str:
    return str(client.batches.create(request={"name": "b", "input_dataset_id": dataset, "model": model}).batch.id)


def ended(client: Any, batch_id: str) -> Any:
    over = {f"BATCH_STATUS_{word}" for word in ("COMPLETED", "FAILED", "CANCELED")}
    return until(
        lambda: found if (found := client.batches.retrieve(batch_id).batch).status in over else None, "the end"
    )


def results(client: Any, batch: Any, path: Path) -> list[dict[str, Any]]:
    dataset = client.datasets.get(batch.output_dataset_id).dataset
    pytest.importorskip("cohere.utils", reason="the SDK's own reader of Avro").save_jsonl(dataset, str(path))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_dataset_becomes_a_batch_and_an_avro_dataset(client: Any, tmp_path: Path) -> None:
    bodies = texts("hello", "there")
    batch = ended(client, created(client, uploaded(client, EMBED, bodies)))
    assert (batch.status, batch.num_records, batch.num_successful_records) == ("BATCH_STATUS_COMPLETED", 2, 2)
    rows = results(client, batch, tmp_path / "rows")
    assert sorted(row["custom_id"] for row in rows) == ["0", "1"]
    assert all(len(row["body"]["embeddings"]["float"]) == 1 for row in rows)


def test_a_chat_line_that_fails_has_no_body(client: Any, tmp_path: Path) -> None:
    dataset = uploaded(client, CHAT, chats("hello", "[[sandbox:error=400]]"))
    batch = ended(client, created(client, dataset, "command-a-03-2025"))
    assert (batch.num_successful_records, batch.num_failed_records) == (1, 1)
    rows = {row["custom_id"]: row for row in results(client, batch, tmp_path / "rows")}
    assert (rows["1"]["body"], rows["0"]["error"]) == (None, None)


def test_the_list_has_pages(client: Any) -> None:
    dataset = uploaded(client, EMBED, texts("hello"))
    made = [created(client, dataset) for _ in range(3)]
    first = client.batches.list(page_size=2)
    second = client.batches.list(page_size=2, page_token=first.next_page_token)
    assert [each.id for each in (*first.batches, *second.batches)] == made[::-1]
    assert not second.next_page_token


def test_a_batch_is_cancelled_while_it_runs_and_not_later(client: Any, sandbox: Sandbox) -> None:
    sandbox.control.options("cohere", run_seconds=600, cancel_seconds=600)
    batch = created(client, uploaded(client, EMBED, texts("hello")))
    client.batches.cancel(batch)
    assert client.batches.retrieve(batch).batch.status == "BATCH_STATUS_CANCELING"
    sandbox.control.advance(601)
    assert ended(client, batch).status == "BATCH_STATUS_CANCELED"
    with pytest.raises(cohere.BadRequestError):
        client.batches.cancel(batch)


def test_a_dataset_that_is_gone_makes_no_batch(client: Any) -> None:
    dataset = uploaded(client, EMBED, texts("hello"))
    client.datasets.delete(dataset)
    with pytest.raises(cohere.BadRequestError):
        created(client, dataset)
    with pytest.raises(cohere.NotFoundError):
        client.datasets.get(dataset)
