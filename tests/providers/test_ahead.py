"""Connections opened ahead, against loopback servers that count, close, speak, restart, or serve one at a time."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from proxy_plugin.providers.http import ahead
from proxy_plugin.providers.http.ahead import MOST, Ahead, Connector
from tests.support.certificates import CERTIFICATE, CERTIFICATE_KEY
from tests.support.patience import never_too_old
from tests.support.waiting import eventually

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    never_too_old(monkeypatch)


@dataclass
class Behind:
    """A server with one answer a connection: what happened to each, by the order of their acceptance.

    `one_at_a_time`: it looks at no other connection until the last one has ended. `greeting`: what an unused one gets.
    """

    one_at_a_time: bool = False
    greeting: bytes | None = None
    port: int = 0
    events: list[tuple[int, str]] = field(default_factory=list)
    accepted: int = 0
    writers: dict[int, asyncio.StreamWriter] = field(default_factory=dict)
    server: asyncio.Server | None = None
    slot: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        number = self.accepted
        self.writers[number] = writer
        if self.one_at_a_time:
            async with self.slot:
                await self._serve(number, reader, writer)
        else:
            await self._serve(number, reader, writer)

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.events.append((number, "accepted"))
        if self.greeting is not None and number > 2:  # the first two are no unused ones
            writer.write(self.greeting)
            writer.close()
            return
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.events.append((number, head.split()[0].decode()))
            writer.write(ANSWER)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.events.append((number, "left"))
        finally:
            writer.close()

    def of(self, number: int) -> list[str]:
        return [event for each, event in self.events if each == number]


@dataclass
class Calling:
    """Makes calls as a passed on one is made."""

    url: str
    ahead: Ahead
    connector: Connector
    session: aiohttp.ClientSession

    async def call(self, session: aiohttp.ClientSession | None = None) -> None:
        async with (session or self.session).post(self.url, data=b"{}") as answer:
            assert (answer.status, await answer.read()) == (200, b"{}")
        self.ahead.call_ended(self.connector)

    async def twice(self) -> None:
        """Make the two calls after which a connection is opened for the third."""
        await self.call()
        await self.call()
        await eventually(lambda: len(self.ahead) == len(self.ahead._unused))


@asynccontextmanager
async def calling(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Calling]:
    url = f"{'https' if tls else 'http'}://localhost:{port}"
    unused = Ahead(URL(url))
    connector = Connector(unused, force_close=True, tls=tls or True)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            yield Calling(url, unused, connector, session)
        finally:
            await unused.close()


@asynccontextmanager
async def serving(it: Behind, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Behind]:
    server = await asyncio.start_server(it.serve, "127.0.0.1", port, ssl=tls)
    it.server, it.port = server, server.sockets[0].getsockname()[1]
    async with server:
        yield it


async def test_a_call_soon_after_others_finds_its_connection_open() -> None:
    async with serving(Behind()) as behind, calling(behind.port) as it:
        await it.twice()
        await eventually(lambda: behind.accepted == 3)
        assert behind.of(3) == ["accepted"]
        await it.call()
        assert behind.of(3) == ["accepted", "POST"]
        assert [event for _, event in behind.events].count("POST") == 3


async def test_it_is_the_same_behind_tls(tmp_path: Path) -> None:
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    pair = tmp_path / "pair.pem"
    pair.write_text(CERTIFICATE + CERTIFICATE_KEY)
    server.load_cert_chain(pair)
    client.load_verify_locations(cadata=CERTIFICATE)
    async with serving(Behind(), server) as behind, calling(behind.port, client) as it:
        await it.twice()
        assert len(it.ahead) == 1
        await it.call()
        assert behind.of(3) == ["accepted", "POST"]


async def test_no_connection_has_two_calls() -> None:
    async with serving(Behind()) as behind, calling(behind.port) as it:
        for _ in range(4):
            await asyncio.gather(*(it.call() for _ in range(5)))
        assert [event for _, event in behind.events].count("POST") == 20
        assert all(behind.of(number).count("POST") <= 1 for number in range(1, behind.accepted + 1))


async def test_one_call_alone_opens_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(Behind()) as behind, calling(behind.port) as it:
        await it.call()
        assert len(it.ahead) == 0
        monkeypatch.setattr(ahead, "LIFE_SECONDS", -1.0)  # all later calls come late
        await it.call()
        await it.call()
        assert len(it.ahead) == 0


async def test_there_are_few_however_many_calls_end() -> None:
    async with serving(Behind()) as behind, calling(behind.port) as it:
        await it.call()
        await asyncio.gather(*(it.call() for _ in range(3 * MOST)))
        assert len(it.ahead) == MOST


async def test_an_unused_one_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(Behind()) as behind, calling(behind.port) as it:
        await it.call()
        async with it.session.post(it.url, data=b"{}"):
            monkeypatch.setattr(ahead, "LIFE_SECONDS", 0.0)
        it.ahead.call_ended(it.connector)
        await eventually(lambda: behind.of(3) == ["accepted", "left"])
        assert len(it.ahead) == 0
        await it.call()
        assert behind.of(4) == ["accepted", "POST"]


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
async def test_a_server_that_wants_no_unused_ones_gets_fresh_ones(greeting: bytes) -> None:
    async with serving(Behind(greeting=greeting)) as behind, calling(behind.port) as it:
        await it.twice()
        await eventually(lambda: behind.of(3))
        behind.greeting = None
        for _ in range(4):
            await it.call()
            assert len(it.ahead) == 0
        assert [event for _, event in behind.events].count("POST") == 6
        assert behind.accepted == 7  # a connection a call, and the one that was opened in vain


async def test_one_that_ends_this_moment_is_not_used() -> None:
    """Before the event loop has heard of it, too."""
    async with serving(Behind()) as behind, calling(behind.port) as it:
        await it.twice()
        await eventually(lambda: behind.accepted == 3)
        [unused] = it.ahead._unused
        with socket.socket(fileno=os.dup(behind.writers[3].get_extra_info("socket").fileno())) as end:
            end.shutdown(socket.SHUT_WR)
        assert unused.is_connected()
        assert it.ahead.taken(it.ahead._like) is None
        assert not unused.is_connected()


async def test_a_server_that_starts_anew_loses_no_call() -> None:
    """What waits in the queue of one that ends is reset; the one that listens in its place gets the call."""

    async def answer_two(listening: socket.socket) -> None:
        for _ in range(2):
            end, _ = await asyncio.get_running_loop().sock_accept(listening)
            reader, writer = await asyncio.open_connection(sock=end)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
            writer.close()

    with socket.create_server(("127.0.0.1", 0)) as old:
        old.setblocking(False)
        port = old.getsockname()[1]
        async with calling(port) as it:
            answering = asyncio.create_task(answer_two(old))
            await it.twice()
            await answering
            assert len(it.ahead) == 1
            old.close()
            async with serving(Behind(), port=port) as behind:
                await it.call()
                assert behind.events == [(1, "accepted"), (1, "POST")]


async def test_a_server_with_one_place_gives_it_to_whoever_calls() -> None:
    """It waits for the oldest unused connection, so that one is used first, by calls that keep theirs, too."""
    async with serving(Behind(one_at_a_time=True)) as behind, calling(behind.port) as it:
        await it.twice()
        async with aiohttp.ClientSession(connector=Connector(it.ahead, force_close=False, tls=True)) as keeping:
            await it.call(keeping)
        assert behind.of(3) == ["accepted", "POST"]


async def test_all_are_closed_at_the_end() -> None:
    async with serving(Behind()) as behind:
        async with calling(behind.port) as it:
            await it.twice()
            await it.call()  # another is opening
            await asyncio.gather(*(it.call() for _ in range(3)))
            assert len(it.ahead) > 1
        it.ahead.call_ended(it.connector)
        assert len(it.ahead) == 0
        await eventually(lambda: all(len(behind.of(number)) == 2 for number in range(1, behind.accepted + 1)))


async def test_a_server_that_has_gone_is_not_asked_again_and_again() -> None:
    async with serving(Behind()) as behind, calling(behind.port) as it:
        await it.call()
        async with it.session.post(it.url, data=b"{}"):
            assert behind.server is not None
            behind.server.close()
        it.ahead.call_ended(it.connector)
        assert len(it.ahead) == 1
        await eventually(lambda: len(it.ahead) == 0)
        assert it.ahead._rested > asyncio.get_running_loop().time()


def test_aiohttp_has_what_is_overridden_and_read() -> None:
    made = inspect.signature(aiohttp.TCPConnector._create_connection)
    assert list(made.parameters) == ["self", "req", "traces", "timeout"]
    assert {"transport", "should_close", "close"} <= set(dir(ResponseHandler)) | set(ResponseHandler.__slots__)
