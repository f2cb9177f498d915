"""What an answer, a broken answer or none proves: `proxy_plugin.providers.http` against raw loopback servers."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import ssl
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.base import OutcomeUnknown, ProviderError, Refused, TryLater
from proxy_plugin.providers.http import LONGEST_WAIT, Http, HttpSettings, Origin, Reply, connections, retry_after
from proxy_plugin.providers.http.complaints import read_complaint
from tests.support.certificates import CERTIFICATE, CERTIFICATE_KEY

KEY = "sk-proj-Zz9quiteSecret0123456789"
PATIENT = HttpSettings()
QUICK = HttpSettings(connect_timeout=0.3, read_timeout=0.2, request_timeout=2.0, create_timeout=0.3)


@dataclass
class Seen:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes = b""


Script = Callable[[Seen, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Peer:
    """A server that reads whole requests and answers by script: bytes to send, or a function that does as it likes."""

    script: list[bytes | Script]
    greeting: bytes = b""  # sent before anything was asked
    url: str = ""
    connections: int = 0
    seen: list[Seen] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(self.greeting)
        try:
            while (seen := await _head(reader)) is not None:
                self.seen.append(seen)
                step = self.script[min(len(self.seen), len(self.script)) - 1]
                if not isinstance(step, bytes):
                    await step(seen, reader, writer)
                    return
                seen.body = await reader.readexactly(int(seen.headers.get("content-length", "0")))
                writer.write(step)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort() if writer.transport.is_closing() else writer.close()


async def _head(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
        return None
    line, _, rest = head.decode().partition("\r\n")
    pairs = (text.partition(": ") for text in rest.strip().split("\r\n"))
    return Seen(line, {name.lower(): value for name, _, value in pairs})


def answer(status: int, body: object = None, **headers: str) -> bytes:
    text = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(text)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + text


async def drop(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the whole request and hang up without a word."""
    seen.body = await reader.readexactly(int(seen.headers.get("content-length", "0")))


async def stall(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the whole request and say nothing until the client has gone."""
    await reader.read(-1)


def cut(sent: bytes) -> Script:
    """Send some bytes, then hang up."""

    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await drop(seen, reader, writer)
        writer.write(sent)
        await writer.drain()

    return script


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@asynccontextmanager
async def _serving(peer: Peer, tls: ssl.SSLContext | None) -> AsyncIterator[Peer]:
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls, limit=1 << 16)
    peer.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield peer
    finally:
        server.close()
        await asyncio.sleep(0)


class World:
    """Peers and clients of one test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def peer(self, *script: bytes | Script, tls: ssl.SSLContext | None = None, greeting: bytes = b"") -> Peer:
        return await self._stack.enter_async_context(_serving(Peer(list(script), greeting), tls))

    def http(self, settings: HttpSettings = PATIENT, **clocks: Callable[[], float]) -> Http:
        http = Http(settings, **clocks)
        self._stack.push_async_callback(http.close)
        return http

    def origin(self, url: str, settings: HttpSettings = PATIENT) -> Origin:
        return origin(self.http(settings), url)


def origin(http: Http, url: str, account: str = "prod") -> Origin:
    return http.origin(account, f"{url}/v1", {"Authorization": f"Bearer {KEY}"}, {"X-Plain": "plain"})


@pytest.fixture
def world(stack: AsyncExitStack) -> World:
    return World(stack)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"custom_id":"a"}\n' * 40_000)
    return path


async def every_call(origin: Origin, tmp_path: Path, document: Path) -> dict[str, BaseException]:
    """Make each kind of call once; return what each raised."""
    calls: dict[str, Awaitable[Any]] = {
        "request": origin.request("GET", "batches"),
        "upload": origin.upload("files", {"purpose": "batch"}, document, "pp-x.jsonl"),
        "download": origin.download("files/f/content", tmp_path / "output.jsonl"),
        "first line": origin.first_line("files/f/content"),
        "create": origin.create("batches", json={"a": 1}),
        "create from a file": origin.create("batches", document=document),
    }
    raised: dict[str, BaseException] = {}
    for name, call in calls.items():
        with pytest.raises(ProviderError) as caught:
            await call
        raised[name] = caught.value
    return raised


async def test_a_request_carries_path_parameters_headers_and_json(world: World) -> None:
    peer = await world.peer(answer(200, {"data": [1]}, X_Request_Id="r1"), answer(204))
    bound = world.origin(peer.url)
    reply = await bound.request("GET", "batches", params={"after": "b 1&x", "limit": "2"})
    assert (reply.status, reply.fields(), reply.headers["x-request-id"]) == (200, {"data": [1]}, "r1")
    empty = await bound.request("POST", "batches/b_1/cancel", json={"a": "é"})
    assert (empty.status, empty.json, empty.fields()) == (204, None, {})
    first, second = peer.seen
    assert first.line == "GET /v1/batches?after=b+1%26x&limit=2 HTTP/1.1"
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["x-plain"] == "plain"
    assert (second.line, json.loads(second.body)) == ("POST /v1/batches/b_1/cancel HTTP/1.1", {"a": "é"})
    assert second.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path", ["", "/v1/x", "//evil.example/x", "a/../../x", "..", "a?key=1", "a#b", "a b", "a\r\nb", "a//b"]
)
async def test_only_relative_paths_below_the_base_are_called(world: World, path: str) -> None:
    peer = await world.peer(answer(200, {}))
    with pytest.raises(ValueError, match="relative path"):
        await world.origin(peer.url).request("GET", path)
    assert peer.connections == 0


@pytest.mark.parametrize("url", ["ftp://h/v1", "h/v1", "http://", f"https://u:{KEY}@h/v1", f"https://h/v1?key={KEY}"])
def test_a_base_url_is_plain(url: str) -> None:
    with pytest.raises(ValueError, match="base URL") as caught:
        Http().origin("prod", url, {})
    assert KEY not in str(caught.value)


def test_a_header_that_cannot_be_sent_is_named_without_its_value() -> None:
    with pytest.raises(ValueError, match="Authorization") as caught:
        Http().origin("prod", "http://h", {"Authorization": f"Bearer {KEY}\r\nX-Evil: 1"})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(world: World, tmp_path: Path, document: Path, status: int) -> None:
    thief = await world.peer(answer(200, {"id": "x"}))
    peer = await world.peer(answer(status, None, Location=f"{thief.url}/v1/files"))
    for name, error in (await every_call(world.origin(peer.url), tmp_path, document)).items():
        assert isinstance(error, Refused), name
        assert (error.code, error.status) == ("unexpected_redirect", status), name
    assert len(peer.seen) == 6
    assert thief.connections == 0, "a credential left for another host"


async def test_after_303_a_create_may_have_been_accepted(world: World) -> None:
    peer = await world.peer(answer(303, None, Location="/v1/batches/b_1"))
    bound = world.origin(peer.url)
    with pytest.raises(OutcomeUnknown):
        await bound.create("batches", json={})
    with pytest.raises(Refused):
        await bound.request("GET", "batches")


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504, 520])
async def test_passing_trouble_is_repeated_unless_it_met_a_create(
    world: World, tmp_path: Path, document: Path, status: int
) -> None:
    peer = await world.peer(answer(status, {"error": {"code": "busy", "message": "m"}}))
    for name, error in (await every_call(world.origin(peer.url), tmp_path, document)).items():
        if name.startswith("create"):
            assert isinstance(error, OutcomeUnknown), name
        else:
            assert isinstance(error, TryLater), name
            assert (error.status, error.after) == (status, None), name


async def test_a_429_proves_that_nothing_was_accepted(world: World, tmp_path: Path, document: Path) -> None:
    peer = await world.peer(answer(429, {"error": {"code": "rate_limit_exceeded", "message": "m"}}))
    for name, error in (await every_call(world.origin(peer.url), tmp_path, document)).items():
        assert isinstance(error, TryLater), name
        assert error.status == 429, name
    assert len(peer.seen) == 6


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_other_4xx_are_refusals_in_the_providers_words(
    world: World, tmp_path: Path, document: Path, status: int
) -> None:
    body = {"error": {"message": "no such model", "type": "t", "param": "model", "code": "model_not_found"}}
    peer = await world.peer(answer(status, body))
    for name, error in (await every_call(world.origin(peer.url), tmp_path, document)).items():
        assert isinstance(error, Refused), name
        assert (error.code, error.message, error.param) == ("model_not_found", "no such model", "model"), name
        assert error.status == status


LOST: dict[str, bytes | Script] = {
    "dropped": drop,
    "stalled": stall,
    "no HTTP": cut(b"\x16\x03\x01 what\r\n\r\n"),
    "cut in the head": cut(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "cut in the body": cut(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"id":'),
    "cut in a chunk": cut(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"id":'),
    "no chunk": cut(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{"id":"b"}'),
    "a bad header": cut(f"HTTP/1.1 200 OK\r\nbad {KEY}\r\n\r\n{{}}".encode()),
    "false gzip": answer(200, b'{"id":"b"}', Content_Encoding="gzip"),
}


@pytest.mark.parametrize("way", LOST)
async def test_a_lost_answer_leaves_a_create_unknown_and_sends_it_once(
    world: World, tmp_path: Path, document: Path, way: str
) -> None:
    peer = await world.peer(LOST[way])
    bound = world.origin(peer.url, QUICK if way == "stalled" else PATIENT)
    for name, error in (await every_call(bound, tmp_path, document)).items():
        assert isinstance(error, OutcomeUnknown if name.startswith("create") else TryLater), (name, error)
    assert [seen.line for seen in peer.seen].count("POST /v1/batches HTTP/1.1") == 2, "one each"
    assert list(tmp_path.glob("output*")) == []


@pytest.mark.parametrize("body", [b"<html>hello</html>", b'{"id":', b"\xff", b"[" * 5000])
async def test_an_unreadable_body_is_no_answer(world: World, body: bytes) -> None:
    peer = await world.peer(answer(200, body))
    bound = world.origin(peer.url)
    with pytest.raises(OutcomeUnknown):
        await bound.create("batches", json={})
    with pytest.raises(TryLater):
        await bound.request("GET", "batches")


async def test_a_reply_is_bounded(world: World) -> None:
    peer = await world.peer(answer(200, {"data": "x" * 5000}))
    with pytest.raises(TryLater):
        await world.origin(peer.url, HttpSettings(max_reply_bytes=4096)).request("GET", "batches")
    reply = await world.origin(peer.url, HttpSettings(max_reply_bytes=6000)).request("GET", "batches")
    assert len(reply.fields()["data"]) == 5000


async def test_a_body_without_end_is_left(world: World) -> None:
    async def pour(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = b"200 OK" if seen.line.startswith("GET") else b"400 No"
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
        while not writer.transport.is_closing():
            writer.write(b"x" * 65536)
            await writer.drain()

    bound = world.origin((await world.peer(pour)).url, HttpSettings(max_reply_bytes=1 << 20))
    async with asyncio.timeout(5):
        with pytest.raises(TryLater):
            await bound.request("GET", "batches")
        with pytest.raises(Refused):
            await bound.request("DELETE", "files/f")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"a":1}\n{"b":2}\n', b'{"a":1}'),
        (b'\r\n\n {"a":1}\r\n{"b":2}', b'{"a":1}\r'),
        (b'{"a":', b'{"a":'),
        (b"\n \n", b""),
        (b"", b""),
        (b"x" * 5000 + b"\n", b"x" * 4096),
    ],
)
async def test_the_first_line_of_a_body_is_read_by_itself(world: World, body: bytes, line: bytes) -> None:
    peer = await world.peer(answer(200, body))
    assert await world.origin(peer.url, HttpSettings(max_reply_bytes=4096)).first_line("b/results") == line
    assert peer.seen[0].headers["accept-encoding"] == "identity"


async def test_what_follows_the_first_line_is_not_waited_for(world: World) -> None:
    gone = asyncio.Event()

    async def begin(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n\nfirst")
        await asyncio.sleep(0.05)  # so that it arrives in two pieces
        writer.write(b" line\nsecond")
        with suppress(ConnectionError):
            await reader.read()
        gone.set()

    bound = world.origin((await world.peer(begin)).url)
    async with asyncio.timeout(5):
        assert await bound.first_line("b/results") == b"first line"
        await gone.wait()


@pytest.mark.parametrize(("status", "proof"), [(429, TryLater), (400, Refused), (500, OutcomeUnknown)])
async def test_the_status_counts_when_an_error_body_is_cut(
    world: World, status: int, proof: type[ProviderError]
) -> None:
    peer = await world.peer(cut(f'HTTP/1.1 {status} No\r\nContent-Length: 99\r\n\r\n{{"error":'.encode()))
    with pytest.raises(proof, match=f"http_{status}"):
        await world.origin(peer.url).create("batches", json={})


async def test_no_connection_proves_that_nothing_was_accepted(world: World, tmp_path: Path, document: Path) -> None:
    garbage, silent = await world.peer(drop, greeting=b"no TLS here\r\n\r\n"), await world.peer(drop)
    places = {
        "nothing listens": ("http://127.0.0.1:1", PATIENT),
        "no such host": ("http://host.invalid", PATIENT),
        "TLS is answered with garbage": (garbage.url.replace("http", "https"), PATIENT),
        "TLS is not answered": (silent.url.replace("http", "https"), QUICK),
    }
    for place, (url, limits) in places.items():
        bound = world.origin(url, limits)
        calls = (bound.create("batches", json={}), bound.create("batches", document=document))
        for error in await asyncio.gather(*calls, bound.request("GET", "batches"), return_exceptions=True):
            assert isinstance(error, TryLater), place
            assert "no connection was made" in str(error), place
    assert (garbage.connections, silent.connections) == (3, 3)
    assert (garbage.seen, silent.seen) == ([], [])


async def test_a_ca_bundle_replaces_the_systems_authorities(world: World, tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(CERTIFICATE_KEY)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    peer = await world.peer(answer(200, {"id": "b"}), tls=tls)
    with pytest.raises(TryLater, match=r"self-signed certificate\), no connection was made"):
        await world.origin(peer.url).create("batches", json={})
    trusting = world.origin(peer.url, HttpSettings(ca_bundle=str(certificate)))
    assert (await trusting.create("batches", json={})).fields() == {"id": "b"}


async def test_creates_and_uploads_use_fresh_connections_and_others_do_not(world: World, document: Path) -> None:
    peer = await world.peer(answer(200, {"id": "b"}))
    bound = world.origin(peer.url)
    for _ in range(3):
        await bound.request("GET", "batches")
    assert peer.connections == 1
    await bound.create("batches", json={})
    await bound.create("batches", json={})
    await bound.upload("files", {}, document, "a.jsonl")
    assert peer.connections == 4


async def test_a_kept_connection_that_was_dropped_meanwhile_costs_a_read_nothing(world: World) -> None:
    peer = await world.peer(answer(200, {"n": 1}), drop, answer(200, {"n": 3}))
    bound = world.origin(peer.url)
    assert (await bound.request("GET", "batches")).fields() == {"n": 1}
    assert (await bound.request("GET", "batches")).fields() == {"n": 3}


async def test_an_upload_is_a_form_with_a_length(world: World, document: Path) -> None:
    peer = await world.peer(answer(200, {"id": "file-1"}))
    reply = await world.origin(peer.url).upload("files", {"purpose": "batch"}, document, "pp-0123456789.jsonl")
    assert reply.fields() == {"id": "file-1"}
    (seen,) = peer.seen
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert "transfer-encoding" not in seen.headers
    head = f"Content-Type: {seen.headers['content-type']}\r\n\r\n".encode()
    purpose, file = BytesParser(policy=HTTP).parsebytes(head + seen.body).iter_parts()
    assert purpose["content-disposition"].params == {"name": "purpose"}
    assert purpose.get_payload(decode=True) == b"batch"
    assert file["content-disposition"].params == {"name": "file", "filename": "pp-0123456789.jsonl"}
    assert file.get_payload(decode=True) == document.read_bytes()


async def test_a_create_sends_a_document_from_disk_with_its_length(world: World, document: Path) -> None:
    peer = await world.peer(answer(200, {"id": "b"}))
    await world.origin(peer.url).create("batches", document=document)
    assert peer.seen[0].body == document.read_bytes()
    assert peer.seen[0].headers["content-type"] == "application/json"


async def test_the_rest_of_a_file_is_sent_as_it_is(world: World, document: Path) -> None:
    peer = await world.peer(answer(200, {"ok": True}))
    headers, params = {"X-Some-Offset": "3"}, {"upload_id": "a/b"}
    await world.origin(peer.url).send("files", document, start=3, headers=headers, params=params)
    (seen,) = peer.seen
    assert seen.body == document.read_bytes()[3:]
    assert (seen.headers["content-length"], seen.headers["x-some-offset"]) == (str(len(seen.body)), "3")
    assert "?upload_id=a" in seen.line


async def test_an_upload_that_the_peer_stops_reading_ends(world: World, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    stop = asyncio.Event()

    async def deaf(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()

    peer = await world.peer(deaf)
    with pytest.raises(TryLater):
        await world.origin(peer.url, QUICK).upload("files", {}, big, "big.jsonl")
    with pytest.raises(OutcomeUnknown):
        await world.origin(peer.url, QUICK).create("batches", document=big)
    stop.set()  # until now the peer has read nothing: both have ended of themselves


async def test_a_refusal_in_the_middle_of_an_upload_is_heard(world: World, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    stop = asyncio.Event()

    async def full(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(413, {"error": {"code": "too_large", "message": "m"}}))
        await stop.wait()

    peer = await world.peer(full)
    with pytest.raises(Refused) as caught:
        await world.origin(peer.url).upload("files", {}, big, "big.jsonl")
    stop.set()
    assert caught.value.code == "too_large"


async def test_uploads_and_downloads_need_no_memory_for_the_file(world: World, tmp_path: Path) -> None:
    size = 48 << 20
    big, copy = tmp_path / "big", tmp_path / "copy"
    with big.open("wb") as file:
        file.truncate(size)

    async def swallow(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = int(seen.headers["content-length"])
        while left:
            left -= len(await reader.read(1 << 16))
        writer.write(answer(200, {"id": "f"}))

    async def pour(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size >> 16):
            writer.write(bytes(1 << 16))
            await writer.drain()

    peer = await world.peer(swallow, pour)
    bound = world.origin(peer.url)
    tracemalloc.start()
    try:
        await bound.upload("files", {}, big, "big.jsonl")
        assert await bound.download("files/f/content", copy, size) == size
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert copy.stat().st_size == size


async def test_a_download_is_whole_or_absent(world: World, tmp_path: Path) -> None:
    to, body = tmp_path / "output.jsonl", os.urandom(3_000_000)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    peer = await world.peer(answer(200, body), chunked, answer(200, b""))
    bound = world.origin(peer.url)
    assert await bound.download("files/f/content", to, len(body)) == len(body)
    assert to.read_bytes() == body
    assert await bound.download("files/f/content", to) == 3
    assert to.read_bytes() == b"abc"
    assert await bound.download("files/f/content", to, 0) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["output.jsonl"]
    assert peer.seen[0].headers["accept-encoding"] == "identity"


async def test_a_download_of_another_size_than_announced_keeps_the_older_file(world: World, tmp_path: Path) -> None:
    to = tmp_path / "output.jsonl"
    to.write_bytes(b"older")
    short = cut(b"HTTP/1.1 200 OK\r\n\r\nfirst line\n")  # ends with the connection: no length to compare with
    peer = await world.peer(short, answer(200, b"twelve bytes"))
    bound = world.origin(peer.url)
    with pytest.raises(TryLater, match="11 bytes arrived, 22 were announced"):
        await bound.download("files/f/content", to, 22)
    with pytest.raises(TryLater):
        await bound.download("files/f/content", to, 11)
    assert (to.read_bytes(), len(list(tmp_path.iterdir()))) == (b"older", 1)


async def test_a_full_disk_is_to_be_tried_again(world: World, small_disk: Path) -> None:
    peer = await world.peer(answer(200, bytes(60 << 20)))
    with pytest.raises(TryLater, match="No space left"):
        await world.origin(peer.url).download("files/f/content", small_disk / "o")
    assert list(small_disk.iterdir()) == []


async def test_a_download_that_drips_is_not_cut_by_a_total_time(world: World, tmp_path: Path) -> None:
    async def drip(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.05)
            writer.write(b"x")

    peer = await world.peer(drip)
    limits = HttpSettings(read_timeout=5, request_timeout=0.2)
    assert await world.origin(peer.url, limits).download("files/f/content", tmp_path / "o", 8) == 8
    with pytest.raises(TryLater):
        await world.origin(peer.url, limits).request("GET", "batches")


@pytest.fixture
def ticking() -> list[float]:
    return [1000.0]


@pytest.mark.parametrize("status", [429, 503])
async def test_nobody_calls_an_account_before_the_time_its_provider_named(
    world: World, tmp_path: Path, document: Path, ticking: list[float], status: int
) -> None:
    peer = await world.peer(answer(status, None, Retry_After="30"), answer(200, {"id": "b"}))
    http = world.http(monotonic=lambda: ticking[0])
    with pytest.raises(TryLater) as caught:
        await origin(http, peer.url).request("GET", "batches")
    assert caught.value.after == 30.0
    ticking[0] += 10
    for name, error in (await every_call(origin(http, peer.url), tmp_path, document)).items():
        assert isinstance(error, TryLater), name
        assert error.after == 20.0, name
    assert len(peer.seen) == 1
    assert (await origin(http, peer.url, "other").request("GET", "batches")).fields() == {"id": "b"}
    ticking[0] += 20
    assert (await origin(http, peer.url).create("batches", json={})).fields() == {"id": "b"}


async def test_a_later_shorter_pause_does_not_end_a_longer_one_and_none_is_endless(ticking: list[float]) -> None:
    http = Http(monotonic=lambda: ticking[0])
    http.hold("a", 50)
    http.hold("a", 5)
    http.hold("b", 1)
    assert (http.held("a"), http.held("b"), http.held("c")) == (50.0, 1.0, 0.0)
    ticking[0] += 49
    assert (http.held("a"), http.held("b")) == (1.0, 0.0)


async def test_a_pause_is_told_and_heard_of_by_another_name(ticking: list[float]) -> None:
    http, told = Http(monotonic=lambda: ticking[0]), list[tuple[str, float]]()
    http.known_as, http.on_hold = lambda account: account.upper(), lambda name, seconds: told.append((name, seconds))
    http.carrying({}).hold("a", 50)
    http.leave_alone("B", 20)
    assert told == [("A", 50)], "what was heard is not told again"
    assert (http.held("a"), http.held("b"), http.held("c")) == (50.0, 20.0, 0.0)


async def test_a_pause_is_told_when_it_begins_and_where_it_grows(ticking: list[float]) -> None:
    http, told = Http(monotonic=lambda: ticking[0]), list[float]()
    http.on_hold = lambda _, seconds: told.append(seconds)
    http.hold("a", 0.5)
    assert (http.held("a"), told) == (0.5, []), "over before anybody could be told"
    for more in range(10):
        http.hold("a", 20 + more / 16)
    assert told == [20.0], "calls that ran together tell it once"
    for more in range(1, 11):
        http.hold("a", 20 + more / 8)
    assert (told, http.held("a")) == ([20.0, 21.0], 21.25), "what grows little by little is told, too"
    http.leave_alone("a", 60)
    http.hold("a", 55)
    ticking[0] += 60
    http.hold("a", 2)
    assert told == [20.0, 21.0, 2]


async def test_a_create_that_would_begin_too_late_is_not_sent(
    world: World, document: Path, ticking: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await world.peer(answer(200, {"id": "b"}))
    http = world.http()
    monkeypatch.setattr(connections, "passed", lambda: ticking[0])
    late = origin(http.beginning_within(5.0), peer.url)
    assert (await late.create("batches", json={})).fields() == {"id": "b"}
    ticking[0] += 5.1
    for create in (late.create("batches", json={}), late.create("batches", document=document)):
        with pytest.raises(TryLater, match="no connection was made"):
            await create
    assert [seen.line for seen in peer.seen] == ["POST /v1/batches HTTP/1.1"]
    assert (await late.request("GET", "batches")).fields() == {"id": "b"}, "only creates are bound"
    assert (await origin(http, peer.url).create("batches", json={})).fields() == {"id": "b"}


async def test_an_absurd_pause_is_cut(world: World) -> None:
    peer = await world.peer(answer(429, None, Retry_After="999999999"))
    with pytest.raises(TryLater) as caught:
        await world.origin(peer.url).request("GET", "batches")
    assert caught.value.after == LONGEST_WAIT


def test_an_answer_may_ask_for_a_pause_too() -> None:
    asked = {"": None, "10": 10.0, "999999999": LONGEST_WAIT}
    assert {text: Reply(200, {"Retry-After": text}, None).pause() for text in asked} == asked


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.25"}, 0.25),
        ({"Retry-After": "9", "retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "9", "retry-after-ms": "soon"}, 9.0),
        ({"Retry-After": "Sat, 21 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"Retry-After": "Sat, 21 Nov 2026 10:00:30 GMT", "Date": "Sat, 21 Nov 2026 10:00:10 GMT"}, 20.0),
        ({"Retry-After": "Sat, 21 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "next week"}, None),
    ],
)
def test_the_forms_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, lambda: 1795255200.0) == seconds  # 2026-11-21 10:00:00 UTC


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_retry_after_is_a_finite_time_or_none(seconds: str, date: str) -> None:
    found = retry_after({"Retry-After": seconds, "retry-after-ms": date, "Date": date})
    assert found is None or (math.isfinite(found) and found >= 0)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"error":{"message":"m","type":"t","param":"p","code":"c"}}', ("c", "m", "p")),
        (b'{"error":{"message":"m","type":"t","param":null,"code":null}}', ("t", "m", None)),
        (b'{"error":"plain"}', (None, "plain", None)),
        (b'{"message":"m","code":"c"}', ("c", "m", None)),
        (b'{"detail":"d"}', (None, "d", None)),
        (b'{"detail":{"message":"m","code":"c"}}', ("c", "m", None)),
        (b'{"detail":[{"loc":["a"],"msg":"one","input":"user text"},{"msg":"two"}]}', (None, "one; two", None)),
        (b'{"error":{"code":400,"message":{"detail":"deep"}}}', (None, "deep", None)),
        (b'{"error":{"code":404,"message":"m","status":"NOT_FOUND"}}', ("NOT_FOUND", "m", None)),
        (b'{"error":{"code":400,"message":"m","status":"S","details":[7,{"reason":"KEY"}]}}', ("KEY", "m", None)),
        (b'{"error":{"message":"m","status":"broken","details":{"reason":"KEY"}}}', (None, "m", None)),
        (b"rate limited", (None, "rate limited", None)),
        (b"<html>busy</html>", (None, "", None)),
        (b"", (None, "", None)),
        (b"[" * 9000, (None, "[" * 9000, None)),
    ],
)
def test_error_bodies_are_read_in_every_common_shape(body: bytes, found: tuple[str | None, str, str | None]) -> None:
    assert read_complaint(body) == found


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["error", "detail", "message", "code", "x"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.binary(max_size=60) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_error_body_becomes_a_short_plain_refusal(body: bytes) -> None:
    refusal = Http().origin("a", "http://h", {"Authorization": f"Bearer {KEY}"}).refusal(body, 400, code="http_400")
    assert len(refusal.message) <= 500
    assert refusal.message.isprintable()
    assert refusal.message
    assert refusal.code.isascii()
    assert 0 < len(refusal.code) <= 64


ECHOES = {
    "message": {"error": {"message": f"Incorrect API key provided: {KEY}.", "code": "invalid_api_key"}},
    "starred": {"error": {"message": f"Incorrect API key provided: {KEY[:9]}*********{KEY[-4:]}."}},
    "code": {"error": {"message": "m", "code": KEY, "param": KEY, "type": KEY}},
    "far": {"error": {"message": "x" * 480 + f" {KEY}"}},
    "text": f"Bearer {KEY} is wrong",
}


@pytest.mark.parametrize("echo", ECHOES)
async def test_no_error_repr_or_log_holds_the_key(
    world: World, tmp_path: Path, document: Path, caplog: pytest.LogCaptureFixture, echo: str
) -> None:
    caplog.set_level(logging.DEBUG)
    raised: list[BaseException] = []
    for status in (200, 302, 401, 429, 500):
        peer = await world.peer(answer(status, ECHOES[echo], X_Echo=KEY, Set_Cookie=f"k={KEY}"))
        bound = world.origin(peer.url)
        if status == 200:
            caplog.records.append(logging.makeLogRecord({"msg": repr(await bound.request("GET", "batches"))}))
        else:
            raised += (await every_call(bound, tmp_path, document)).values()
        caplog.records.append(logging.makeLogRecord({"msg": repr(bound)}))
    for way in ("dropped", "no HTTP", "a bad header", "false gzip"):
        peer = await world.peer(LOST[way])
        raised += (await every_call(world.origin(peer.url), tmp_path, document)).values()
    said = [record.getMessage() for record in caplog.records]
    for error in raised:
        said += [repr(vars(error)), repr(error), *traceback.format_exception(error)]
    assert len(said) > 100
    assert [text for text in said if KEY[:9] in text] == []


def test_settings_do_not_show_a_proxys_password() -> None:
    assert KEY not in repr(HttpSettings(outgoing_proxy=f"http://me:{KEY}@proxy:3128"))


async def test_cookies_of_one_account_do_not_travel_with_anothers_calls(world: World) -> None:
    peer = await world.peer(answer(200, {}, Set_Cookie="session=abc; Path=/"))
    http = world.http()
    for account in ("a", "b"):
        await origin(http, peer.url, account).request("GET", "batches")
    assert [seen.headers.get("cookie") for seen in peer.seen] == [None, None]


async def test_a_proxy_is_used_where_set_and_gets_its_own_credentials_only(world: World) -> None:
    proxy = await world.peer(answer(200, {"by": "proxy"}))
    address = proxy.url.replace("http://", "http://me:word@")
    bound = world.origin("http://provider.invalid", HttpSettings(outgoing_proxy=address))
    assert (await bound.request("GET", "batches")).fields() == {"by": "proxy"}
    (seen,) = proxy.seen
    assert seen.line == "GET http://provider.invalid/v1/batches HTTP/1.1"
    assert seen.headers["proxy-authorization"].startswith("Basic ")


async def test_a_proxy_that_refuses_the_tunnel_sees_neither_create_nor_key(world: World) -> None:
    proxy = await world.peer(answer(403, b"no"))
    bound = world.origin("https://provider.invalid", HttpSettings(outgoing_proxy=proxy.url))
    with pytest.raises(TryLater, match="no connection was made"):
        await bound.create("batches", json={"a": 1})
    assert [seen.line for seen in proxy.seen] == ["CONNECT provider.invalid:443 HTTP/1.1"]
    assert KEY not in repr(proxy.seen)


async def test_the_environment_names_proxies_only_if_trusted_and_netrc_never_counts(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, peer = await world.peer(answer(200, {"by": "proxy"})), await world.peer(answer(200, {"by": "peer"}))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password word\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    ways = {}
    for trusted in (False, True):
        reply = await world.origin(peer.url, HttpSettings(trust_env=trusted)).request("GET", "batches")
        ways[trusted] = reply.fields()["by"]
    assert ways == {False: "peer", True: "proxy"}
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    reply = await world.origin(peer.url, HttpSettings(trust_env=True)).request("GET", "batches")
    assert reply.fields() == {"by": "peer"}
    assert {seen.headers["authorization"] for seen in (*peer.seen, *proxy.seen)} == {f"Bearer {KEY}"}


async def test_a_cancelled_download_leaves_nothing(world: World, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def half(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + bytes(2_000_000))
        await writer.drain()
        begun.set()
        await reader.read(-1)

    peer = await world.peer(half)
    task = asyncio.create_task(world.origin(peer.url).download("files/f/content", tmp_path / "o"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.iterdir()) == []
