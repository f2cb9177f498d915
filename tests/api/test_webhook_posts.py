"""One try to give an event to its receiver: over TLS for its own name, at each of its addresses, and never for long."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from proxy_plugin.ground import hosts
from proxy_plugin.webhooks import post
from proxy_plugin.webhooks.post import Post
from tests.support.certificates import CERTIFICATE, CERTIFICATE_KEY

SIGNED = {"webhook-id": "wh_1", "Content-Type": "application/json"}


@asynccontextmanager
async def served(tls: ssl.SSLContext | None = None, *, hangs: bool = False) -> AsyncIterator[tuple[int, list[str]]]:
    """Serve a receiver; yield its port and the `Host` of all that came."""
    came, forever = list[str](), asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        came.append(f"{request.headers['Host']} {request.rel_url} {await request.text()}")
        if hangs:
            await forever.wait()
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/{rest:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield site.port, came
    finally:
        forever.set()
        await runner.cleanup()


@asynccontextmanager
async def sending(
    bundle: Path | None = None, listed: tuple[str, ...] = ("localhost", "hooks.test")
) -> AsyncIterator[Post]:
    made = Post(listed, bundle, lambda _: None)
    try:
        yield made
    finally:
        await made.close()


async def test_tls_is_checked_for_the_name_in_the_url(tmp_path: Path) -> None:
    pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    pem.write_text(CERTIFICATE)
    key.write_text(CERTIFICATE_KEY)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem, key)
    async with served(tls) as (port, came), sending(pem) as known, sending() as unknown:
        assert await known.send(f"https://localhost:{port}/a?b=c%20d", "{}", SIGNED) == (202, None, False, None)
        assert came == [f"localhost:{port} /a?b=c%20d {{}}"]
        refused = await unknown.send(f"https://localhost:{port}/a", "{}", SIGNED)
        assert (refused.status, refused.gone) == (None, True)
        assert len(came) == 1


async def test_each_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    monkeypatch.setattr(hosts, "resolve", resolve)
    async with served() as (port, came), sending() as known, sending(listed=()) as unlisted:
        assert (await known.send(f"http://hooks.test:{port}/", "{}", SIGNED)).error is None
        assert len(came) == 1
        refused = await unlisted.send(f"http://hooks.test:{port}/", "{}", SIGNED)
        assert "webhooks_hosts" in (refused.error or "")
        assert len(came) == 1


async def test_a_receiver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "SECONDS", 0.1)
    async with served(hangs=True) as (port, came), sending() as known:
        given_up = await known.send(f"http://localhost:{port}/", "{}", SIGNED)
        assert (given_up.error, given_up.gone) == ("no answer within 0.1 seconds", True)
        assert len(came) == 1
