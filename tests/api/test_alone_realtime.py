"""Websockets of the realtime API without an upstream: opened at the account that a call of chat would have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from yarl import URL

from tests.support import calls_here
from tests.support.served import WHO, Served, running
from tests.support.waiting import eventually

PATH, ACCOUNTS = "/v1/realtime", "sk-of-the-account-at-the-provider"
ASKED = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"} | {
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="
}


@dataclass
class Provider:
    """Answers every message with itself; `status` refuses all of them."""

    url: str = ""
    status: int = 101
    seen: list[web.Request] = field(default_factory=list)
    ended: list[int | None] = field(default_factory=list)

    async def talk(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        if self.status != 101:
            return web.Response(status=self.status, headers={"Location": f"{self.url}/elsewhere"})
        socket = web.WebSocketResponse(protocols=("realtime",))
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "end":
                await socket.close(code=4321, message=b"enough")
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        self.ended.append(socket.close_code)
        return socket


@asynccontextmanager
async def scene(folder: Path, **sections: Any) -> AsyncIterator[tuple[Served, Provider]]:
    it, app = Provider(), web.Application()
    app.router.add_get("/{rest:.*}", it.talk)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    keys = {
        "a": {"provider": "openai", "api_key": ACCOUNTS, "custom_host": it.url},
        "claude": {"provider": "anthropic", "api_key": ACCOUNTS, "custom_host": it.url},
    }
    params = {"model": "openai/gpt-realtime", "api_key": ACCOUNTS, "api_base": it.url}
    sections |= {"virtual_keys": keys, "model_list": [{"model_name": "talk", "litellm_params": params}]}
    try:
        async with running(folder, server={"custom_hosts": ["127.0.0.1"]}, **sections) as served:
            yield served, it
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls_here.use(monkeypatch)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("model=gpt-realtime", {"x-portkey-virtual-key": "a"}),
        ("model=%40a%2Fgpt-realtime&intent=transcription", {}),
        ("model=talk", {}),
        ("model=any", {"x-portkey-config": '{"provider": "@a", "override_params": {"model": "gpt-realtime"}}'}),
    ],
)
async def test_whatever_names_an_account_opens_it_there(tmp_path: Path, query: str, headers: dict[str, str]) -> None:
    async with scene(tmp_path) as (served, it):
        sent = WHO | headers | {"OpenAI-Beta": "realtime=v1"}
        url = URL(f"{served.url}{PATH}?{query}", encoded=True)
        async with served.session.ws_connect(url, headers=sent, protocols=["realtime"]) as socket:
            assert socket.protocol == "realtime"
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            await socket.send_str("end")
            told = await socket.receive()
            assert (told.type, told.data, told.extra) == (WSMsgType.CLOSE, 4321, "enough")
        [seen] = it.seen
        assert (seen.path, seen.query["model"]) == (PATH, "gpt-realtime")
        assert seen.query.get("intent") == ("transcription" if "intent" in query else None)
        assert (seen.headers["Authorization"], seen.headers["OpenAI-Beta"]) == (f"Bearer {ACCOUNTS}", "realtime=v1")
        assert not [name for name in seen.headers if name.lower().startswith("x-portkey")]


async def test_a_client_that_vanishes_ends_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as (served, it), aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"{served.url}{PATH}?model=talk", headers=WHO)
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        assert socket._conn is not None
        assert socket._conn.transport is not None
        socket._conn.transport.abort()
        await eventually(lambda: it.ended == [1001])


@pytest.mark.parametrize(
    ("query", "status", "param", "code"),
    [
        ("", 400, "model", "missing_required_parameter"),
        ("?model=nobodys", 400, "model", None),
        ("?model=@claude/claude-haiku-4-5", 400, "model", "no_direct_way"),
    ],
)
async def test_what_has_no_account_is_refused_by_name(
    tmp_path: Path, query: str, status: int, param: str, code: str | None
) -> None:
    async with scene(tmp_path) as (served, it):
        found, answer, _ = await served.call("GET", PATH + query, headers=WHO | ASKED)
        assert (found, answer["error"]["param"]) == (status, param)
        assert code is None or answer["error"]["code"] == code
        assert it.seen == []


@pytest.mark.parametrize(("said", "status"), [(401, 401), (429, 429), (503, 503), (302, 502)])
async def test_the_providers_refusal_is_told_and_no_redirect_is_followed(
    tmp_path: Path, said: int, status: int
) -> None:
    async with scene(tmp_path) as (served, it):
        it.status = said
        found, answer, _ = await served.call("GET", f"{PATH}?model=talk", headers=WHO | ASKED)
        assert (found, answer["error"]["code"]) == (status, "provider_refused")
        assert [each.path for each in it.seen] == [PATH]


async def test_only_callers_and_only_websockets_get_in(tmp_path: Path) -> None:
    async with scene(tmp_path) as (served, it):
        assert (await served.call("GET", f"{PATH}?model=talk", headers=ASKED))[0] == 401
        assert it.seen == []
        async with served.session.get(f"{served.url}{PATH}?model=talk", headers=WHO) as answer:
            assert answer.status == 404
