"""Bodies with `Content-Encoding: gzip`: unpacked while they come, in bounded memory, or refused by name.

Every case runs twice: where the gateway undoes the encoding, as `serve` has it, and where aiohttp's server has done so
already, as in most host applications.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.lines.scan import ScanLimits, scan
from proxy_plugin.storage.tables import files
from proxy_plugin.web.content_encoding import FREE_BYTES, Damaged, Gunzip
from tests.support.files_app import (
    FORM_TYPE,
    LINE,
    answer,
    auth,
    build,
    closing,
    connected,
    form,
    leftovers,
    post_head,
    process,
    send,
    serving,
)

MEGABYTE = 2**20
LINES = b"".join(LINE.replace(b"r-1", b"r-%d" % n) for n in range(20_000))


@dataclass
class Served:
    """A running application; `by_server` says who undoes the encoding."""

    port: int
    gateway: Gateway
    data_dir: Path
    by_server: bool

    async def assert_nothing_left(self) -> None:
        """No bytes, no row, no claim."""
        assert leftovers(self.data_dir) == []
        assert await self.gateway.registry.read(files.kept) == set()
        assert (self.gateway.traffic.uploads, self.gateway.room.claims) == (0, {})


@pytest.fixture(params=[False, True], ids=["gateway", "server"])
async def served(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """An application that takes files of up to 30 MB."""
    app = build(tmp_path / "data", {"max_file_bytes": 30 * MEGABYTE})
    async with serving(app, auto_decompress=request.param) as port:
        yield Served(port, app[GATEWAY], tmp_path / "data", request.param)


async def _send(served: Served, body: bytes, encoding: str = "gzip") -> tuple[int, dict[str, Any]]:
    return await send(served.port, body, content_encoding=encoding)


def _damaged(message: str) -> dict[str, Any]:
    param, kind = "Content-Encoding", "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": "invalid_gzip"}}


def _by_server(reason: str = "the body ends early or its gzip stream is malformed") -> dict[str, Any]:
    message = f"The upload cannot be read: {reason}."
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def _refusal(served: Served) -> dict[str, Any]:
    return _by_server() if served.by_server else _damaged("The gzip stream of the body is damaged.")


# ---- what is unpacked ----


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_a_packed_form_is_stored_unpacked(served: Served, chunked: bool) -> None:
    packed = gzip.compress(form(LINES))
    if chunked:
        async with connected(served.port) as (reader, writer):
            pieces = [packed[at : at + 1000] for at in range(0, len(packed), 1000)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            writer.write(post_head(None, content_encoding="gzip") + body + b"0\r\n\r\n")
            status, file = await answer(reader)
    else:
        status, file = await _send(served, packed)
    assert (status, file["bytes"]) == (200, len(LINES))
    assert served.gateway.blobs.path(file["id"]).read_bytes() == LINES
    assert served.gateway.room.claims == {}


async def test_a_form_in_several_gzip_members(served: Served) -> None:
    body = form(LINES)
    packed = b"".join(gzip.compress(body[at : at + 50_000]) for at in range(0, len(body), 50_000))
    status, file = await _send(served, packed)
    assert (status, served.gateway.blobs.path(file["id"]).read_bytes()) == (200, LINES)


async def test_other_spellings_of_gzip_and_padding_behind_it(served: Served) -> None:
    padding = b"" if served.by_server else bytes(5000)  # aiohttp takes zeros for another member
    for encoding in ("GZIP", " gzip ", "x-gzip"):
        assert (await _send(served, gzip.compress(form()) + padding, encoding))[0] == 200
    assert (await _send(served, form(), "identity"))[0] == 200


async def test_a_packed_json_body(served: Served) -> None:
    wanted = {"filename": "a.jsonl", "purpose": "batch", "bytes": 10, "mime_type": "application/jsonl"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as session:
        headers = auth() | {"Content-Encoding": "gzip"}
        packed = gzip.compress(json.dumps(wanted).encode())
        async with session.post("/v1/uploads", data=packed, headers=headers) as reply:
            assert (reply.status, (await reply.json())["filename"]) == (200, "a.jsonl")


# ---- what is refused ----


@pytest.mark.parametrize("cut", [1, 5, 9, 30, 4000])
async def test_a_gzip_stream_that_ends_early(served: Served, cut: int) -> None:
    status, found = await _send(served, gzip.compress(form(LINES))[:-cut])
    if served.by_server and cut <= 9:  # aiohttp asks neither for the end nor the checksum; the form is whole
        assert status == 200
        return
    late = "the body ends before its closing boundary, or the gzip stream that it comes in ends early"
    expected = _by_server(late) if served.by_server else _damaged("The gzip stream of the body ends early.")
    assert (status, found) == (400, expected)
    await served.assert_nothing_left()


@pytest.mark.parametrize("at", [0, 30, 5000, -5], ids=["magic", "first block", "middle", "checksum"])
async def test_a_damaged_gzip_stream(served: Served, at: int) -> None:
    packed = bytearray(gzip.compress(form(LINES)))
    for index in range(at, at + 3):
        packed[index] ^= 0xFF
    status, found = await _send(served, bytes(packed))
    assert (status, found) == (400, _refusal(served))
    await served.assert_nothing_left()


async def test_a_body_that_is_not_packed_at_all(served: Served) -> None:
    status, found = await _send(served, form())
    assert (status, found) == (400, _refusal(served))


async def test_a_packed_body_without_a_byte(served: Served) -> None:
    assert await _send(served, b"") == (400, _damaged("The gzip stream of the body ends early."))


@pytest.mark.parametrize("encoding", ["deflate", "gzip, gzip", "gzip, identity", "compress", "aws-chunked"])
async def test_encodings_that_are_not_served(served: Served, encoding: str) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as session:
        headers = auth() | {"Content-Encoding": encoding, "Content-Type": FORM_TYPE}
        async with session.post("/v1/files", data=form(), headers=headers) as reply:
            assert (reply.status, reply.headers["Accept-Encoding"]) == (415, "gzip, identity")
            assert (await reply.json())["error"] == {
                "message": "This gateway takes bodies as they are or with 'Content-Encoding: gzip', once; "
                "send it that way.",
                "type": "invalid_request_error",
                "param": "Content-Encoding",
                "code": "unsupported_content_encoding",
            }
    await served.assert_nothing_left()


@pytest.mark.parametrize("encoding", ["br", "zstd"])
async def test_encodings_that_aiohttp_would_refuse_itself(tmp_path: Path, encoding: str) -> None:
    app = build(tmp_path / "data")
    async with serving(app) as port:
        status, found = await send(port, form(), content_encoding=encoding)
        assert (status, found["error"]["code"]) == (415, "unsupported_content_encoding")


async def test_a_file_that_unpacks_beyond_the_limit(served: Served) -> None:
    status, found = await _send(served, gzip.compress(form(LINES * 18)))
    assert (status, found["error"]["code"], found["error"]["param"]) == (413, "request_too_large", "file")
    assert f"{30 * MEGABYTE} bytes" in found["error"]["message"]
    await served.assert_nothing_left()


async def test_empty_members_without_end_are_refused() -> None:
    """Otherwise nothing would ever end them: they unpack to nothing, and so to less than any limit."""
    member, fed = gzip.compress(b"") * 3000, 0

    async def read() -> bytes:
        nonlocal fed
        fed += len(member)
        return member

    with pytest.raises(Damaged, match="next to nothing"):
        await Gunzip(read, asyncio.to_thread).read()
    assert fed < FREE_BYTES + 2 * len(member)


# ---- bombs ----


def _bomb(unpacked: int) -> bytes:
    """Return a packed form whose file is zeros. Its checksum is wrong, but nobody gets that far."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    begun = packer.compress(form(b"")[: -len(closing()) - 2]) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)  # the same again and again after a flush
    return begun + block * (unpacked // MEGABYTE) + packer.flush()


@pytest.mark.parametrize("by_server", [False, True], ids=["gateway", "server"])
async def test_a_bomb_of_10_gb_costs_neither_time_nor_memory_nor_disk(tmp_path: Path, by_server: bool) -> None:
    bomb = _bomb(10 * 2**30)
    assert len(bomb) < 12 * MEGABYTE
    with process(tmp_path / "data", auto_decompress=by_server) as running:
        await send(running.port, form())
        before = running.costs()["rss"]
        async with connected(running.port) as (reader, writer):
            writer.write(post_head(len(bomb), content_encoding="gzip") + bomb)
            status, found = await answer(reader)
            costs = running.costs()
            writer.transport.abort()
        assert (status, found["error"]) == (
            413,
            {
                "message": "The body unpacks to more than 256 times its size; send it without Content-Encoding.",
                "type": "invalid_request_error",
                "param": "Content-Encoding",
                "code": "request_too_large",
            },
        )
        assert costs["peak"] - before < 24 * MEGABYTE
        assert costs["written"] < 64 * MEGABYTE, "more of it was unpacked than its refusal needs"
        assert costs["on_loop"] < MEGABYTE, "the event loop has written the file itself"
        assert costs["turns"] > costs["written"] / MEGABYTE, "a piece of more than 1 MiB held the event loop"
        assert len(leftovers(tmp_path / "data")) == 1


async def test_many_packed_uploads_at_once_cost_what_others_do(tmp_path: Path) -> None:
    packed = gzip.compress(form(LINES * 4), 1)
    with process(tmp_path / "data") as running:
        await send(running.port, form())
        before = running.costs()["rss"]
        with ThreadPoolExecutor(50) as clients:
            found = await asyncio.gather(
                *(asyncio.get_running_loop().run_in_executor(clients, _upload, running.port, packed) for _ in range(50))
            )
        assert found == [len(LINES) * 4] * 50
        costs = running.costs()
        assert costs["peak"] - before < 64 * MEGABYTE
        assert costs["on_loop"] < MEGABYTE, "the event loop has written the files itself"
        assert costs["turns"] > len(LINES) * 4 / MEGABYTE, "pieces of more than 1 MiB held the event loop"


def _upload(port: int, packed: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(post_head(len(packed), content_encoding="gzip") + packed)
        found: dict[str, int] = json.loads(sock.recv(4096).partition(b"\r\n\r\n")[2])
    return found["bytes"]


# ---- packed files ----


@pytest.mark.parametrize(
    ("content", "kind"),
    [(gzip.compress(LINES), "gzip"), (b"PK\x03\x04\x14\x00" + bytes(99), "zip"), (b"BZh91AY&SY\n\n", "bzip2")],
    ids=["gzip", "zip", "bzip2"],
)
async def test_a_packed_file_is_stored_as_it_is_and_its_scan_says_why(
    served: Served, tmp_path: Path, content: bytes, kind: str
) -> None:
    status, file = await send(served.port, form(content, filename="in.jsonl.gz"))
    assert (status, file["bytes"]) == (200, len(content))
    source = served.gateway.blobs.path(file["id"])
    assert source.read_bytes() == content
    facts = scan(str(source), str(tmp_path / "index"), str(tmp_path / "scratch"), ScanLimits(2**20, 10**6))
    (fault,) = facts.faults
    assert (facts.fault_count, fault.code, fault.line) == (1, "invalid_json_line", 1)
    assert f"({kind})" in fault.message
    assert ("Content-Encoding: gzip" in fault.message) == (kind == "gzip")
