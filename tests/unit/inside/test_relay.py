"""Requests through the relay: streamed both ways, ended when either end goes."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy_plugin.inside import relay as inside
from tests.support.waiting import eventually

LARGE = 4 * 2**20


class Client:
    """What a server of ASGI hands to an application: a request, and where the answer goes."""

    def __init__(
        self, method: str = "GET", target: str = "/v1/files", head: Sequence[tuple[bytes, bytes]] = (), root: str = ""
    ) -> None:
        path, _, query = target.partition("?")
        self.scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": root}
        self.scope |= {"query_string": query.encode(), "headers": list(head)}
        self.to_come: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []

    def says(self, *pieces: bytes, more: bool = False) -> Client:
        """Send pieces of a body; with `more` the last is not the end."""
        for at, piece in enumerate(pieces):
            last = at == len(pieces) - 1 and not more
            self.to_come.put_nowait({"type": "http.request", "body": piece, "more_body": not last})
        return self

    def leaves(self) -> None:
        self.to_come.put_nowait({"type": "http.disconnect"})

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    async def through(self, socket: Path) -> bool:
        return await inside.relay(self.scope, self.to_come.get, self.send, self.scope["headers"], socket)  # type: ignore[arg-type]

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.sent[1:])


@pytest.fixture
def socket() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="relay-"))
    yield folder / "gateway.sock"
    shutil.rmtree(folder)


@asynccontextmanager
async def gateway(socket: Path, handler: Any) -> AsyncIterator[None]:
    app = web.Application(client_max_size=2 * LARGE)
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_all_of_a_request_arrives_and_all_of_its_answer(socket: Path) -> None:
    seen: list[tuple[str, str, bytes, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        body = await request.read()
        seen.append((request.method, request.raw_path, body, request.headers.get("x-portkey-metadata")))
        return web.Response(status=201, body=body[::-1], headers={"x-request-id": "r1"})

    head = [(b"host", b"proxy"), (b"transfer-encoding", b"chunked"), (b"x-portkey-metadata", '{"a":"é"}'.encode())]
    client = Client("POST", "/v1/files%2F?a=%20b&c", head).says(b"one", b"", b"two")
    async with gateway(socket, handler):
        assert await client.through(socket)
    assert seen == [("POST", "/v1/files%2F?a=%20b&c", b"onetwo", '{"a":"é"}')]
    assert (client.status, client.body) == (201, b"owteno")
    headers = dict(client.sent[0]["headers"])
    assert headers[b"x-request-id"] == b"r1"
    assert not {b"Date", b"Server", b"Transfer-Encoding", b"Connection"} & headers.keys()
    assert client.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_a_body_of_known_length_keeps_it(socket: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response([request.content_length, len(await request.read())])

    client = Client("POST", head=[(b"content-length", str(LARGE).encode())]).says(
        b"a" * (LARGE // 2), b"b" * (LARGE // 2)
    )
    async with gateway(socket, handler):
        await client.through(socket)
    assert json.loads(client.body) == [LARGE, LARGE]


async def test_the_root_that_litellm_is_mounted_under_is_taken_off(socket: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=request.raw_path)

    client = Client(target="/llm/v1/files?x=1", root="/llm")
    async with gateway(socket, handler):
        await client.through(socket)
    assert client.body == b"/v1/files?x=1"


async def test_pieces_of_an_answer_are_passed_on_as_they_come(socket: Path) -> None:
    go_on = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await go_on.wait()
        await response.write(b"second")
        return response

    client = Client()
    async with gateway(socket, handler):
        running = asyncio.create_task(client.through(socket))
        await eventually(lambda: client.body == b"first")
        go_on.set()
        assert await running
    assert client.body == b"firstsecond"


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_ends_the_call(socket: Path, begun: bool) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if begun:
            await response.prepare(request)
            await response.write(b"first")
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return response

    client = Client().says(b"")
    async with gateway(socket, handler):
        running = asyncio.create_task(client.through(socket))
        await asked.wait()
        await eventually(lambda: not begun or client.sent[1:])
        client.leaves()
        assert await running
        await ended.wait()
    assert len(client.sent) == (2 if begun else 0)


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_none_behind(socket: Path) -> None:
    seen: list[type[Exception]] = []

    async def handler(request: web.Request) -> web.Response:
        try:
            await request.read()
        except (ConnectionError, web.RequestPayloadError, web.HTTPException, asyncio.CancelledError) as error:
            seen.append(type(error))  # type: ignore[arg-type]
            raise
        return web.Response()

    client = Client("POST", head=[(b"content-length", b"10")]).says(b"half", more=True)
    async with gateway(socket, handler):
        running = asyncio.create_task(client.through(socket))
        client.leaves()
        assert await running
        await eventually(lambda: seen)
    assert client.sent == []


async def test_a_refusal_before_the_end_of_the_body_is_passed_on_and_the_rest_is_read(socket: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=401, text="no")

    client = Client("POST", head=[(b"transfer-encoding", b"chunked")]).says(b"begin", more=True)
    async with gateway(socket, handler):
        running = asyncio.create_task(client.through(socket))
        await eventually(lambda: client.body == b"no")
        assert not running.done(), "the client has not sent all"
        client.says(b"rest")
        assert await running
    assert (client.status, client.to_come.empty()) == (401, True)


async def test_a_body_that_waits_to_be_invited_is_invited_by_the_gateway(socket: Path) -> None:
    async def refusing(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=401, text="no")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="it was not asked")

    app = web.Application()
    app.router.add_post("/v1/files", handler, expect_handler=refusing)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    client = Client("POST", head=[(b"content-length", b"4"), (b"expect", b"100-continue")])
    running = asyncio.create_task(client.through(socket))
    await eventually(lambda: client.body == b"no")
    client.leaves()
    assert await running
    await runner.cleanup()


async def test_no_answer_is_told(socket: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    client = Client()
    async with gateway(socket, handler):
        assert not await client.through(socket)
    assert client.sent == []


async def test_half_an_answer_is_no_whole_one(socket: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    client = Client()
    async with gateway(socket, handler):
        with pytest.raises(ConnectionError, match="broke off"):
            await client.through(socket)
    assert all(each["more_body"] for each in client.sent[1:])


async def test_a_socket_that_is_not_there_is_waited_for(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    waiting = asyncio.create_task(inside.listening(socket))
    async with gateway(socket, handler):
        assert await waiting
    monkeypatch.setattr(inside, "START_SECONDS", 0.0)
    assert not await inside.listening(socket)


async def test_a_socket_of_another_user_is_none(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    monkeypatch.setattr(inside, "START_SECONDS", 0.0)
    async with gateway(socket, handler):
        assert await inside.listening(socket)
        monkeypatch.setattr("os.geteuid", lambda: 12345)
        assert not await inside.listening(socket)


async def test_refusals_have_openais_shape() -> None:
    client = Client()
    await inside.refuse(client.send, 503, "gateway_starting", "Not yet.")
    error = {"message": "Not yet.", "type": "server_error", "param": None, "code": "gateway_starting"}
    assert (client.status, json.loads(client.body)) == (503, {"error": error})
