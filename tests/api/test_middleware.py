"""The way into our routes: refusals before the body, one shape for errors, trace ids, the request log."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.rows import BATCH_ID, put_batch, put_file
from tests.support.served import FORM, KEY, OTHER_KEY, TARGET, WHO, running
from tests.support.waiting import eventually
from tests.support.wire import Log, wire

MULTIPART = "Content-Type: multipart/form-data; boundary=edge"


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches", "/batches/x/cancel", "/v1/files/x/unknown"])
async def test_a_stranger_is_refused_before_the_body(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        await client.send("POST", path, MULTIPART, "Content-Length: 900000000")
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert answer.headers["connection"] == "close"
        assert json.loads(answer.body)["status"] == "failure"
        assert await client.ends()


async def test_a_client_that_goes_on_sending_can_read_the_refusal(tmp_path: Path) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        await client.send("POST", "/v1/files", MULTIPART, "Content-Length: 8000000")
        for _ in range(80):
            await client.write(bytes(100_000))
        assert (await client.answer()).status == 401


async def test_expect_is_answered_100_and_then_the_request(tmp_path: Path) -> None:
    body = FORM % b'{"custom_id":"a"}\n'
    async with running(tmp_path) as served, wire(served) as client:
        headers = (MULTIPART, f"x-portkey-api-key: {KEY}", "Expect: 100-continue", f"Content-Length: {len(body)}")
        await client.send("POST", "/v1/files", *headers)
        first = await client.answer()
        assert (first.status, first.body) == (100, b"")
        await client.write(body)
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["object"]) == (200, "file")
        await client.send("GET", "/v1/batches", f"x-portkey-api-key: {KEY}")
        assert (await client.answer()).status == 200, "the connection goes on"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/files", (MULTIPART,), 401),
        ("POST", "/v1/files", (MULTIPART, "x-portkey-api-key: wrong"), 401),
        ("POST", "/v1/files", ("Content-Type: text/plain", f"x-portkey-api-key: {KEY}"), 400),
        ("POST", "/v1/files", (MULTIPART, f"x-portkey-api-key: {KEY}", "Content-Encoding: deflate"), 415),
        ("POST", "/v1/batches", (), 401),
        ("PUT", "/v1/batches/x/y/z", (), 401),
    ],
)
async def test_expect_is_answered_with_the_refusal_itself(
    tmp_path: Path, method: str, path: str, headers: tuple[str, ...], status: int
) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        await client.send(method, path, *headers, "Expect: 100-continue", "Content-Length: 5000")
        answer = await client.answer()
        assert (answer.status, answer.error["type"]) == (status, "invalid_request_error")
        assert "x-portkey-trace-id" in answer.headers
        assert answer.headers["connection"] == "close"
        assert await client.ends()


async def test_expect_of_an_upload_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, limits={"max_file_bytes": 1000}) as served, wire(served) as client:
        headers = (MULTIPART, f"x-portkey-api-key: {KEY}", "Expect: 100-continue", "Content-Length: 5000000")
        await client.send("POST", "/v1/files", *headers)
        assert (await client.answer()).status == 413


async def test_an_unknown_expectation_is_417_in_our_shape(tmp_path: Path) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        key = f"x-portkey-api-key: {KEY}"
        await client.send("POST", "/v1/batches", key, "Expect: the-unexpected", "Content-Length: 5")
        answer = await client.answer()
        assert (answer.status, answer.error["message"]) == (417, "Expectation Failed.")
        assert b"unexpected" not in answer.body


async def test_an_http_1_0_client_is_never_sent_100(tmp_path: Path) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        headers = (f"x-portkey-api-key: {KEY}", "Expect: 100-continue", "Content-Length: 2")
        await client.send("POST", "/v1/batches", *headers, body=b"[]", version="1.0")
        assert (await client.answer()).status == 400


async def test_a_damaged_body_is_the_clients_fault(tmp_path: Path) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        headers = (f"x-portkey-api-key: {KEY}", "x-portkey-virtual-key: lane", "Content-Encoding: gzip")
        await client.send("POST", "/v1/batches", *headers, "Expect: 100-continue", "Content-Length: 9")
        assert (await client.answer()).status == 100
        await client.write(b"nonsense\n")
        answer = await client.answer()
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/v1/batches/{BATCH_ID}/unknown", 404),
        ("GET", "/v1/batches/", 404),
        ("DELETE", "/files/x/y", 404),
        ("PATCH", "/v1/files", 405),
        ("DELETE", "/batches", 405),
        ("GET", f"/v1/batches/{BATCH_ID}/cancel", 405),
    ],
)
async def test_paths_and_methods_we_do_not_have(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with running(tmp_path) as served:
        got, answer, headers = await served.call(method, path)
        assert (got, answer["error"]["type"]) == (status, "invalid_request_error")
        assert headers["x-portkey-trace-id"]
        assert ("Allow" in headers) == (status == 405)


async def test_405_names_the_methods_there_are(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        _, _, headers = await served.call("PUT", "/v1/batches")
        assert {name.strip() for name in headers["Allow"].split(",")} == {"GET", "HEAD", "POST"}


async def test_the_trace_id_is_the_clients_or_a_new_one(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        _, _, headers = await served.call("GET", "/v1/batches", headers=WHO | {"x-portkey-trace-id": "mine-1"})
        assert headers["x-portkey-trace-id"] == "mine-1"
        made = {(await served.call("GET", "/v1/batches"))[2]["x-portkey-trace-id"] for _ in range(3)}
        assert len(made) == 3
        _, _, headers = await served.call("GET", "/v1/files", headers={"x-portkey-trace-id": "of a stranger"})
        assert headers["x-portkey-trace-id"] not in made, "a refused request has one too"


async def test_portkeys_headers_answer_a_request_with_a_target(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry)
        for headers in (TARGET, WHO | {"x-portkey-provider": "@lane/some-model"}):
            status, _, answered = await served.call("GET", f"/v1/batches/{BATCH_ID}", headers=headers)
            assert (status, answered["x-portkey-provider"]) == (200, "openai")
            assert answered["x-portkey-last-used-option-index"] == "config"
        foreign = {"x-portkey-api-key": OTHER_KEY, "x-portkey-virtual-key": "lane"}
        for headers in (WHO, foreign, {"x-portkey-virtual-key": "lane"}):
            _, _, answered = await served.call("GET", f"/v1/batches/{BATCH_ID}", headers=headers)
            assert "x-portkey-provider" not in answered


async def test_a_defect_is_500_without_detail_and_logged_by_its_frames(tmp_path: Path, log: Log) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry, metadata="{the user's own words")
        status, answer, headers = await served.call("GET", f"/v1/batches/{BATCH_ID}")
        assert (status, answer["error"]["code"]) == (500, "internal_error")
        assert "words" not in json.dumps(answer)
        [line] = log.lines("request_failed")
        assert line["error_type"] == "JSONDecodeError"
        assert line["trace_id"] == headers["x-portkey-trace-id"]
        assert any("batch_object" in frame for frame in line["frames"])
        assert "words" not in log.stream.getvalue()
        assert (await served.call("GET", "/v1/batches/other"))[0] == 404, "the connection goes on"


async def test_one_log_line_tells_a_request_without_ids_or_keys(tmp_path: Path, log: Log) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry)
        await served.call("GET", f"/v1/batches/{BATCH_ID}?secret=in-the-query", headers=TARGET)
        await served.call("GET", "/v1/files/file-1", headers={"Authorization": "Bearer wrong-key"})
        first, second = log.lines("request")
        assert (first["method"], first["route"], first["status"]) == ("GET", "/v1/batches/{batch_id}", 200)
        assert (first["caller"], first["workspace"]) == ("first", "one")
        assert 0 <= first["ms"] < 5000
        assert (second["route"], second["status"], second["caller"]) == ("/v1/files/{file_id}", 401, None)
        for private in (BATCH_ID, "in-the-query", KEY, "wrong-key", "file-1"):
            assert private not in log.stream.getvalue()


async def test_a_refusal_under_expect_is_logged_too(tmp_path: Path, log: Log) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        await client.send("POST", "/v1/files", MULTIPART, "Expect: 100-continue", "Content-Length: 5000")
        await client.answer()
        [line] = log.lines("request")
        assert (line["route"], line["status"]) == ("/v1/files", 401)


async def test_a_client_that_hangs_up_in_its_body_is_no_fault_of_ours(tmp_path: Path, log: Log) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        headers = (f"x-portkey-api-key: {KEY}", "x-portkey-virtual-key: lane", "Content-Length: 1000")
        await client.send("POST", "/v1/batches", *headers, body=b'{"input_')
        await asyncio.sleep(0)
        client.hang_up()
        await eventually(lambda: log.lines("request"))
        assert [line["status"] for line in log.lines("request")] == [499]
        assert (await served.call("GET", "/v1/batches"))[0] == 200
        assert "error" not in {json.loads(line)["level"] for line in log.stream.getvalue().splitlines()}


async def test_a_content_that_breaks_off_does_not_look_complete(tmp_path: Path, log: Log) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        size = 64 * 2**20  # more than the sockets between us hold, so the end is still to be read when it goes
        await put_file(served.gateway.registry, bytes=size, state="processed")
        path = served.gateway.blobs.path("file-1")
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as blob:
            blob.truncate(size)
        await client.send("GET", "/v1/files/file-1/content", f"x-portkey-api-key: {KEY}")
        head = await client._reader.readuntil(b"\r\n\r\n")
        assert f"Content-Length: {size}".encode() in head
        with path.open("r+b") as blob:
            blob.truncate(1000)
        got = 0
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while data := await client._reader.read(2**20):
                    got += len(data)
        assert got < size
        [line] = log.lines("request")
        assert line["status"] == 500


async def test_the_requests_of_one_workspace_leave_room_for_others(tmp_path: Path) -> None:
    headers = (f"x-portkey-api-key: {KEY}", "Content-Type: application/json", "Content-Length: 100")
    async with (
        running(tmp_path, connections={"max_requests_per_workspace": 2}) as served,
        wire(served) as one,
        wire(served) as two,
    ):
        for client in (one, two):
            await client.send("POST", "/v1/batches", *headers, body=b"{")
        await eventually(lambda: served.gateway.traffic.requests["one"] == 2)
        status, answer, _ = await served.call("GET", "/v1/batches")
        assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
        assert (await served.call("GET", "/v1/batches", headers={"x-portkey-api-key": OTHER_KEY}))[0] == 200
        assert (await served.call("GET", "/healthz"))[0] == 200
        one.hang_up()
        await eventually(lambda: served.gateway.traffic.requests["one"] == 1)
        assert (await served.call("GET", "/v1/batches"))[0] == 200
    assert served.gateway.traffic.requests == {}
