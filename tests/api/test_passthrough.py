"""What is not ours goes to the upstream and back as it is, while it is still coming."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.served import KEY, WHO, Served, running
from tests.support.waiting import eventually
from tests.support.wire import Log, wire


@dataclass
class Behind:
    """The application behind the gateway: shows what it was asked, and behaves oddly on request."""

    port: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def show(self, request: web.Request) -> web.Response:
        headers = [[name, value] for name, value in request.headers.items()]
        asked = {"method": request.method, "target": request.raw_path, "headers": headers}
        self.seen.append(asked | {"body": (await request.read()).decode("latin-1")})
        return web.json_response(self.seen[-1], status=203, headers={"X-Upstream": "yes"})

    async def count(self, request: web.Request) -> web.Response:
        async for piece in request.content.iter_any():
            self.pieces.append(piece)
        return web.json_response({"bytes": sum(map(len, self.pieces))})

    async def drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self.go_on.wait()
        self.go_on.clear()
        await response.write(b"data: 1\n\n")
        await self.go_on.wait()
        await response.write(b"data: 2\n\n")
        return response

    async def hang(self, request: web.Request) -> web.StreamResponse:
        self.seen.append({"target": request.raw_path})
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return web.Response()

    async def break_off(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if "length" in request.query:
            response.content_length = 1000
        await response.prepare(request)
        await response.write(b"half of it")
        assert request.transport is not None
        request.transport.close()
        return response

    async def zipped(self, _: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"hello"), headers={"Content-Encoding": "gzip"})

    async def redirect(self, _: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("http://other.invalid/place")

    async def refuse(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=413)  # of unknown length: its end has to be passed on too
        await response.prepare(request)
        await response.write(b"too large")
        return response

    async def cookies(self, _: web.Request) -> web.Response:
        response = web.Response(headers={"Connection": "X-Hop", "X-Hop": "not for the client", "Server": "behind/1"})
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        return response


@asynccontextmanager
async def behind() -> AsyncIterator[Behind]:
    it = Behind()
    app = web.Application()
    for path, handler in (
        ("/count", it.count),
        ("/drip", it.drip),
        ("/hang", it.hang),
        ("/break", it.break_off),
        ("/zipped", it.zipped),
        ("/redirect", it.redirect),
        ("/cookies", it.cookies),
        ("/refuse", it.refuse),
        ("/{rest:.*}", it.show),
    ):
        app.router.add_route("*", path, handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    it.port = site.port
    try:
        yield it
    finally:
        await runner.cleanup()


@asynccontextmanager
async def fronted(tmp_path: Path, path: str = "", **sections: Any) -> AsyncIterator[tuple[Served, Behind]]:
    async with behind() as it:
        upstream = {"upstream": f"http://127.0.0.1:{it.port}{path}"}
        async with running(tmp_path, server=upstream, **sections) as served:
            yield served, it


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_method_target_headers_and_body_arrive_as_sent(tmp_path: Path, method: str) -> None:
    async with fronted(tmp_path) as (served, it), wire(served) as client:
        target = "/v1/chat%2Fcompletions//x?b=2&a=%20%2B+&a=1&empty="
        headers = ("X-Twice: 1", "X-Twice: 2", "Content-Type: text/odd", "Content-Length: 5", "User-Agent: mine")
        await client.send(method, target, *headers, body=b"h\xe9llo")
        answer = await client.answer()
        assert (answer.status, answer.headers["x-upstream"]) == (203, "yes")
        [seen] = it.seen
        assert (seen["method"], seen["target"], seen["body"]) == (method, target, "h\xe9llo")
        assert [value for name, value in seen["headers"] if name == "X-Twice"] == ["1", "2"]
        named = {name.lower(): value for name, value in seen["headers"]}
        assert (named["content-type"], named["user-agent"]) == ("text/odd", "mine")
        assert (named["host"], named["x-forwarded-host"]) == ("gateway", "gateway")
        assert (named["x-forwarded-for"], named["x-forwarded-proto"]) == ("127.0.0.1", "http")
        assert {"accept", "accept-encoding", "expect"}.isdisjoint(named)


async def test_a_base_path_goes_in_front(tmp_path: Path) -> None:
    async with fronted(tmp_path, "/litellm/") as (served, it):
        await served.call("GET", "/v1/moderations?x=1")
        assert it.seen[0]["target"] == "/litellm/v1/moderations?x=1"


async def test_a_target_cannot_name_another_host(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        for target in (
            "http://other.invalid/v1/moderations",
            "//other.invalid/v1/moderations",
            "/@other.invalid/v1/moderations",
        ):
            async with wire(served) as client:
                await client.send("GET", target)
                assert (await client.answer()).status == 203
        assert len(it.seen) == 3


async def test_our_routes_stay_ours_in_front_of_an_upstream(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        assert (await served.call("GET", "/v1/batches"))[1]["object"] == "list"
        assert (await served.call("GET", "/v1/batches/x/unknown"))[0] == 404
        assert (await served.call("GET", "/healthz"))[0] == 200
        assert not it.seen


DISGUISED = [
    "//v1/files",
    "/v1/./files",
    "/v1//files",
    "/v1/files%0a",
    "/v1/files%00",
    "/v1/files%20",
    "/v1/%2e/files",
    "/v1%2Ffiles",
    "/chat/../v1/batches",
    "/v1/%2566iles",
    "/V1/Files",
    "/batches;a=b",
    "/v1\\uploads",
    "/..",
    "//healthz",
    "/v1/models/",
]


@pytest.mark.parametrize("target", DISGUISED)
async def test_a_path_of_ours_in_disguise_goes_nowhere(tmp_path: Path, target: str) -> None:
    async with fronted(tmp_path) as (served, it), wire(served) as client:
        await client.send("GET", target, f"x-portkey-api-key: {KEY}")
        answer = await client.answer()
        assert (answer.status, answer.error["type"]) == (404, "invalid_request_error")
        assert not it.seen


@pytest.mark.parametrize("line", ["OPTIONS *", "CONNECT other.invalid:443"])
async def test_what_has_no_path_is_not_passed_on(tmp_path: Path, line: str) -> None:
    async with fronted(tmp_path) as (served, it), wire(served) as client:
        await client.send(*line.split())
        assert (await client.answer()).status == 404
        assert not it.seen


@pytest.mark.parametrize("target", [target for target in DISGUISED if target not in ("/..", "//healthz")])
async def test_a_route_of_the_application_for_all_paths_does_not_get_it_either(tmp_path: Path, target: str) -> None:
    async def all_paths(request: web.Request) -> web.Response:
        return web.json_response(request.path)

    app = web.Application()
    app.router.add_get("/Files/{name}", all_paths)
    app.router.add_get("/{path:(?s:.*)}", all_paths)
    async with running(tmp_path, app) as served, wire(served) as client:
        await client.send("GET", target)
        assert (await client.answer()).status == 404
        for own in ("/v1/other", "/Files/of-its-own"):
            await client.send("GET", own)
            assert (await client.answer()).status == 200


async def test_the_applications_own_routes_come_before_the_upstream(tmp_path: Path) -> None:
    async def own(request: web.Request) -> web.Response:
        return web.json_response("own")

    async with behind() as it:
        app = web.Application()
        app.router.add_get("/own", own)
        async with running(tmp_path, app, server={"upstream": f"http://127.0.0.1:{it.port}"}) as served:
            assert (await served.call("GET", "/own"))[1] == "own"
            assert (await served.call("POST", "/own", {}))[0] == 203, "what it does not serve goes on"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-portkey-api-key": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"x-portkey-api-key": "wrong", "Authorization": f"bearer {KEY}"},
        {"x-api-key": KEY, "Authorization": "Bearer sk-other"},
    ],
)
async def test_our_key_is_not_passed_on(tmp_path: Path, headers: dict[str, str]) -> None:
    async with fronted(tmp_path) as (served, it):
        await served.call("GET", "/v1/moderations", headers=headers | {"X-Other": "kept"})
        assert KEY not in json.dumps(it.seen)
        assert ["X-Other", "kept"] in it.seen[0]["headers"]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("Cookie", f"a=1; key={KEY}; b=2", "a=1; b=2"),
        ("Cookie", f"key={KEY}", None),
        ("Cookie", f"key=%22{KEY}%22; b=2", "b=2"),
        ("Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{KEY}, v1", "realtime, v1"),
        ("Authorization", "Basic " + base64.b64encode(f"user:{KEY}".encode()).decode(), None),
        ("Authorization", f"Token {KEY}", None),
        ("X-Anything", KEY, None),
        ("X-Anything", f"prefix-{KEY}-suffix", None),
        ("Referer", f"https://app.example/?api_key={KEY}", None),
        ("X-Forwarded-Authorization", f"Bearer {KEY}", None),
        ("api-key", KEY, None),
        ("X-Anything", "another-value", "another-value"),
    ],
)
async def test_our_key_is_dropped_wherever_it_stands(tmp_path: Path, name: str, value: str, kept: str | None) -> None:
    async with fronted(tmp_path) as (served, it):
        await served.call("GET", f"/v1/moderations?a=1&key={KEY}&b=%2B", headers=WHO | {name: value})
        (seen,) = it.seen
        assert KEY not in json.dumps(seen)
        assert seen["target"] == "/v1/moderations?a=1&b=%2B"
        assert [each[1] for each in seen["headers"] if each[0].lower() == name.lower()] == ([kept] if kept else [])


async def test_a_credential_of_the_upstream_is_passed_on(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        await served.call("GET", "/v1/moderations", headers={"Authorization": "Bearer sk-litellm"})
        await served.call("GET", "/v1/moderations", headers=WHO | {"Authorization": "Bearer sk-litellm"})
        for seen in it.seen:
            assert ["Authorization", "Bearer sk-litellm"] in seen["headers"]


async def test_hop_by_hop_headers_end_here(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it), wire(served) as client:
        headers = (
            "Connection: X-Mine",
            "X-Mine: 1",
            "TE: trailers",
            "Keep-Alive: 5",
            "Proxy-Authorization: Basic eA==",
        )
        await client.send("GET", "/v1/moderations", *headers)
        await client.answer()
        names = {name.lower() for name, _ in it.seen[0]["headers"]}
        assert names.isdisjoint({"x-mine", "te", "keep-alive", "proxy-authorization"})
        async with served.session.get(served.url + "/cookies") as answer:
            assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
            assert "X-Hop" not in answer.headers
            assert answer.headers["Server"] == "behind/1"


async def test_cookies_are_not_kept_for_the_next_client(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        async with aiohttp.ClientSession() as one:
            await one.get(served.url + "/cookies")
        async with aiohttp.ClientSession() as other:
            await other.get(served.url + "/v1/moderations")
        assert not [name for name, _ in it.seen[0]["headers"] if name.lower() == "cookie"]


async def test_an_answer_reaches_the_client_while_it_is_still_coming(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it), asyncio.timeout(10):
        answer = await served.session.get(served.url + "/drip")  # its headers come before its first byte
        assert answer.content_type == "text/event-stream"
        it.go_on.set()
        assert await answer.content.readany() == b"data: 1\n\n"
        it.go_on.set()
        assert await answer.content.read() == b"data: 2\n\n"


@pytest.mark.parametrize("length", [True, False])
async def test_a_body_reaches_the_upstream_while_it_is_still_coming(tmp_path: Path, length: bool) -> None:
    async with fronted(tmp_path) as (served, it), wire(served) as client:
        size = "Content-Length: 11" if length else "Transfer-Encoding: chunked"
        await client.send("POST", "/count", size)
        await client.write(b"hello " if length else b"6\r\nhello \r\n")
        await eventually(lambda: b"".join(it.pieces) == b"hello ")
        await client.write(b"world" if length else b"5\r\nworld\r\n0\r\n\r\n")
        await eventually(lambda: b"".join(it.pieces) == b"hello world")


@pytest.mark.parametrize("length", [True, False])
async def test_a_body_that_does_not_come_is_the_clients_fault(tmp_path: Path, log: Log, length: bool) -> None:
    async with fronted(tmp_path, connections={"max_body_seconds": 0.2}) as (served, _), wire(served) as client:
        await client.send("POST", "/count", "Content-Length: 11" if length else "Transfer-Encoding: chunked")
        await client.write(b"hello " if length else b"6\r\nhello \r\n")
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert log.lines("upstream_failed") == []


async def test_a_refusal_comes_back_before_the_body_is_sent(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, _), wire(served) as client, asyncio.timeout(5):
        await client.send("POST", "/refuse", "Content-Length: 1000000", body=b"the first bytes")
        head = await client._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413")
        assert await client._reader.readuntil(b"0\r\n\r\n") == b"9\r\ntoo large\r\n0\r\n\r\n"


async def test_a_large_body_passes_whole(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, _):
        size = 30 * 2**20
        async with served.session.post(served.url + "/count", data=io.BytesIO(bytes(size))) as answer:
            assert (await answer.json())["bytes"] == size


async def test_a_compressed_body_arrives_with_the_right_length(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        headers = {"Content-Encoding": "gzip"}
        async with served.session.post(served.url + "/x", data=gzip.compress(b"hello"), headers=headers) as answer:
            assert answer.status == 203
        assert it.seen[0]["body"] == "hello"


async def test_a_compressed_answer_is_passed_back_byte_for_byte(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, _), aiohttp.ClientSession(auto_decompress=False) as plain:
        answer = await plain.get(served.url + "/zipped")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await answer.read()) == b"hello"


async def test_a_redirect_is_passed_back(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, _):
        answer = await served.session.post(served.url + "/redirect", data=b"x", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (307, "http://other.invalid/place")


async def test_head_has_headers_and_no_body(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it), wire(served) as client:
        await client.send("HEAD", "/v1/moderations")
        head = (await client._reader.readuntil(b"\r\n\r\n")).decode()
        assert "X-Upstream: yes" in head
        assert "Content-Length" in head
        await client.send("GET", "/zipped", "Connection: close")
        assert (await client._reader.read(15)).startswith(b"HTTP/1.1 200")
        assert [seen["method"] for seen in it.seen] == ["HEAD"]


async def test_an_upstream_that_is_down_is_502(tmp_path: Path, log: Log) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        upstream = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with running(tmp_path, server={"upstream": upstream}) as served:
            for method, body in (("GET", None), ("POST", {"some": "body"})):
                status, answer, _ = await served.call(method, "/v1/moderations", body)
                assert (status, answer["error"]["code"]) == (502, "upstream_failed")
                assert str(taken.getsockname()[1]) not in json.dumps(answer)
    assert [line["status"] for line in log.lines("request")] == [502, 502]


@pytest.mark.parametrize("query", ["", "?length=yes"])
async def test_an_answer_that_breaks_off_breaks_off_here_too(tmp_path: Path, query: str) -> None:
    async with fronted(tmp_path) as (served, _):
        with pytest.raises(aiohttp.ClientPayloadError):
            async with served.session.get(f"{served.url}/break{query}") as answer:
                await answer.read()


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_a_client_that_hangs_up_ends_the_call_behind(tmp_path: Path, body: bytes, log: Log) -> None:
    async with fronted(tmp_path) as (served, it), wire(served) as client:
        await client.send("POST", "/hang", f"Content-Length: {len(body)}", body=body)
        await eventually(lambda: it.seen)
        client.hang_up()
        async with asyncio.timeout(5):
            await it.cancelled.wait()
        await eventually(lambda: log.lines("request"))
        assert [line["status"] for line in log.lines("request")] == [499]


async def test_a_kept_connection_that_the_upstream_has_closed_costs_no_request(tmp_path: Path) -> None:
    """A POST is not repeated by aiohttp: on a stale connection it would fail."""

    async def one_answer_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")  # and keeps it, says HTTP/1.1
        await reader.readline()  # until the next request begins, too late to be told that the connection ends
        writer.close()

    server = await asyncio.start_server(one_answer_each, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(tmp_path, server={"upstream": f"http://127.0.0.1:{port}"}) as served:
        for method, body in (("GET", None), ("POST", {"a": 1})) * 10:
            assert (await served.call(method, "/v1/x", body))[0] == 200


async def test_header_bytes_that_are_no_utf8_do_not_stop_a_request(tmp_path: Path) -> None:
    async def own(request: web.Request) -> web.Response:
        return web.json_response(request.headers["X-Odd"])

    def raw(path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: x\r\nx-portkey-api-key: {KEY}\r\nX-Odd: ".encode() + b"\xff\xfe\r\n\r\n"

    app = web.Application()
    app.router.add_get("/own", own)
    async with fronted(tmp_path) as (served, _), wire(served) as client:
        await client.write(raw("/v1/moderations"))
        assert (await client.answer()).status == 203
    async with running(tmp_path / "two", app) as served, wire(served) as client:
        await client.write(raw("/own"))
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)) == (200, "\xff\xfe")


THEIRS = "sk-master-of-the-proxy-behind"
SHARED = {"name": "master", "key": THEIRS, "forward": True}


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ({"Authorization": f"Bearer {THEIRS}"}, f"Bearer {THEIRS}"),
        ({"x-portkey-api-key": THEIRS}, f"Bearer {THEIRS}"),
        ({"x-portkey-api-key": THEIRS, "Authorization": "Bearer OPENAI_API_KEY"}, f"Bearer {THEIRS}"),
        ({"x-portkey-api-key": KEY, "Authorization": f"Bearer {THEIRS}"}, f"Bearer {THEIRS}"),
        ({"x-portkey-api-key": THEIRS, "Authorization": f"Bearer {KEY}"}, f"Bearer {THEIRS}"),
        ({"Authorization": f"Bearer {KEY}"}, None),
    ],
)
async def test_a_key_that_the_upstream_knows_too_is_passed_on(
    tmp_path: Path, sent: dict[str, str], arrives: str | None
) -> None:
    keys = [SHARED, {"name": "first", "key": KEY, "workspace": "one"}]
    async with fronted(tmp_path, api_keys=keys) as (served, it):
        assert (await served.call("GET", "/v1/batches", headers=sent))[0] == 200
        await served.call("POST", "/v1/chat/completions", {}, headers=sent)
        headers = {name.lower(): value for name, value in it.seen[0]["headers"]}
        assert headers.get("authorization") == arrives
        assert "x-portkey-api-key" not in headers
        assert KEY not in str(it.seen)
