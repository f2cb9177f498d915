"""What is true of every answer, whatever it answers: its request id, and HEAD beside GET."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiohttp import web

from proxy_plugin.storage.batch_folders import BatchFolders
from tests.support.rows import BATCH_ID, put_batch, put_file
from tests.support.served import KEY, TARGET, WANTED, WHO, Served, running
from tests.support.wire import Log, wire

REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")
OURS = {
    "file_id": "file-1",
    "batch_id": BATCH_ID,
    "upload_id": "upload_x",
    "model": "@lane/m",
    "provider": "openai",
    "endpoint_id": "we_x",
    "delivery_id": "wh_x",
    "name": "app.js",
}
VARYING = {"date", "x-request-id", "x-portkey-trace-id", "transfer-encoding", "content-length"}
ROW = b'{"id":"batch_req_012345678900000000","custom_id":"a","response":null,"error":null}\n'
LEDGER = b'{"line":1,"custom_id":"a","provider":"p","virtual_key":"lane","model":"m","outcome":"succeeded"}\n'


async def stocked(served: Served) -> None:
    """Store an ended batch with its input file and its ledger."""
    gateway = served.gateway
    await put_file(gateway.registry, bytes=len(ROW), state="processed")
    blob = gateway.blobs.path("file-1")
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(ROW)
    await put_batch(gateway.registry, state="completed", output_file_id="file-1")
    ledger = BatchFolders(gateway.data_dir).ledger(BATCH_ID)
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(LEDGER)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/v1/batches", WHO, None, 200),
        ("GET", f"/batches/{BATCH_ID}", WHO, None, 200),
        ("GET", "/v1/batches", {}, None, 401),
        ("GET", "/v1/batches", {"x-portkey-api-key": KEY, "x-portkey-trace-id": "mine"}, None, 200),
        ("POST", "/v1/batches", TARGET, WANTED | {"input_file_id": "file-x"}, 404),
        ("POST", "/v1/batches", TARGET, b"{", 400),
        ("POST", "/v1/batches", TARGET, WANTED, 200),
        ("PUT", "/v1/batches", WHO, None, 405),
        ("GET", "/v1/files/nobody/x/y", WHO, None, 404),
        ("GET", "/healthz", {}, None, 200),
        ("GET", "/readyz", {}, None, 200),
    ],
)
async def test_an_answer_carries_the_id_of_its_request(
    tmp_path: Path, method: str, path: str, headers: Mapping[str, str], body: object, status: int
) -> None:
    async with running(tmp_path) as served:
        await stocked(served)
        found = set()
        for _ in range(2):
            got, _, answered = await served.call(method, path, body, headers)
            assert got == status
            assert REQUEST_ID.fullmatch(answered["x-request-id"])
            found.add(answered["x-request-id"])
        assert len(found) == 2, "one trace may be many requests"


async def test_a_refused_invitation_carries_one_too_and_the_log_has_it(tmp_path: Path, log: Log) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        multipart = "Content-Type: multipart/form-data; boundary=edge"
        await client.send("POST", "/v1/files", multipart, "Expect: 100-continue", "Content-Length: 5000")
        answered = (await client.answer()).headers["x-request-id"]
        assert [line["request_id"] for line in log.lines("request")] == [answered]


async def test_what_the_application_answers_keeps_its_own_id(tmp_path: Path) -> None:
    async def own(request: web.Request) -> web.Response:
        return web.json_response({}, headers={} if request.query else {"X-Request-ID": "theirs"})

    app = web.Application()
    app.router.add_get("/own", own)
    async with running(tmp_path, app) as served:
        assert (await served.call("GET", "/own"))[2].getall("x-request-id") == ["theirs"]  # type: ignore[attr-defined]
        assert REQUEST_ID.fullmatch((await served.call("GET", "/own?x=1"))[2]["x-request-id"])


async def test_head_beside_every_get_tells_the_same_without_a_body(tmp_path: Path) -> None:
    app = web.Application()
    async with running(tmp_path, app) as served:
        await stocked(served)
        paths = {each.resource.canonical for each in app.router.routes() if each.resource and each.method == "GET"}
        assert len(paths) >= 2 * 9 + 3
        for path in sorted(paths):
            asked = re.sub(r"\{(\w+)[^}]*\}", lambda found: OURS[found[1]], path)
            async with served.session.get(served.url + asked, headers=WHO, allow_redirects=False) as answer:
                got, body = answer, await answer.read()
            async with wire(served) as client:
                await client.send("HEAD", asked, f"x-portkey-api-key: {KEY}")
                head = await client.answer(body=False)
                await client.send("GET", "/healthz")
                assert (await client.answer()).status == 200, f"{path}: nothing follows the headers"
            kept = {name.lower(): text for name, text in got.headers.items() if name.lower() not in VARYING}
            assert head.status == got.status, path
            assert {name: text for name, text in head.headers.items() if name not in VARYING} == kept, path
            assert head.headers.get("content-length", str(len(body))) == str(len(body)), path
