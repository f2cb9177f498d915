"""A gateway within the test's own process, whose clock can be moved together with that of the stand-ins."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
from aiohttp import web

from proxy_plugin.app import setup
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.lines import jsonl
from tests.support.stack import ENDS, KEY, METRICS_KEY

DAY = 86_400
Rows = list[dict[str, Any]]


class World:
    """A running gateway, an OpenAI client in front of it, the stand-ins behind it."""

    def __init__(self, gateway: Gateway, clock: SystemClock, client: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
        self.gateway, self.clock, self.client, self.sandbox = gateway, clock, client, sandbox

    async def pass_time(self, seconds: float) -> None:
        """Let time pass everywhere."""
        await self.sandbox.advance(seconds)
        self.clock.offset += seconds
        self.gateway.engine.wake()

    async def create(
        self, lines: Iterable[Mapping[str, Any]], *, window: Any = "24h", headers: Mapping[str, str] | None = None
    ) -> Any:
        """Upload lines and create a batch of them; with `headers` of its create alone."""
        file = await self.client.files.create(file=("a.jsonl", jsonl(lines)), purpose="batch")
        return await self.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window=window, extra_headers=headers
        )

    async def until(self, batch_id: str, words: Iterable[str] = ENDS) -> Any:
        """Return the batch when it has one of the statuses."""
        await self.until_true(lambda: self._has(batch_id, words))
        return await self.client.batches.retrieve(batch_id)

    async def _has(self, batch_id: str, words: Iterable[str]) -> bool:
        return (await self.client.batches.retrieve(batch_id)).status in words

    async def until_true(self, check: Callable[[], Awaitable[object]]) -> None:
        """Return when something has come true."""
        deadline = time.monotonic() + 30
        while not await check():
            assert time.monotonic() < deadline, "did not happen in time"
            await asyncio.sleep(0.02)

    async def running(self) -> bool:
        """Tell whether a native job is at work."""
        return any(job["status"] == "in_progress" for job in await self.sandbox.jobs())

    def running_at(self, provider: str) -> Callable[[], Awaitable[bool]]:
        """Return a check that a native job of one provider is at work."""

        async def seen() -> bool:
            found = [job for job in await self.sandbox.jobs() if job["provider"] == provider]
            return any(job["status"] == "in_progress" for job in found)

        return seen

    async def calls(self, op: str) -> list[dict[str, Any]]:
        """Return the gateway's calls of one kind."""
        return [entry for entry in await self.sandbox.requests() if entry["op"] == op]

    async def rows(self, file_id: str | None) -> Rows:
        """Return the rows of an output or error file."""
        if file_id is None:
            return []
        content = await self.client.files.content(file_id)
        return [json.loads(line) for line in content.text.split("\n") if line]


@asynccontextmanager
async def opened(
    data: Path,
    sandbox: Sandbox,
    virtual_key: Mapping[str, Any],
    clock: SystemClock | None = None,
    *,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    route: Mapping[str, Any] | None = None,
) -> AsyncIterator[World]:
    """Run a gateway on a data folder until the block ends; its virtual key is `lane`, beside which there may be others.

    With `route`, a config, batches take it and not that key alone.
    """
    app, clock = web.Application(), clock or SystemClock()
    config = {
        "proxy_plugin": {
            "server": {"metrics_key": METRICS_KEY},
            "storage": {"data_dir": str(data)},
            "api_keys": [{"name": "tests", "key": KEY}],
            "virtual_keys": {"lane": dict(virtual_key), **{name: dict(key) for name, key in (others or {}).items()}},
            "engine": {"poll_seconds_first": 0.02, "poll_seconds_max": 0.05, "workers": 1},
            "limits": {"disk_reserve_bytes": 0},
        }
    }
    gateway = setup(app, config, clock=clock)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        headers = {"x-portkey-config": json.dumps(route)} if route else {"x-portkey-virtual-key": "lane"}
        async with openai.AsyncOpenAI(base_url=base, api_key=KEY, default_headers=headers, max_retries=0) as client:
            yield World(gateway, clock, client, sandbox)
    finally:
        await runner.cleanup()
