"""The gateway behind a socket of its own: who may connect, and whose word counts there."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from proxy_plugin import setup
from proxy_plugin.access.identity import Identity
from proxy_plugin.inside import facts
from proxy_plugin.inside.words import IDENTITY, MOST_PATH, SECRET
from proxy_plugin.web import private_socket
from tests.support.served import KEY, WHO, configuration

TEAM = Identity(name="a key", key_hash="ab" * 32, team_id="t1")
ADMIN = Identity(name="master", key_hash="cd" * 32, admin=True)


@dataclass
class Behind:
    """A gateway that answers at a socket and on a loopback port."""

    socket: Path
    port: int
    secret: str

    async def status(self, headers: Mapping[str, str], *, tcp: bool = False) -> int:
        """Return the status of a list of files."""
        connector = None if tcp else aiohttp.UnixConnector(str(self.socket))
        host = f"http://127.0.0.1:{self.port}" if tcp else "http://gateway"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{host}/v1/files", headers=headers) as answer,
        ):
            return answer.status


def says(identity: Identity, secret: str) -> dict[str, str]:
    return {IDENTITY: base64.b64encode(msgspec.json.encode(identity)).decode(), SECRET: secret}


@pytest.fixture
def folder() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(prefix="socket-"))
    yield found
    shutil.rmtree(found)


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[Behind]:
    app, socket = web.Application(), folder / "gateway.sock"
    gateway = setup(app, configuration(folder / "data"))
    private_socket.believe(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    private_socket.require_private(socket)
    private_socket.tell(app, socket, gateway.config)
    await private_socket.SocketSite(runner, socket).start()
    try:
        yield Behind(socket, runner.addresses[0][1], facts.FactsReader(socket).now().secret)
    finally:
        await runner.cleanup()


async def test_litellms_word_counts_at_the_socket_with_the_secret_and_nowhere_else(folder: Path) -> None:
    async with behind(folder) as gateway:
        assert gateway.socket.stat().st_mode & 0o777 == 0o600
        assert await gateway.status(says(TEAM, gateway.secret)) == 200
        assert await gateway.status(says(ADMIN, gateway.secret)) == 200
        assert await gateway.status(says(ADMIN, "guess")) == 401
        assert await gateway.status(says(ADMIN, gateway.secret), tcp=True) == 401
        assert await gateway.status({IDENTITY: "no base64", SECRET: gateway.secret}) == 401
        assert await gateway.status({}) == 401


async def test_keys_of_the_gateways_own_count_at_both(folder: Path) -> None:
    async with behind(folder) as gateway:
        assert await gateway.status(WHO) == await gateway.status(WHO, tcp=True) == 200
        known = facts.FactsReader(gateway.socket).now()
        assert known.knows(KEY)
        assert not known.knows("another")


async def test_a_second_gateway_leaves_the_socket_alone(folder: Path) -> None:
    async with behind(folder) as gateway:
        with pytest.raises(OSError, match="another gateway"):
            private_socket.require_private(gateway.socket)
    private_socket.require_private(gateway.socket)  # it was left behind


def test_a_socket_that_others_could_replace_or_nobody_can_have_is_refused(folder: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        private_socket.require_private(folder / ("x" * MOST_PATH))
    folder.chmod(0o777)
    with pytest.raises(OSError, match="others can write"):
        private_socket.require_private(folder / "gateway.sock")


async def test_the_end_comes_when_the_last_user_has_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_socket, "LOOK_SECONDS", 0.01)
    path = folder / "gateway.users"
    users = [os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2)]
    for each in users:
        fcntl.flock(each, fcntl.LOCK_SH)
    waiting = asyncio.create_task(private_socket.until_free(path))
    for each in users:
        await asyncio.sleep(0.03)
        assert not waiting.done()
        os.close(each)
    await waiting
