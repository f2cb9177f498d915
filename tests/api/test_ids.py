"""Ids that other gateways and buckets gave: 404 on every route, with a word about whose they look like."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from proxy_plugin.api import ids
from tests.support.rows import BATCH_ID, put_batch, put_file
from tests.support.served import KEY, WHO, Served, running
from tests.support.wire import wire

FOREIGN = {
    "pk_file_0123456789": "Portkey",
    "pk_batch_0123456789": "Portkey",
    "s3://bucket/folder/key.jsonl": "bucket",
    "gs://bucket/key.jsonl": "bucket",
    "file-bGl0ZWxsbV9wcm94eTphcHBsaWNhdGlvbi9vY3RldC1zdHJlYW0": "LiteLLM",
    "batch_bGl0ZWxsbV9wcm94eTphcHBsaWNhdGlvbg": "LiteLLM",
    "bGl0ZWxsbTpmaWxlLWFiYzttb2RlbCxncHQtNG8": "LiteLLM",
}
FILE_ROUTES = (("GET", ""), ("GET", "/content"), ("DELETE", ""))
BATCH_ROUTES = (("GET", ""), ("POST", "/cancel"), ("GET", "/output"), ("GET", "/lines"), ("POST", "/retry"))


async def ask(served: Served, method: str, path: str) -> tuple[int, str]:
    async with wire(served) as client:
        await client.send(method, f"/v1{path}", f"x-portkey-api-key: {KEY}")
        answer = await client.answer()
        return answer.status, str(answer.error["message"])


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_a_foreign_id_is_404_and_says_whose_it_looks_like(tmp_path: Path, foreign: str) -> None:
    async with running(tmp_path) as served:
        for spelling in (quote(foreign, safe=""), quote(quote(foreign, safe=""), safe="")):
            for method, path in FILE_ROUTES:
                status, message = await ask(served, method, f"/files/{spelling}{path}")
                assert (status, FOREIGN[foreign] in message, "Upload the file" in message) == (404, True, True), path
            for method, path in BATCH_ROUTES:
                status, message = await ask(served, method, f"/batches/{spelling}{path}")
                assert (status, FOREIGN[foreign] in message, "create the batch here" in message) == (404, True, True)


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_a_batch_of_a_foreign_file_is_refused_with_the_same_word(tmp_path: Path, foreign: str) -> None:
    async with running(tmp_path) as served:
        asked = {"input_file_id": foreign, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        status, answer, _ = await served.call("POST", "/v1/batches", asked)
        error = answer["error"]
        assert (status, error["param"], FOREIGN[foreign] in error["message"]) == (404, "input_file_id", True)


async def test_batch_ids_may_be_escaped_twice(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry)
        for spelling in (BATCH_ID.replace("_", "%5F"), BATCH_ID.replace("_", "%255F")):
            for path in ("", "/output"):
                async with served.session.get(f"{served.url}/v1/batches/{spelling}{path}", headers=WHO) as answer:
                    assert answer.status == 200, (spelling, path)
            status, page, _ = await served.call("GET", f"/v1/batches?after={spelling}")
            assert (status, page["data"]) == (200, [])


async def test_an_unknown_id_of_our_form_gets_no_guess(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        assert await ask(served, "GET", "/batches/batch_0") == (404, "No batch found with id 'batch_0'.")
        assert await ask(served, "GET", "/files/file-0") == (404, "No such File object: file-0")


@pytest.mark.parametrize("foreign", ["pk_file_" + "x" * 100, "s3://" + "y" * 4000, "z" * 128, "z" * 129, "\x00" * 9])
def test_little_of_an_id_is_repeated(foreign: str) -> None:
    for refusal in (ids.no_such_file(foreign), ids.no_such_batch(foreign)):
        assert foreign[:65] not in refusal.message
        assert refusal.message.isprintable()
