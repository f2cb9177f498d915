"""Uploads at the edge: full disks, kills at every step, slow disks, and what many uploads cost."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.gateway import GATEWAY
from proxy_plugin.storage.blobs import Blobs
from tests.support.files_app import (
    ALICE,
    LINE,
    answer,
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
from tests.support.waiting import eventually

MEGABYTE = 2**20


async def test_the_reserve_of_the_disk_is_left_alone(small_disk: Path) -> None:
    """48 MB, of which the registry takes 8 at once: 20 MB fit beside a reserve of 16 MB, 30 MB do not."""
    app = build(small_disk / "data", {"disk_reserve_bytes": 16 * MEGABYTE, "max_workspace_share": 1})
    async with serving(app) as port:
        status, body = await send(port, form(bytes(30 * MEGABYTE)))
        assert (status, body["error"]["code"]) == (507, "insufficient_storage")
        assert leftovers(small_disk / "data") == []
        assert (await send(port, form(bytes(18 * MEGABYTE))))[0] == 200
        assert (await send(port, form(bytes(18 * MEGABYTE))))[0] == 507
        assert len(leftovers(small_disk / "data")) == 1


async def test_a_disk_that_fills_up_under_an_upload(small_disk: Path) -> None:
    app = build(small_disk / "data", {"max_workspace_share": 1})
    async with serving(app) as port:
        gateway = app[GATEWAY]
        async with connected(port) as (reader, writer):
            body = form(bytes(20 * MEGABYTE))
            writer.write(post_head(len(body)) + body[:MEGABYTE])
            await eventually(lambda: leftovers(small_disk / "data"))
            await asyncio.to_thread(_fill, small_disk / "others")
            writer.write(body[MEGABYTE:])
            status, found = await answer(reader)
            assert (status, found["error"]["code"]) == (507, "insufficient_storage")
            writer.close()
            await eventually(lambda: gateway.traffic.uploads == 0)
            assert leftovers(small_disk / "data") == []
            assert gateway.room.claims == {}


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(MEGABYTE)):
                pass
        except OSError:
            return


# ---- kills and full disks at every step ----


async def test_a_full_disk_at_any_step(tmp_path: Path) -> None:
    steps = ("ingest.temp", "ingest.synced", "ingest.renamed")
    with process(tmp_path / "data", fail=",".join(f"{step}:1:enospc" for step in steps)) as running:
        for step in steps:
            status, body = await send(running.port, form(LINE * 1000))
            assert (status, body["error"]["code"]) == (507, "insufficient_storage"), step
            assert leftovers(tmp_path / "data") == [], step
        status, file = await send(running.port, form())
        assert (status, leftovers(tmp_path / "data")) == (200, [file["id"]])


@pytest.mark.parametrize(
    ("step", "kept"), [("ingest.temp", 0), ("ingest.synced", 0), ("ingest.renamed", 0), ("ingest.row", 1)]
)
async def test_a_kill_at_any_step(tmp_path: Path, step: str, kept: int) -> None:
    """Before the row nothing is stored; after it the file is, although the client has no reply."""
    data = LINE * 10_000
    with process(tmp_path / "data", fail=step) as running:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await send(running.port, form(data))
        assert running.popen.wait(10) == -9
        assert leftovers(tmp_path / "data")
    app = build(tmp_path / "data")
    async with serving(app) as port:
        listed = await _get(port, "/v1/files")
        assert [file["bytes"] for file in listed["data"]] == [len(data)] * kept
        assert leftovers(tmp_path / "data") == [file["id"] for file in listed["data"]]
        for file in listed["data"]:
            assert app[GATEWAY].blobs.path(file["id"]).read_bytes() == data


async def test_everything_is_on_the_disk_before_the_reply(tmp_path: Path) -> None:
    """The order of system calls: content, name, folder, row, reply. A power cut in between loses no accepted file."""
    strace, trace = shutil.which("strace"), tmp_path / "trace"
    if strace is None or subprocess.run([strace, "-qq", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs strace and the permission to trace")
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,sendto"
    with process(
        tmp_path / "data", wrap=[strace, "-f", "-qq", "-y", "-s", "20", "-e", calls, "-o", str(trace)]
    ) as traced:
        status, file = await send(traced.port, form())
        assert status == 200
    shard = f"data/files/{file['id'][-2:]}"
    steps = [
        r"fsync\(\d+<[^>]*/data/tmp/[0-9a-f]{32}>",
        rf'rename\w*\([^)]*/data/tmp/[^)]*{shard}/{file["id"]}"',
        rf"fsync\(\d+<[^>]*/{shard}>",
        r"f(data)?sync\(\d+<[^>]*/registry\.sqlite3-wal>",
        r'sendto\([^"]*"HTTP/1\.1 200 OK',
    ]
    assert re.search(".*?".join(steps), trace.read_text(), re.DOTALL)


async def _get(port: int, path: str) -> dict[str, Any]:
    async with connected(port) as (reader, writer):
        writer.write(f"GET {path} HTTP/1.1\r\nhost: g\r\nx-portkey-api-key: {ALICE}\r\n\r\n".encode())
        status, body = await answer(reader)
        writer.close()
        assert status == 200
        return body


# ---- what an upload costs ----


class SlowBlobs(Blobs):
    """Blobs on a disk that writes nothing before it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked, self.let = 0, threading.Event()

    async def write(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1

        def slowly() -> Any:
            assert self.let.wait(60)
            return function(*args, **kwargs)

        return await super().write(slowly)


async def test_a_slow_disk_does_not_stop_the_loop(tmp_path: Path) -> None:
    blobs = SlowBlobs(tmp_path / "data")
    async with serving(build(tmp_path / "data", blobs=blobs)) as port:
        sending = asyncio.gather(*(send(port, form(LINE * 9000)) for _ in range(3)))
        await eventually(lambda: blobs.asked >= 3)
        assert (await _get(port, "/v1/files"))["data"] == []  # answered while all three wait for the disk
        assert not sending.done()
        blobs.let.set()
        assert [status for status, _ in await sending] == [200] * 3


def _upload_from_a_thread(port: int, blocks: int) -> dict[str, Any]:
    block = (LINE * 3000)[: 256 * 1024]
    head, tail = form(b"")[: -len(closing()) - 2], b"\r\n" + closing()
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(post_head(len(head) + blocks * len(block) + len(tail)) + head)
        for _ in range(blocks):
            sock.sendall(block)
        sock.sendall(tail)
        found: dict[str, Any] = json.loads(sock.recv(4096).partition(b"\r\n\r\n")[2])
    return found


async def test_memory_grows_neither_with_the_file_nor_much_with_their_number(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running:
        await send(running.port, form())
        before = running.costs()["rss"]
        file = await asyncio.to_thread(_upload_from_a_thread, running.port, 800)
        assert file["bytes"] == 800 * 256 * 1024
        assert running.costs()["peak"] - before < 24 * MEGABYTE
        with ThreadPoolExecutor(50) as clients:
            ids = {file["id"] for file in clients.map(lambda _: _upload_from_a_thread(running.port, 8), range(50))}
        assert len(ids) == 50
        assert running.costs()["peak"] - before < 64 * MEGABYTE
