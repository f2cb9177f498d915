"""The front of replicas: turns, who is left out, and what is never done twice."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from proxy_plugin.demo.front import Front, cut_off
from proxy_plugin.demo.servers import free_port
from tests.support.waiting import eventually

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LONG = bytes(range(256)) * 20_000


class Replica:
    """A server that counts what it is asked for, and answers with its name, or as a test has it."""

    def __init__(self, name: str, handler: Handler | None = None, ready: int = 200) -> None:
        self.name, self.handler, self.ready = name, handler, ready
        self.asked = Counter[str]()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/readyz":
            return web.Response(status=self.ready)
        self.asked[request.method] += 1
        return await self.handler(request) if self.handler else web.Response(text=self.name)


@asynccontextmanager
async def fronted(*replicas: Replica, missing: int = 0) -> AsyncIterator[tuple[Front, aiohttp.ClientSession]]:
    """Run replicas, and a front before them and as many that nobody serves."""
    async with AsyncExitStack() as stack:
        urls = [f"http://127.0.0.1:{free_port()}" for _ in range(missing)]
        for each in replicas:
            app = web.Application(client_max_size=2**30)
            app.router.add_route("*", "/{path:.*}", each.serve)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            urls.append(f"http://127.0.0.1:{site.port}")
        front = Front(urls)
        base = await front.start()
        stack.push_async_callback(front.stop)
        yield front, await stack.enter_async_context(aiohttp.ClientSession(base))


async def dropped(request: web.Request) -> web.StreamResponse:
    await request.read()
    cut_off(request)
    return web.Response()


async def halved(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(LONG))})
    await response.prepare(request)
    await response.write(LONG[: len(LONG) // 2])
    cut_off(request)
    return response


async def echoed(request: web.Request) -> web.StreamResponse:
    return web.Response(body=await request.read(), headers={"x-path": request.raw_path, "x-said": request.headers["a"]})


async def test_replicas_take_turns() -> None:
    one, two = Replica("one"), Replica("two")
    async with fronted(one, two) as (_, client):
        said = [await (await client.get("/v1/files")).text() for _ in range(4)]
    assert sorted(said) == ["one", "one", "two", "two"]
    assert said[0] != said[1]


async def test_bytes_names_and_headers_go_through_as_they_are() -> None:
    async with fronted(Replica("one", echoed)) as (_, client):
        answer = await client.post(
            "/v1/a%2Fb?c=%20d", data=io.BytesIO(LONG), headers={"a": "b; c"}, skip_auto_headers=["Accept"]
        )
        assert await answer.read() == LONG
    assert (answer.headers["x-path"], answer.headers["x-said"]) == ("/v1/a%2Fb?c=%20d", "b; c")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_replica_that_takes_no_connection_is_left_out(method: str) -> None:
    one = Replica("one")
    async with fronted(one, missing=1) as (_, client):
        said = [await (await client.request(method, "/v1/batches", data=b"body")).text() for _ in range(4)]
    assert said == ["one"] * 4


async def test_a_replica_that_is_not_ready_is_left_out_until_it_is() -> None:
    one, two = Replica("one", ready=503), Replica("two")
    async with fronted(one, two) as (front, client):
        await eventually(lambda: front.absent)
        assert {await (await client.get("/")).text() for _ in range(4)} == {"two"}
        one.ready = 200
        await eventually(lambda: not front.absent)
        assert {await (await client.get("/")).text() for _ in range(4)} == {"one", "two"}


async def test_what_was_only_asked_for_is_asked_of_the_next_one() -> None:
    dies, lives = Replica("dies", dropped), Replica("lives")
    async with fronted(dies, lives) as (_, client):
        assert {await (await client.get("/")).text() for _ in range(4)} == {"lives"}
    assert dies.asked["GET"]


async def test_what_may_have_been_done_is_not_done_again() -> None:
    dies, other = Replica("dies", dropped), Replica("other", dropped)
    async with fronted(dies, other) as (_, client):
        answer = await client.post("/v1/batches", data=b"{}")
        assert (answer.status, (await answer.json())["error"]["code"]) == (502, "no_replica")
    assert (dies.asked + other.asked)["POST"] == 1


async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too() -> None:
    async with fronted(Replica("one", halved)) as (_, client):
        answer = await client.get("/v1/files/file-1/content")
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_where_nobody_answers_a_client_is_told_to_come_back() -> None:
    async with fronted(missing=2) as (_, client):
        answer = await client.get("/v1/batches")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
