"""The whole gateway inside an application of this process, answering on a loopback port."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from proxy_plugin import setup
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground.clock import SystemClock
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.web.request_body import MAX_BODY

KEY, OTHER_KEY = "key-of-the-first-workspace", "key-of-the-second-workspace"
WHO = {"x-portkey-api-key": KEY}
TARGET = WHO | {"x-portkey-virtual-key": "lane"}
FORM = (
    b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n%b\r\n--edge--\r\n'
)
WANTED = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=edge"}


def configuration(
    data_dir: Path, model_list: Sequence[object] = (), general_settings: Mapping[str, Any] = {}, **sections: Any
) -> dict[str, Any]:
    """Return a configuration with two workspaces and one virtual key that leads nowhere."""
    ours = {
        "storage": {"data_dir": str(data_dir)},
        "api_keys": [
            {"name": "first", "key": KEY, "workspace": "one"},
            {"name": "second", "key": OTHER_KEY, "workspace": "two", "virtual_keys": ["none*"]},
        ],
        "virtual_keys": {
            "lane": {"provider": "openai", "api_key": "sk-sandbox-key", "custom_host": "http://127.0.0.1:9/v1"}
        },
        "limits": {"disk_reserve_bytes": 0},
    }
    theirs = {"general_settings": dict(general_settings)} if general_settings else {}
    return {"model_list": list(model_list), "proxy_plugin": ours | sections} | theirs


@dataclass
class Served:
    """A gateway in this process that answers on a loopback port."""

    gateway: Gateway
    port: int
    clock: SystemClock
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] = TARGET
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Make one call and return (status, decoded JSON, headers)."""
        text = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        data = io.BytesIO(text) if text is not None and len(text) > MAX_BODY else text  # aiohttp warns of long texts
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            return answer.status, json.loads(await answer.read()), answer.headers


@asynccontextmanager
async def running(
    data_dir: Path, app: web.Application | None = None, *, cancelling: bool = False, **sections: Any
) -> AsyncIterator[Served]:
    """Run the gateway in an application, which may have handlers of its own, and may cancel them when clients leave."""
    app, clock = app or web.Application(), SystemClock()
    gateway = setup(app, configuration(data_dir, **sections), clock=clock)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2, handler_cancellation=cancelling)
    try:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession() as session:
            yield Served(gateway, site.port, clock, session)
    finally:
        await runner.cleanup()


async def create(served: Served, headers: Mapping[str, str] = {}, **fields: Any) -> dict[str, Any]:
    """Create a batch and return it."""
    status, batch, _ = await served.call("POST", "/v1/batches", WANTED | fields, {**TARGET, **headers})
    assert status == 200, batch
    return dict(batch)


async def stored(served: Served, batch_id: str) -> BatchRow:
    """Return the row of a batch."""
    row = await served.gateway.registry.read(batches.get, batch_id)
    assert row is not None
    return row


async def count(served: Served) -> int:
    """Return how many batches there are."""
    return int(await served.gateway.registry.read(_count))


def _count(conn: Connection) -> int:
    (found,) = conn.execute("SELECT COUNT(*) FROM batches").fetchone()
    return int(found)
