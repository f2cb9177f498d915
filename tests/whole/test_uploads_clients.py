"""Uploads end to end with the stock SDK: parts, one file, one batch; gzip beside it; and what the housekeeping does."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import sqlite3
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_answers
from tests.support.files_app import FORM_TYPE, closing, part
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import HEADERS, KEY, Gateway, lane
from tests.support.waiting import until

LINES = chat_lines(40, marker={5: "[[sandbox:error=400]]"})
CONTENT = jsonl(LINES)
VIRTUAL = {"x-portkey-virtual-key": "lane"}


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("uploads"), {"lane": lane(sandbox)})
    made.start()
    yield made
    made.close()


def test_upload_file_chunked(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    path.write_bytes(CONTENT)
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, default_headers=VIRTUAL) as client:
        upload = client.uploads.upload_file_chunked(
            file=path,
            mime_type="application/jsonl",
            purpose="batch",
            part_size=1000,
            md5=hashlib.md5(CONTENT).hexdigest(),
        )
        assert (upload.status, upload.filename, upload.bytes) == ("completed", "input.jsonl", len(CONTENT))
        assert upload.file is not None
        assert client.files.content(upload.file.id).read() == CONTENT
        assert client.files.wait_for_processing(upload.file.id).status == "processed"
    batch = gateway.create(upload.file.id)
    check_answers(gateway, gateway.until(batch["id"]), LINES)


async def test_parts_at_once_with_the_async_sdk(gateway: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=KEY, default_headers=VIRTUAL) as client:
        size = len(CONTENT)
        made = await client.uploads.create(
            bytes=size, filename="a.jsonl", mime_type="application/jsonl", purpose="batch"
        )
        assert made.expires_at == made.created_at + 3600
        pieces = [CONTENT[at : at + 3000] for at in range(0, size, 3000)]
        parts = await asyncio.gather(*(client.uploads.parts.create(made.id, data=piece) for piece in pieces))
        assert {part.upload_id for part in parts} == {made.id}
        with pytest.raises(openai.BadRequestError, match="no part of this upload"):
            await client.uploads.complete(made.id, part_ids=["part_unknown"])
        done = await client.uploads.complete(made.id, part_ids=[part.id for part in parts])
        assert done.file is not None
        assert (await client.files.content(done.file.id)).content == CONTENT
        with pytest.raises(openai.BadRequestError, match="its status is 'completed'"):
            await client.uploads.cancel(made.id)
        other = await client.uploads.create(bytes=1, filename="b", mime_type="application/jsonl", purpose="batch")
        assert (await client.uploads.cancel(other.id)).status == "cancelled"


def test_a_packed_upload_and_a_packed_create(gateway: Gateway) -> None:
    packed = {"content-encoding": "gzip"}
    form = part("purpose", b"batch") + part("file", CONTENT, "in.jsonl") + closing()
    file = gateway.call("POST", "/files", gzip.compress(form), headers={"content-type": FORM_TYPE} | packed)
    assert file["bytes"] == len(CONTENT)
    order = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = gateway.call("POST", "/batches", gzip.compress(json.dumps(order).encode()), headers=packed)
    check_answers(gateway, gateway.until(batch["id"]), LINES)
    with pytest.raises(urllib.error.HTTPError) as refused:
        gateway.call("POST", "/batches", b"not packed", headers=packed)
    assert (refused.value.code, json.load(refused.value)["error"]["code"]) == (400, "invalid_gzip")


def test_a_packed_file_fails_its_batch_with_the_remedy(gateway: Gateway) -> None:
    file_id = gateway.upload(gzip.compress(CONTENT), "in.jsonl.gz")
    batch = gateway.until(gateway.create(file_id)["id"])
    assert batch["status"] == "failed"
    (fault,) = batch["errors"]["data"]
    assert fault == {
        "code": "invalid_json_line",
        "message": "The file is packed (gzip), and batch files are not unpacked; upload the .jsonl file itself, "
        "or pack the whole request and say so with the header Content-Encoding: gzip.",
        "param": None,
        "line": 1,
    }


def test_the_housekeeping_removes_the_parts_of_an_upload_that_nobody_completed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path, {"lane": lane(sandbox)})
    try:
        gateway.start()
        with openai.OpenAI(base_url=gateway.url, api_key=KEY, default_headers=HEADERS) as client:
            upload = client.uploads.create(bytes=9, filename="a", mime_type="application/jsonl", purpose="batch")
            part = client.uploads.parts.create(upload.id, data=b"123456789")
        gateway.kill()
        blob = gateway.data / "files" / part.id[-2:] / part.id
        assert blob.read_bytes() == b"123456789"
        conn = sqlite3.connect(gateway.data / "registry.sqlite3")
        with conn:
            conn.execute("UPDATE uploads SET expires_at = expires_at - 7200")
        conn.close()
        gateway.start()
        until(lambda: not blob.exists(), gateway.tail)
    finally:
        gateway.close()
