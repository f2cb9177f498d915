"""In front of an application: websockets, its list of models, its own callers on paths that we share, and redirects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from proxy_plugin import setup
from proxy_plugin.config import parse
from proxy_plugin.web.server import Runner, Site
from tests.support.served import FORM, FORM_TYPE, KEY, WHO, Served, configuration, running
from tests.support.waiting import eventually
from tests.support.wire import log_kept

THEIRS = "sk-of-the-proxy-behind"
MODELS = [{"id": "gpt-theirs", "object": "model", "owned_by": "them"}, {"id": "shared", "object": "model"}]


@dataclass
class Behind:
    """What a proxy like LiteLLM has: keys of its own, a list of models, a websocket, an interface that redirects."""

    port: int = 0
    seen: list[web.Request] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    ended: list[int | None] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    models: list[Any] = field(default_factory=lambda: [*MODELS])

    async def listed(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        if request.headers.get("Authorization") != f"Bearer {THEIRS}":
            return web.json_response({"error": "no key"}, status=401)
        return web.json_response({"object": "list", "data": self.models})

    async def talk(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        if request.headers.get("Authorization") == "Bearer wrong":
            return web.json_response({"error": "no key"}, status=403)
        if request.headers.get("Authorization") == "Bearer away":
            raise web.HTTPFound("/v1/realtime?away=1")
        socket = web.WebSocketResponse(protocols=("realtime",), max_msg_size=0)
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "end":
                await socket.close(code=4321, message=b"enough")
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(f"heard {message.data}")
            else:
                await socket.send_bytes(message.data[::-1])
        self.ended.append(socket.close_code)
        return socket

    async def ui(self, request: web.Request) -> web.Response:
        scheme = request.headers["X-Forwarded-Proto"]
        raise web.HTTPSeeOther(f"{scheme}://{request.host}/ui/")

    async def forever(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return response

    async def other(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        return web.json_response({"path": request.path, "bytes": len(await request.read())})


@asynccontextmanager
async def behind() -> AsyncIterator[Behind]:
    it = Behind()
    app = web.Application(client_max_size=2**30)
    for path, handler in (
        ("/v1/models", it.listed),
        ("/v1/realtime", it.talk),
        ("/ui", it.ui),
        ("/forever", it.forever),
        ("/{rest:.*}", it.other),
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
async def fronted(tmp_path: Path, **sections: Any) -> AsyncIterator[tuple[Served, Behind]]:
    server = sections.pop("server", {})
    async with behind() as it:
        upstream = {"upstream": f"http://127.0.0.1:{it.port}"} | server
        async with running(tmp_path, server=upstream, **sections) as served:
            yield served, it


async def test_a_websocket_is_passed_both_ways(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        headers = {"Authorization": f"Bearer {THEIRS}", "X-Mine": "yes"}
        url = f"{served.url}/v1/realtime?model=gpt-realtime&q=%20"
        async with served.session.ws_connect(url, headers=headers, protocols=["other", "realtime"]) as socket:
            assert socket.protocol == "realtime"
            await socket.send_str("hello")
            assert await socket.receive_str() == "heard hello"
            await socket.send_bytes(b"abc")
            assert await socket.receive_bytes() == b"cba"
            await it.sockets[0].send_str("unasked")
            assert await socket.receive_str() == "unasked"
        await eventually(lambda: it.ended == [1000])
        [seen] = it.seen
        assert (seen.raw_path, seen.headers["X-Mine"]) == ("/v1/realtime?model=gpt-realtime&q=%20", "yes")
        assert (seen.headers["Host"], seen.headers["X-Forwarded-For"]) == (f"127.0.0.1:{served.port}", "127.0.0.1")


async def test_a_websocket_ends_as_its_other_side_ends_it(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        async with served.session.ws_connect(f"{served.url}/v1/realtime") as socket:
            await socket.send_str("end")
            told = await socket.receive()
            assert (told.type, told.data, told.extra) == (WSMsgType.CLOSE, 4321, "enough")
        async with served.session.ws_connect(f"{served.url}/v1/realtime") as socket:
            await socket.close(code=4000, message=b"I am done")
        await eventually(lambda: it.ended[1:] == [4000])


async def test_a_client_that_vanishes_ends_the_websocket_behind(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it), aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"{served.url}/v1/realtime")
        await socket.send_str("hello")
        assert await socket.receive_str() == "heard hello"
        transport = socket.get_extra_info("socket")
        assert transport is not None
        assert socket._conn is not None
        assert socket._conn.transport is not None
        socket._conn.transport.abort()
        await eventually(lambda: it.ended == [1001])


async def test_a_key_of_ours_in_a_websocket_goes_no_further(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with served.session.ws_connect(f"{served.url}/v1/realtime", headers=WHO, protocols=offered) as socket:
            assert socket.protocol == "realtime"
        assert KEY not in str(it.seen[0].headers)
        assert it.seen[0].headers["Sec-WebSocket-Protocol"] == "realtime"


@pytest.mark.parametrize(("key", "status", "code"), [("Bearer wrong", 403, "upstream_refused")])
async def test_a_websocket_that_the_upstream_refuses(tmp_path: Path, key: str, status: int, code: str) -> None:
    asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Authorization": key}
    asked["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    async with fronted(tmp_path) as (served, _):
        found, answer, _ = await served.call("GET", "/v1/realtime", headers=asked)
        assert (found, answer["error"]["code"], answer["error"]["type"]) == (status, code, "invalid_request_error")
    async with running(tmp_path / "other", server={"upstream": "http://127.0.0.1:9"}) as served:
        found, answer, _ = await served.call("GET", "/v1/realtime", headers=asked)
        assert (found, answer["error"]["code"]) == (502, "upstream_failed")


async def test_a_websocket_that_is_redirected_is_not_followed(tmp_path: Path) -> None:
    """The key of its caller would go with it."""
    asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    asked |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Authorization": "Bearer away"}
    async with fronted(tmp_path) as (served, it):
        found, answer, _ = await served.call("GET", "/v1/realtime", headers=asked)
        assert (found, answer["error"]["code"]) == (502, "upstream_refused")
        assert len(it.seen) == 1


async def test_a_websocket_passes_the_gateways_own_server(tmp_path: Path) -> None:
    async with behind() as it:
        app = web.Application()
        upstream = {"upstream": f"http://127.0.0.1:{it.port}"}
        config = parse(configuration(tmp_path, server=upstream), {})
        setup(app, config)
        runner = Runner(app, config, shutdown_timeout=1)
        try:
            await runner.setup()
            site = Site(runner, "127.0.0.1", 0)
            await site.start()
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"http://127.0.0.1:{site.port}/v1/realtime") as socket,
            ):
                for size in (1, 100_000, 3_000_000):
                    await socket.send_bytes(bytes(size - 1) + b"x")
                    assert await socket.receive_bytes() == b"x" + bytes(size - 1)
            await eventually(lambda: it.ended == [1000])
        finally:
            await runner.cleanup()


async def test_a_client_that_leaves_a_silent_stream_ends_it(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, it):
        with log_kept() as log:
            async with aiohttp.ClientSession() as session:
                answer = await session.get(served.url + "/forever")
                assert await answer.content.readany() == b"data: 1\n\n"
                answer.close()
            async with asyncio.timeout(10):
                await it.cancelled.wait()
            await eventually(lambda: log.lines("request"))
            assert [line["status"] for line in log.lines("request")] == [499]
            assert log.lines("upstream_broke_off") == []


async def test_a_redirect_leads_back_to_us(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, _):
        async with served.session.get(served.url + "/ui") as answer:
            assert (await answer.json())["path"] == "/ui/"
            assert str(answer.url) == f"{served.url}/ui/"
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "Host": "llm.example"}
        async with served.session.get(served.url + "/ui", headers=headers, allow_redirects=False) as answer:
            assert answer.headers["Location"] == "https://llm.example/ui/"


async def test_the_host_may_be_the_upstreams_own(tmp_path: Path) -> None:
    async with fronted(tmp_path, server={"upstream_host": "upstream"}) as (served, it):
        headers = {"X-Forwarded-For": "203.0.113.9", "Host": "llm.example"}
        await served.call("GET", "/v1/anything", headers=headers)
        told = it.seen[0].headers
        assert (told["Host"], told["X-Forwarded-Host"]) == (f"127.0.0.1:{it.port}", "llm.example")
        assert told["X-Forwarded-For"] == "203.0.113.9, 127.0.0.1"


LANES = {
    "lane": {"provider": "openai", "api_key": "sk-of-lane", "models": ["gpt-ours"]},
    "claude": {"provider": "anthropic", "api_key": "sk-of-claude", "models": ["claude-ours"]},
}
LIST = [{"model_name": "shared", "litellm_params": {"model": "openai/gpt-x", "api_key": "sk-of-the-list"}}]


async def _models(served: Served, headers: dict[str, str]) -> tuple[int, list[str]]:
    status, found, _ = await served.call("GET", "/v1/models", headers=headers)
    return status, [each["id"] for each in found.get("data", [])]


async def test_models_are_the_upstreams_and_what_only_we_reach(tmp_path: Path) -> None:
    both = WHO | {"Authorization": f"Bearer {THEIRS}"}
    ours = ["@lane/gpt-ours", "@claude/claude-ours"]
    async with fronted(tmp_path, virtual_keys=LANES, model_list=LIST) as (served, it):
        assert await _models(served, both) == (200, ["gpt-theirs", "shared", *ours])
        assert await _models(served, WHO) == (200, [*ours, "shared"]), "the upstream does not know this caller"
        assert await _models(served, {"Authorization": f"Bearer {THEIRS}"}) == (200, ["gpt-theirs", "shared"])
        assert (await _models(served, {"Authorization": "Bearer nobody"}))[0] == 401
        it.models = [{"no": "id"}, {"id": "odd"}, 5]
        assert await _models(served, both) == (200, [*ours, "shared"]), "no list of models"
        assert KEY not in str([request.headers for request in it.seen])


async def test_models_are_ours_alone_while_the_upstream_is_down(tmp_path: Path) -> None:
    server = {"upstream": "http://127.0.0.1:9"}
    async with running(tmp_path, server=server, virtual_keys=LANES) as served:
        assert await _models(served, WHO) == (200, ["@lane/gpt-ours", "@claude/claude-ours"])


async def test_a_model_of_the_upstream_is_asked_of_it(tmp_path: Path) -> None:
    async with fronted(tmp_path, virtual_keys=LANES) as (served, _):
        assert (await served.call("GET", "/v1/models/@lane/gpt-ours"))[1]["owned_by"] == "openai"
        assert (await served.call("GET", "/v1/models/gpt-theirs"))[1] == {"path": "/v1/models/gpt-theirs", "bytes": 0}
        assert (await served.call("GET", "/v1/models/@lane/other"))[0] == 404


@pytest.mark.parametrize("root", ["/openai/v1", "/azure/v1", "/anthropic/v1"])
async def test_paths_with_a_provider_are_ours_where_the_caller_is(tmp_path: Path, root: str) -> None:
    async with fronted(tmp_path) as (served, it):
        status, stored, _ = await served.call("POST", f"{root}/files", FORM % b"{}", {**WHO, **FORM_TYPE})
        assert (status, stored["object"]) == (200, "file")
        assert (await served.call("GET", f"{root}/files/{stored['id']}"))[1]["id"] == stored["id"]
        assert (await served.call("GET", f"{root}/batches"))[1]["object"] == "list"
        assert not it.seen
        theirs = {"Authorization": f"Bearer {THEIRS}"}
        for path in ("files", "batches", "batches/batch_x"):
            assert (await served.call("GET", f"{root}/{path}", headers=theirs))[1]["path"] == f"{root}/{path}"
        sent = await served.call("POST", f"{root}/files", FORM % b"{}", {**theirs, **FORM_TYPE})
        assert sent[1] == {"path": f"{root}/files", "bytes": len(FORM % b"{}")}
        assert (await served.call("GET", f"{root}/chat", headers=WHO))[1]["path"] == f"{root}/chat"


async def test_a_path_with_another_word_in_front_is_the_upstreams(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, _):
        assert (await served.call("GET", "/team/v1/files"))[1]["path"] == "/team/v1/files"


async def test_without_an_upstream_they_are_ours_for_everybody(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        assert (await served.call("GET", "/openai/v1/batches"))[0] == 200
        assert (await served.call("GET", "/openai/v1/batches", headers={}))[0] == 401


@pytest.mark.parametrize(
    ("path", "headers", "says"),
    [
        ("/mistral", WHO, "This API key has no account at mistral, which the path names."),
        ("/openai", WHO | {"x-portkey-virtual-key": "claude"}, None),
        ("/anthropic", WHO, None),
        ("/azure", WHO | {"x-portkey-virtual-key": "claude"}, "the virtual key claude is one of anthropic's"),
        ("/groq", WHO, "several accounts at groq: send 'x-portkey-virtual-key: slug' with one of groq-a, groq-b."),
    ],
)
async def test_the_provider_of_a_path_chooses_the_account(
    tmp_path: Path, path: str, headers: dict[str, str], says: str | None
) -> None:
    keys = {name: {"provider": "groq", "api_key": f"sk-{name}"} for name in ("groq-a", "groq-b")}
    async with running(tmp_path, virtual_keys=LANES | keys) as served:
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "claude-ours"}}
        _, stored, _ = await served.call("POST", "/v1/files", FORM % json.dumps(line).encode(), {**WHO, **FORM_TYPE})
        wanted = {
            "input_file_id": stored["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        status, found, told = await served.call("POST", f"{path}/v1/batches", wanted, headers)
        if says is None:
            assert (status, told["x-portkey-provider"]) == (200, "anthropic")
        else:
            assert (status, says in found["error"]["message"]) == (400, True), found
