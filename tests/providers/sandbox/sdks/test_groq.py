"""OpenAI's stand-in in Groq's name, driven by Groq's official SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.waiting import until

groq = pytest.importorskip("groq", reason="Groq's SDK is not installed: pip install groq")
CHAT = "/v1/chat/completions"
GROQ = find("groq")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with Sandbox(providers=["groq"], options={"groq": GROQ.quick}) as sandbox:
        base = sandbox.url("groq").removesuffix("/openai/v1")  # the SDK's paths have it
        with groq.Groq(base_url=base, api_key=DEFAULT_KEY, max_retries=0) as made:
            yield made


def line_of(custom_id: str, text: str, model: str) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def create(client: Any, lines: list[Any], window: str = "24h") -> Any:
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    file = client.files.create(file=("a.jsonl", data), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window=window, metadata={"job": "42"})


def ended(client: Any, batch: Any) -> Any:
    until(lambda: client.batches.retrieve(batch.id).status == "completed", "the end")
    return client.batches.retrieve(batch.id)


def test_a_batch_of_several_models_runs(client: Any) -> None:
    lines = [line_of(f"r{n}", f"question {n}", GROQ.models[n % 2]) for n in range(6)]
    batch = ended(client, create(client, lines, "7d"))
    assert (batch.request_counts.completed, batch.request_counts.failed) == (6, 0)
    assert (batch.metadata, batch.completion_window) == ({"job": "42"}, "7d")
    rows = [json.loads(row) for row in client.files.content(batch.output_file_id).text().splitlines()]
    texts = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in rows}
    assert texts == {line["custom_id"]: expected_text(CHAT, line["body"]) for line in lines}


def test_a_line_that_is_no_good_is_named_on_a_batch_that_completes(client: Any) -> None:
    lines = [line_of("a", "one", GROQ.model), {**line_of("b", "two", GROQ.model), "method": "GET"}]
    batch = ended(client, create(client, lines))
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (2, 1, 1)
    (problem,) = json.loads(client.batches.with_raw_response.retrieve(batch.id).text())["errors"]
    assert (problem["param"], problem["line"]) == ("method", 2)


def test_the_list_is_paged_by_cursors(client: Any) -> None:
    made = [create(client, [line_of("a", "one", GROQ.model)]).id for _ in range(22)]
    page = client.batches.list()
    shown = [batch.id for batch in page.data]
    more = client.batches.list(extra_query={"cursor": page.paging["next_cursor"]})
    assert [*shown, *(batch.id for batch in more.data)][: len(made)] == made[::-1]


def test_files_are_listed_and_deleted(client: Any) -> None:
    file = client.files.create(file=("b.jsonl", b"{}\n"), purpose="batch")
    assert file.id in {each.id for each in client.files.list().data}
    assert client.files.info(file.id).filename == "b.jsonl"
    assert client.files.delete(file.id).deleted
    with pytest.raises(groq.NotFoundError):
        client.files.info(file.id)


def test_refusals_are_the_sdks_errors(client: Any) -> None:
    with pytest.raises(groq.BadRequestError) as window:
        create(client, [line_of("a", "one", GROQ.model)], "8d")
    assert window.value.body["error"]["param"] == "completion_window"
    with pytest.raises(groq.AuthenticationError):
        client.with_options(api_key="gsk_nobody").batches.list()
