"""The three forms of the gateway with the real LiteLLM, each started once. Only in an environment that has LiteLLM.

`make test-litellm` makes it, from constraints/litellm.txt, and leaves out the fixtures of the other tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from proxy_plugin.providers.sandbox.process import Sandbox
from tests.litellm import rig
from tests.support.ports import free_port
from tests.support.waiting import until

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each LiteLLM would compile 2,500 modules anew: 25 s of CPU
collect_ignore_glob = [] if find_spec("fastapi") and find_spec("litellm") else ["test_*.py"]


@dataclass(frozen=True)
class Form:
    """One form: where callers go, what LiteLLM is there, and the file of both."""

    name: str
    url: str
    config: Path
    litellm: rig.Served | None
    gateway: rig.Served | None = None

    def spent(self) -> list[dict[str, Any]]:
        """Return what the LiteLLM of this form was told of batches: call, cost, key and team."""
        assert self.litellm is not None
        told = self.litellm.log.with_name(rig.SPENT)
        return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """Return a folder with a short path."""
    found = Path(tempfile.mkdtemp(prefix="inside-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Return OpenAI's stand-in."""
    with Sandbox(providers=["openai"]) as running:
        yield running


@pytest.fixture(scope="session")
def websocket_url() -> Iterator[str]:
    """Return the base URL of a provider whose realtime API sends every message back."""
    ready, found = threading.Event(), list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]]()

    async def serve() -> None:
        app, asked_to_stop = web.Application(), asyncio.Event()
        app.router.add_get("/{rest:.*}", _echo)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        found.append((url, asyncio.get_running_loop(), asked_to_stop))
        ready.set()
        await asked_to_stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    ((url, loop, asked_to_stop),) = found
    yield url
    loop.call_soon_threadsafe(asked_to_stop.set)
    thread.join(10)


async def _echo(request: web.Request) -> web.WebSocketResponse:
    front = web.WebSocketResponse()
    await front.prepare(request)
    async for message in front:
        if message.type is WSMsgType.TEXT:
            await front.send_str(message.data)
    return front


@pytest.fixture(scope="session")
def inside(base: Path, sandbox: Sandbox, websocket_url: str) -> Iterator[Form]:
    """Return a stock LiteLLM with two workers and the example's line in its file."""
    home = base / "inside"
    home.mkdir()
    path = rig.config(home, sandbox.url(), websocket_url)
    proxy = rig.litellm(home, path, workers=2).start()
    yield Form("inside", proxy.url, path, proxy)
    try:
        proxy.kill(signal.SIGTERM)
        until(lambda: not rig.gateways(path), "the end of the gateway, after that of LiteLLM")
    finally:
        proxy.stop()


@pytest.fixture(scope="session")
def teams(base: Path, sandbox: Sandbox, websocket_url: str) -> Iterator[Form]:
    """Return a LiteLLM that knows keys of two teams by code of its operator's own, with `all_batches`."""
    home = base / "teams"
    home.mkdir()
    (home / "custom_auth.py").write_text(rig.CUSTOM_AUTH)
    more = {"general_settings": {"custom_auth": "custom_auth.who"}, "proxy_plugin": {"all_batches": True}}
    path = rig.config(home, sandbox.url(), websocket_url, more=more)
    proxy = rig.litellm(home, path).start()
    yield Form("teams", proxy.url, path, proxy)
    proxy.stop()


@pytest.fixture(scope="session")
def front(base: Path, sandbox: Sandbox, websocket_url: str) -> Iterator[Form]:
    """Return the gateway in front of a stock LiteLLM, both with the same file."""
    home, port = base / "front", free_port()
    home.mkdir()
    dev = {"name": "dev", "key": rig.DEV, "workspace": "dev", "upstream_key": "os.environ/LITELLM_MASTER_KEY"}
    more = {"proxy_plugin": {"api_keys": [dev]}}
    path = rig.config(home, sandbox.url(), websocket_url, upstream=f"http://127.0.0.1:{port}", more=more)
    ours = rig.gateway(home, path).start()  # it may be there first
    proxy = rig.litellm(home, path, port).start()
    yield Form("front", ours.url, path, proxy, ours)
    ours.stop()
    proxy.stop()


@pytest.fixture(scope="session")
def keyed(base: Path, sandbox: Sandbox, websocket_url: str, front: Form) -> Iterator[Form]:
    """Return another gateway in front of the same LiteLLM, which asks it whose keys they are."""
    home = base / "keyed"
    home.mkdir()
    assert front.litellm is not None
    more = {"proxy_plugin": {"auth": "litellm"}}
    path = rig.config(home, sandbox.url(), websocket_url, upstream=front.litellm.url, more=more)
    ours = rig.gateway(home, path).start()
    yield Form("keyed", ours.url, path, front.litellm, ours)
    ours.stop()


@pytest.fixture(scope="session")
def alone(base: Path, sandbox: Sandbox, websocket_url: str) -> Iterator[Form]:
    """Return the gateway without a proxy."""
    home = base / "alone"
    home.mkdir()
    path = rig.config(home, sandbox.url(), websocket_url)
    ours = rig.gateway(home, path).start()
    yield Form("alone", ours.url, path, None, ours)
    ours.stop()


@pytest.fixture(scope="session", params=["inside", "front", "keyed", "alone"])
def form(request: pytest.FixtureRequest) -> Form:
    """Return each form in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Form)
    return found
