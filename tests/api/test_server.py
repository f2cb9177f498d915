"""The gateway's own server: who says nothing, half of something or nonsense, and who does not read."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from proxy_plugin.config import parse
from proxy_plugin.web import connections, server
from proxy_plugin.web.connections import Phase
from proxy_plugin.web.server import Guarded, GuardedServer, Runner, Site
from tests.support.waiting import eventually
from tests.support.wire import PATIENCE, Log, Wire, log_kept

QUICK = {"head_seconds": 0.3, "keepalive_seconds": 0.3, "max_open": 50}
ENDLESS = 10**9


@dataclass
class Plain:
    """A small application behind that server, and its log."""

    runner: Runner
    port: int
    log: Log
    cut: list[str]

    @property
    def open(self) -> int:
        assert isinstance(self.runner.server, GuardedServer)
        return len(self.runner.server.guard.books)

    def closed(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for line in self.log.lines("connections_closed"):
            for why, count in line["counts"].items():
                found[why] = found.get(why, 0) + count
        return found


@asynccontextmanager
async def plain(**settings: Any) -> AsyncIterator[Plain]:
    cut: list[str] = []

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(ENDLESS):
                await response.write(b"x" * 65_536)
        except ConnectionError:
            cut.append("endless")
        return response

    async def whole(request: web.Request) -> web.Response:
        return web.json_response({"bytes": len(await request.read())})

    async def defect(request: web.Request) -> web.Response:
        raise LookupError("a secret")

    app = web.Application()
    app.router.add_get("/endless", endless)
    app.router.add_get("/defect", defect)
    app.router.add_route("*", "/", whole)
    config = parse({"proxy_plugin": {"connections": QUICK | settings}}, {})
    runner = Runner(app, config, shutdown_timeout=1)
    with log_kept() as log:
        try:
            await runner.setup()
            site = Site(runner, "127.0.0.1", 0)
            await site.start()
            yield Plain(runner, site.port, log, cut)
        finally:
            await runner.cleanup()


@asynccontextmanager
async def line(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def refused(client: Wire, status: int, word: str) -> None:
    answer = await client.answer()
    assert (answer.status, answer.error["type"]) == (status, "invalid_request_error")
    assert word in answer.error["message"]
    assert answer.headers["server"] == "proxy-plugin"
    assert await client.ends()


async def test_who_says_nothing_is_hung_up_on() -> None:
    async with plain() as it, line(it.port) as client:
        assert await client.ends()
        await eventually(lambda: it.open == 0)
        assert it.closed() == {Phase.FRESH.value: 1}


async def test_who_comes_back_for_nothing_is_hung_up_on() -> None:
    async with plain() as it, line(it.port) as client:
        for _ in range(3):
            await client.send("GET", "/")
            assert (await client.answer()).status == 200
        assert await client.ends()
        assert it.closed() == {Phase.IDLE.value: 1}


@pytest.mark.parametrize(
    "half",
    [b"G", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: y", b"\r\n"],
)
@pytest.mark.parametrize("before", [0, 2])
async def test_half_a_head_is_408(half: bytes, before: int) -> None:
    async with plain(keepalive_seconds=60) as it, line(it.port) as client:
        for _ in range(before):
            await client.send("GET", "/")
            assert (await client.answer()).status == 200
        await client.write(half)
        await refused(client, 408, "0.3 seconds")


async def test_a_head_byte_by_byte_is_no_reason_to_wait() -> None:
    async with plain() as it, line(it.port) as client:

        async def trickle() -> None:
            for _ in range(ENDLESS):
                await client.write(b"x")
                await asyncio.sleep(0.01)

        trickling = asyncio.create_task(trickle())
        await client.write(b"GET / HTTP/1.1\r\nX: ")
        answer = await client.answer()
        assert answer.status == 408
        trickling.cancel()
        await asyncio.wait({trickling})


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000, 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200, 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: %b\r\n" % (b"y" * 30_000) * 3, 400),
    ],
)
@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["at once", "behind a request"])
async def test_nonsense_is_refused_with_one_quiet_line(sent: bytes, status: int, before: bytes) -> None:
    async with plain() as it, line(it.port) as client:
        if before:
            await client.write(before)
            assert (await client.answer()).status == 200
        await client.write(sent)
        await refused(client, status, "")
        [logged] = it.log.lines("request_unreadable")
        assert (logged["level"], logged["status"]) == ("info", status)
        assert it.log.stream.getvalue().count("\n") == 1


async def test_a_client_that_goes_on_with_its_nonsense_can_read_the_refusal() -> None:
    async with plain() as it, line(it.port) as client:
        await client.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 4_000_000)
        await refused(client, 400, "too long")
        await client.write(b"x" * 100_000)
        client.hang_up()
        await eventually(lambda: it.open == 0)


async def test_who_does_not_leave_after_a_refusal_is_put_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.1)
    async with plain() as it, line(it.port) as client:
        await client.write(b"nonsense\r\n\r\n")
        await eventually(lambda: it.open == 0)
        assert it.closed() == {Phase.CLOSING.value: 1}


async def test_a_head_of_almost_64_kib_is_served_and_its_body_is_no_head() -> None:
    async with plain() as it, line(it.port) as client:
        body = b"b" * 300_000
        headers = [f"X-{n}: {'y' * 30_000}" for n in range(2)]
        await client.send("POST", "/", *headers, f"Content-Length: {len(body)}", body=body)
        assert json.loads((await client.answer()).body) == {"bytes": len(body)}
        await client.send("POST", "/", "Transfer-Encoding: chunked", body=b"1\r\nb\r\n" * 30_000 + b"0\r\n\r\n")
        assert json.loads((await client.answer()).body) == {"bytes": 30_000}
        await client.send("GET", "/")
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX: "], ids=["silent", "half a head"])
async def test_the_oldest_silent_connection_makes_room(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "GRACE_SECONDS", 0.0)
    async with plain(max_open=3, head_seconds=60, keepalive_seconds=60) as it, line(it.port) as kept:
        await kept.send("GET", "/")
        assert (await kept.answer()).status == 200
        async with line(it.port) as first, line(it.port) as second:
            for client in (first, second):
                await client.write(sent)
            await eventually(lambda: it.open == 3)
            async with line(it.port) as newest:
                await newest.send("GET", "/")
                assert (await newest.answer()).status == 200
                await eventually(first.gone)
                assert not second.gone()
            await kept.send("GET", "/")
            assert (await kept.answer()).status == 200
            assert it.closed() == {"crowded": 1}


async def test_requests_that_run_are_not_ended_for_room() -> None:
    async with plain(max_open=2) as it, line(it.port) as first, line(it.port) as second:
        for client in (first, second):
            await client.send("POST", "/", "Content-Length: 2", body=b"a")
        await eventually(lambda: it.open == 2)
        async with line(it.port) as third:
            await eventually(third.gone)
        for client in (first, second):
            await client.write(b"b")
            assert (await client.answer()).status == 200


@pytest.mark.parametrize("reads", [False, True])
async def test_who_does_not_read_is_put_out_and_who_reads_slowly_is_not(
    reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALL_SECONDS", 0.1)
    async with plain(min_bytes_per_second=1000) as it, line(it.port) as client:
        await client.send("GET", "/endless")
        taken = 0
        if not reads:
            await eventually(lambda: it.cut == ["endless"])
            assert it.closed() == {"stalled": 1}
            return
        for _ in range(100):  # some ten looks of the server
            taken += len(await client._reader.read(65_536))
            await asyncio.sleep(0.01)
        assert taken
        assert it.cut == []
        client.hang_up()
        await eventually(lambda: it.cut == ["endless"])


async def test_a_defect_behind_it_is_500_in_our_shape() -> None:
    async with plain() as it, line(it.port) as client:
        await client.send("GET", "/defect")
        answer = await client.answer()
        assert (answer.status, answer.error["type"]) == (500, "server_error")
        [logged] = it.log.lines("request_failed")
        assert logged["error_type"] == "LookupError"
        assert "a secret" not in it.log.stream.getvalue()


async def test_a_body_that_breaks_its_chunks_ends_at_once() -> None:
    async with plain() as it, line(it.port) as client:
        await client.send("POST", "/", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\nnonsense\r\n")
        assert (await client.answer()).status >= 400


async def test_accept_failures_are_logged_once_and_end_a_silent_connection() -> None:
    loop = asyncio.get_running_loop()
    async with plain(head_seconds=60) as it, line(it.port) as one, line(it.port) as two:
        await eventually(lambda: it.open == 2)
        for _ in range(2):
            failed = OSError(errno.EMFILE, "Too many open files")
            loop.call_exception_handler({"message": "accept", "exception": failed, "socket": object()})
        await eventually(lambda: one.gone() and two.gone())
        assert [line["counts"] for line in it.log.lines("accept_failed")] == [{"EMFILE": 1}]
        loop.call_exception_handler({"message": "something else"})
        assert it.log.lines("log")


async def test_a_stop_does_not_wait_for_who_was_refused() -> None:
    async with plain() as it, line(it.port) as client:
        await client.write(b"nonsense\r\n\r\n")
        await client.answer()
        assert isinstance(it.runner.server, GuardedServer)
        [connection] = it.runner.server.connections
        assert isinstance(connection, Guarded)
        async with asyncio.timeout(PATIENCE):
            await connection.shutdown(ENDLESS)
        await eventually(client.gone)


def test_the_sweep_is_finer_than_the_patience() -> None:
    assert connections.SWEEP_SECONDS < connections.LINGER_SECONDS
