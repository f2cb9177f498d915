"""A pause that a provider asks of one replica is kept by another one: no call is sent meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import openai
from aiohttp import web

from proxy_plugin.app import setup
from proxy_plugin.gateway import Gateway
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.lines import jsonl
from tests.support.postgres import Databases
from tests.support.rows import make_schema
from tests.support.stack import KEY
from tests.support.waiting import answered, eventually
from tests.whole.lanes.rig import STAND_INS, Stand, chats

BATCHES, SECONDS = 3, 1000
POLL = "batches.retrieve"


@asynccontextmanager
async def replica(home: Path, url: str, sandbox: Sandbox) -> AsyncIterator[tuple[Gateway, str]]:
    """Run a gateway of several in this process; yield it and its URL."""
    stand_in = next(each for each in STAND_INS if each.provider == "openai")
    storage = {"data_dir": str(home), "database_url": url, "blob_url": f"file://{home.parent}/store"}
    config = {
        "storage": storage,
        "api_keys": [{"name": "tests", "key": KEY}],
        "virtual_keys": {"lane": Stand(sandbox, stand_in).key()},
        "engine": {"poll_seconds_first": 0.02, "poll_seconds_max": 0.05, "workers": 1},
        "limits": {"disk_reserve_bytes": 0},
    }
    app = web.Application()
    gateway = setup(app, {"proxy_plugin": config})
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield gateway, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def created(url: str) -> None:
    headers = {"x-portkey-virtual-key": "lane"}
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, default_headers=headers, max_retries=0) as client:
        for n in range(BATCHES):
            file = await client.files.create(file=("a.jsonl", jsonl(chats(2, str(n)))), purpose="batch")
            await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


async def test_a_polls_retry_after_is_kept_by_the_other_replica(
    tmp_path: Path, sandbox: Sandbox, databases: Databases
) -> None:
    sandbox.control.reset()
    sandbox.control.options("openai", run_seconds=1e6)
    url = databases.like("schema", make_schema)

    def asked(query: str) -> list[tuple[Any, ...]]:
        return databases.ask(query, url)

    async def all_rest() -> bool:
        query = "SELECT COUNT(*) FROM parts JOIN waits w ON w.batch_id = parts.batch_id AND w.part = parts.n"
        return asked(f"{query} WHERE due_at > {SECONDS / 2} + extract(epoch FROM now())") == [(BATCHES,)]

    async def polls() -> int:
        return sum(entry["op"] == POLL for entry in await sandbox.requests())

    async with AsyncExitStack() as stack:
        two, _ = await stack.enter_async_context(replica(tmp_path / "two", url, sandbox))
        async with replica(tmp_path / "one", url, sandbox) as (one, address):
            await created(address)
            await answered(polls)
            await sandbox.faults([{"on": POLL, "kind": "status", "status": 429, "retry_after": SECONDS}])
            await answered(all_rest)
            await eventually(lambda: all(each.http._held for each in (one, two)))
            made = await polls()
        asked("UPDATE parts SET due_at = 1")  # and whoever was not told looks at all of them
        two.engine.wake()
        await answered(all_rest)
        assert await polls() == made
        assert (await sandbox.faults())[0]["fired"] == 1
    assert asked("SELECT COUNT(*) FROM holds") == [(1,)]
    databases.drop(url)
