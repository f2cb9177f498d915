"""Requests with bodies find their connection to the upstream open, and answers leave in as few packets as they come."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.patience import never_too_old
from tests.support.served import WHO, Served, running
from tests.support.waiting import eventually
from tests.support.wire import Log, wire

DATA_SEGMENTS_IN = 152  # where `struct tcp_info` of Linux has `tcpi_data_segs_in`


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    never_too_old(monkeypatch)


@dataclass
class Behind:
    """The requests of each connection, by the order in which they were accepted."""

    connections: list[list[str]] = field(default_factory=list)
    left: int = 0
    pieces: list[bytes] = field(default_factory=lambda: [b"{}"])
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen: list[str] = []
        self.connections.append(seen)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen.append(head.split()[0].decode())
                length = sum(map(len, self.pieces))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + self.pieces[0])
                for piece in self.pieces[1:]:
                    await self.go_on.wait()
                    writer.write(piece)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left += 1
        finally:
            writer.close()


@asynccontextmanager
async def fronted(tmp_path: Path) -> AsyncIterator[tuple[Served, Behind]]:
    it = Behind()
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(tmp_path, server={"upstream": f"http://127.0.0.1:{port}"}) as served:
        yield served, it


async def test_requests_that_follow_each_other_find_a_connection_of_their_own_open(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, behind):
        for _ in range(2):
            assert (await served.call("POST", "/v1/x", {}))[0] == 200
        await eventually(lambda: len(behind.connections) == 3)
        for n in range(3, 6):
            assert (await served.call("POST", "/v1/x", {}))[0] == 200
            assert behind.connections[:n] == [["POST"]] * n
    await eventually(lambda: behind.left == len(behind.connections))


async def test_requests_without_a_body_open_none(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, behind):
        for _ in range(3):
            assert (await served.call("GET", "/v1/x"))[0] == 200
        assert (await served.call("POST", "/v1/x", {}))[0] == 200
        assert behind.connections == [["GET"] * 3, ["POST"]]


async def test_a_request_whose_client_left_opens_none(tmp_path: Path, log: Log) -> None:
    async with fronted(tmp_path) as (served, behind), wire(served) as client:
        assert (await served.call("POST", "/v1/x", {}))[0] == 200
        behind.pieces = [b"{", b"}"]
        await client.send("POST", "/v1/x", "Content-Length: 2", body=b"{}")
        await eventually(lambda: behind.connections == [["POST"], ["POST"]])
        client.hang_up()
        await eventually(lambda: [line["status"] for line in log.lines("request")] == [200, 499])
        behind.go_on.set()
        assert len(behind.connections) == 2


def _packets(client: socket.socket) -> int:
    found: int = struct.unpack_from("I", client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), DATA_SEGMENTS_IN)[
        0
    ]
    return found


async def test_what_came_in_one_packet_leaves_in_one(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (served, behind), wire(served) as client:
        await client.send("POST", "/v1/x", "Content-Length: 2", body=b"{}")
        assert (await client.answer()).body == b"{}"
        assert _packets(client._writer.get_extra_info("socket")) == 1
        behind.pieces = [b"", b"{}"]  # the head alone, and at once
        await client.send("POST", "/v1/x", "Content-Length: 2", body=b"{}")
        assert (await client._reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        behind.go_on.set()
        assert await client._reader.readexactly(2) == b"{}"


async def test_a_body_behind_its_headers_arrives_whole(tmp_path: Path) -> None:
    async def show(request: web.Request) -> web.Response:
        return web.json_response({"body": await request.text(), "length": request.headers.get("Content-Length")})

    app = web.Application()
    app.router.add_post("/v1/x", show)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with (
        running(tmp_path, server={"upstream": f"http://127.0.0.1:{site.port}"}) as served,
        wire(served) as client,
    ):
        for pieces in ([b"hello"], [b"", b"hello"], [b"he", b"llo"]):
            await client.send("POST", "/v1/x", f"x-portkey-api-key: {WHO['x-portkey-api-key']}", "Content-Length: 5")
            for piece in pieces:
                await client.write(piece)
                await asyncio.sleep(0)
            assert json.loads((await client.answer()).body) == {"body": "hello", "length": "5"}
    await runner.cleanup()


def test_aiohttp_has_what_is_overridden() -> None:
    assert web.StreamResponse._send_headers_immediately is True
    assert web.Response._send_headers_immediately is False
