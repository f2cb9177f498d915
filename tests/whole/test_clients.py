"""Stock clients through every route: openai-python, sync and async, and curl, against the real gateway process."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, KEY, Gateway, lane

LINES = chat_lines(12, marker={5: "[[sandbox:error=429]]"})
VIRTUAL = {"x-portkey-virtual-key": "lane"}


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("clients"), {"lane": lane(sandbox), "slow": lane(sandbox)})
    made.start()
    yield made
    made.close()


def check(output: str, error: str) -> None:
    rows = {row["custom_id"]: row for row in map(json.loads, filter(None, (output + error).split("\n")))}
    assert list(rows) == [line["custom_id"] for n, line in enumerate(LINES) if n != 5] + [LINES[5]["custom_id"]]
    for line in LINES:
        row = rows[line["custom_id"]]
        if line is LINES[5]:
            assert row["response"]["status_code"] == 429
        else:
            text = row["response"]["body"]["choices"][0]["message"]["content"]
            assert text == expected_text(line["url"], line["body"])


def test_openai_python(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    path.write_bytes(jsonl(LINES))
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, default_headers=VIRTUAL) as client:
        file = client.files.create(file=path, purpose="batch", expires_after={"anchor": "created_at", "seconds": 7200})
        assert (file.bytes, file.filename, file.purpose) == (path.stat().st_size, "input.jsonl", "batch")
        assert file.expires_at == file.created_at + 7200
        assert client.files.wait_for_processing(file.id).status == "processed"
        assert client.files.retrieve(file.id).id == file.id
        assert file.id in [each.id for each in client.files.list(purpose="batch", limit=1)]
        assert client.files.content(file.id).read() == path.read_bytes()
        batch = client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"team": "data"},
            output_expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert (batch.status, batch.metadata) == ("validating", {"team": "data"})
        while (batch := client.batches.retrieve(batch.id)).status not in ENDS:
            time.sleep(0.05)
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert (batch.request_counts.completed, batch.request_counts.failed) == (11, 1)
        assert batch.usage is not None
        assert batch.usage.total_tokens > 0
        assert batch.model == "gpt-4.1-nano"
        assert batch.output_file_id is not None
        assert batch.error_file_id is not None
        check(client.files.content(batch.output_file_id).text, client.files.content(batch.error_file_id).text)
        output = client.files.retrieve(batch.output_file_id)
        assert (output.purpose, output.expires_at) == ("batch_output", output.created_at + 3600)
        assert batch.id in [each.id for each in client.batches.list(limit=1)]
        with pytest.raises(openai.ConflictError):
            client.with_options(max_retries=0).batches.cancel(batch.id)
        assert client.files.delete(file.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file.id)


async def test_openai_python_async(gateway: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=KEY, default_headers=VIRTUAL) as client:
        file = await client.files.create(file=("a.jsonl", jsonl(LINES)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while (batch := await client.batches.retrieve(batch.id)).status not in ENDS:
            await asyncio.sleep(0.05)
        assert batch.output_file_id is not None
        assert batch.error_file_id is not None
        output = await client.files.content(batch.output_file_id)
        error = await client.files.content(batch.error_file_id)
        check(output.text, error.text)
        assert batch.id in [each.id async for each in client.batches.list()]
        assert file.id in [each.id async for each in client.files.list()]
        assert (await client.files.delete(file.id)).deleted


async def test_cancel_with_the_sdk_keeps_what_is_done(gateway: Gateway) -> None:
    async with openai.AsyncOpenAI(
        base_url=gateway.url, default_headers={"x-portkey-api-key": KEY, "x-portkey-provider": "@slow"}, api_key="-"
    ) as client:
        file = await client.files.create(file=("a.jsonl", jsonl(LINES)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert (await client.batches.cancel(batch.id)).status == "cancelling"
        assert (await client.batches.cancel(batch.id)).status in {"cancelling", "cancelled"}
        while (batch := await client.batches.retrieve(batch.id)).status not in ENDS:
            await asyncio.sleep(0.05)
        assert batch.status in {"cancelled", "completed"}
        assert batch.request_counts is not None
        assert batch.request_counts.completed + batch.request_counts.failed == len(LINES)


def curl(gateway: Gateway, *arguments: str) -> Any:
    headers = ["-H", f"x-portkey-api-key: {KEY}", "-H", "x-portkey-virtual-key: lane"]
    done = subprocess.run(["curl", "-sS", "--fail-with-body", *headers, *arguments], capture_output=True, check=True)
    return done.stdout


@pytest.mark.parametrize("root", ["/v1", ""])
def test_curl(root: str, gateway: Gateway, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(LINES))
    base = gateway.url.removesuffix("/v1") + root
    file = json.loads(curl(gateway, f"{base}/files", "-F", f"file=@{path}", "-F", "purpose=batch"))
    order = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    as_json = ["-H", "content-type: application/json"]
    batch = json.loads(curl(gateway, f"{base}/batches", *as_json, "-d", json.dumps(order)))
    while (batch := json.loads(curl(gateway, f"{base}/batches/{batch['id']}")))["status"] not in ENDS:
        time.sleep(0.05)
    texts = [
        curl(gateway, f"{base}/files/{batch[name]}/content").decode() for name in ("output_file_id", "error_file_id")
    ]
    check(*texts)
    assert curl(gateway, f"{base}/files/{file['id']}/content", "-r", "0-9") == path.read_bytes()[:10]
    assert json.loads(curl(gateway, f"{base}/files/{file['id']}", "-X", "DELETE"))["deleted"] is True
    assert batch["id"] in [each["id"] for each in json.loads(curl(gateway, f"{base}/batches"))["data"]]
