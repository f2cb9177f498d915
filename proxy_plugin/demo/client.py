"""The demo's calls of the gateway: what any caller could do with curl."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from proxy_plugin.demo.plan import SLUG, Plan
from proxy_plugin.demo.screen import DemoFailed, Show, megabytes

START_SECONDS = 30.0
PIECE = 64 * 1024


class Client:
    """The demo's calls. Each raises DemoFailed for an error answer and aiohttp.ClientError for none."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session, self._base = session, base

    async def until_healthy(self) -> None:
        """Return when the gateway serves."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(aiohttp.ClientConnectionError):
                async with self._session.get(self._base.removesuffix("/v1") + "/healthz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
        raise DemoFailed(f"the gateway does not serve {START_SECONDS:.0f} s after its start")

    async def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Return the JSON answer."""
        async with self._session.request(method, self._base + path, **request) as answer:
            await _refuse_errors(answer)
            return dict(await answer.json())

    async def upload(self, path: Path, show: Show) -> dict[str, Any]:
        """Stream a batch input file; `show` follows the bytes."""
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", _pieces(path, show), filename=path.name, content_type="application/jsonl")
        return await self.call("POST", "/files", data=form, headers={"x-portkey-provider": f"@{SLUG}"})

    async def download(self, file_id: str, path: Path, show: Show) -> None:
        """Stream a file's content to `path`; `show` follows the bytes."""
        done = 0
        async with self._session.get(f"{self._base}/files/{file_id}/content") as answer:
            await _refuse_errors(answer)
            with await asyncio.to_thread(path.open, "wb") as file:
                async for piece in answer.content.iter_chunked(PIECE):
                    done += await asyncio.to_thread(file.write, piece)
                    show(done, megabytes(done))


@asynccontextmanager
async def connected(plan: Plan) -> AsyncIterator[Client]:
    """Call the gateway of a plan with its key."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
    async with aiohttp.ClientSession(headers={"x-portkey-api-key": plan.key}, timeout=timeout) as session:
        yield Client(session, plan.url)


async def _refuse_errors(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 400:
        said = (await answer.text())[:1000]
        raise DemoFailed(f"{answer.method} {answer.url.path}: HTTP {answer.status}: {said}")


async def _pieces(path: Path, show: Show) -> AsyncIterator[bytes]:
    done = 0
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
            done += len(piece)
            show(done, megabytes(done))
