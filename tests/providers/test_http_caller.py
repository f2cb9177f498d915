"""Ordinary calls over HTTP: one request each, and what its absence of an answer proves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from proxy_plugin.providers.direct import http_caller
from proxy_plugin.providers.direct.base import Lost, NotSent, Outgoing, Reply, Stream
from proxy_plugin.providers.direct.http_caller import HttpCaller
from tests.support.ports import free_port

CHAT = "/v1/chat/completions"
BODY = b'{"n": 12345678901234567890123, "s": "\\ud83d"}'
KEY = {"Authorization": "Bearer sk-own"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def calling(url: str, outgoing: Outgoing | None = None) -> AsyncIterator[HttpCaller]:
    caller = HttpCaller(url, KEY, outgoing or Outgoing())
    try:
        yield caller
    finally:
        await caller.close()


async def test_the_body_goes_as_it_stands_and_the_answer_comes_so() -> None:
    seen = list[tuple[str, bytes, str, str]]()

    async def answer(request: web.Request) -> web.Response:
        kind = f"{request.headers['Content-Type']} {request.headers['Accept-Encoding']}"
        seen.append((request.path, await request.read(), request.headers["Authorization"], kind))
        return web.Response(body=BODY, headers={"X-Request-Id": "req_7", "Retry-After": "3"}, status=429)

    async with serving(answer) as url, calling(url) as caller:
        reply = await caller.call(CHAT, BODY, "id", 5)
    assert seen == [("/v1/chat/completions", BODY, "Bearer sk-own", "application/json identity")]
    assert (reply.status, reply.body, reply.request_id) == (429, BODY, "req_7")
    assert reply.headers["retry-after"] == "3"


async def test_what_the_client_wants_the_provider_to_get_goes_beneath_the_accounts_own() -> None:
    seen = list[tuple[str, str]]()

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], request.headers["X-Team"]))
        return web.Response(body=b"{}")

    carried = Outgoing(headers={"authorization": "Bearer another", "X-Team": "search"})
    async with serving(answer) as url, calling(url, carried) as caller:
        await caller.call(CHAT, BODY, "id", 5)
    assert seen == [("Bearer sk-own", "search")]


async def test_connections_are_kept() -> None:
    seen = set[object]()

    async def answer(request: web.Request) -> web.Response:
        seen.add(request.transport)
        return web.Response(body=b"{}")

    async with serving(answer) as url, calling(url) as caller:
        for _ in range(5):
            await caller.call(CHAT, BODY, "id", 5)
    assert len(seen) == 1


async def test_a_redirect_is_an_answer_and_the_key_does_not_go_with_it() -> None:
    seen = list[str]()

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with serving(answer) as url, calling(url) as caller:
        assert (await caller.call(CHAT, BODY, "id", 5)).status == 307
    assert seen == ["/v1/chat/completions"]


async def test_nothing_is_sent_where_nobody_listens() -> None:
    async with calling(f"http://127.0.0.1:{free_port()}/v1") as caller:
        with pytest.raises(NotSent):
            await caller.call(CHAT, BODY, "id", 5)


async def test_nothing_is_sent_where_it_may_not_go() -> None:
    async def answer(_request: web.Request) -> web.Response:
        raise AssertionError("was called")

    nowhere = Outgoing(may_reach=lambda *_: False)
    async with serving(answer) as url, calling(url.replace("127.0.0.1", "localhost"), nowhere) as caller:
        with pytest.raises(NotSent):
            await caller.call(CHAT, BODY, "id", 5)


@pytest.mark.parametrize("kept", [False, True], ids=["a new connection", "a kept one"])
async def test_a_call_whose_connection_breaks_may_have_been_answered(kept: bool) -> None:
    calls = list[str]()

    async def answer(request: web.Request) -> web.Response:
        calls.append(request.path)
        if len(calls) > kept:
            assert request.transport is not None
            request.transport.close()
        return web.Response(body=b"{}")

    async with serving(answer) as url, calling(url) as caller:
        if kept:
            await caller.call(CHAT, BODY, "id", 5)
        with pytest.raises(Lost):
            await caller.call(CHAT, BODY, "id", 5)
    assert len(calls) == 1 + kept  # never again by itself


async def test_a_call_without_an_answer_in_time_may_have_been_answered() -> None:
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with serving(answer) as url, calling(url) as caller:
        with pytest.raises(Lost):
            await caller.call(CHAT, BODY, "id", 0.05)


async def test_an_answer_that_is_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_caller, "MOST_BYTES", 1000)

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=b'{"a": "%s"}' % (b"x" * 10**6))

    async with serving(answer) as url, calling(url) as caller:
        reply = await caller.call(CHAT, BODY, "id", 5)
    assert 1000 <= len(reply.body) < 10**6


async def test_a_stream_comes_as_it_is_piece_by_piece() -> None:
    gate = asyncio.Semaphore(1)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Request-Id": "req_7"})
        await response.prepare(request)
        for piece in (b"data: 1\n\n", b"data: 2\n\n"):
            await gate.acquire()
            await response.write(piece)
        return response

    async with serving(answer) as url, calling(url) as caller:
        stream = await caller.stream(CHAT, BODY, "id", 5)
        assert isinstance(stream, Stream)
        assert stream.headers["x-request-id"] == "req_7"
        pieces = [await anext(stream.pieces)]
        gate.release()
        pieces += [piece async for piece in stream.pieces]
    assert pieces == [b"data: 1\n\n", b"data: 2\n\n"]


async def test_what_is_no_stream_is_a_reply() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"error": {}}, status=429)

    async with serving(answer) as url, calling(url) as caller:
        reply = await caller.stream(CHAT, BODY, "id", 5)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body) == (429, b'{"error": {}}')


async def test_a_stream_is_lost_where_it_breaks_and_never_sent_where_nobody_listens() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(answer) as url, calling(url) as caller:
        stream = await caller.stream(CHAT, BODY, "id", 5)
        assert isinstance(stream, Stream)
        with pytest.raises(Lost):
            [piece async for piece in stream.pieces]
    async with calling(f"http://127.0.0.1:{free_port()}/v1") as caller:
        with pytest.raises(NotSent):
            await caller.stream(CHAT, BODY, "id", 5)
