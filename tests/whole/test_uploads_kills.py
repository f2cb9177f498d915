"""Uploads in parts where disks are full, processes die, and files are large."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from proxy_plugin.gateway import GATEWAY
from proxy_plugin.storage.tables import files
from tests.support.files_app import LINE, build, leftovers, process, serving
from tests.support.uploads import MEGABYTE, Client


async def test_joining_keeps_the_reserve_of_the_disk(small_disk: Path) -> None:
    """48 MB with 8 for the registry: parts of 20 MB fit, and another 20 for the file do not."""
    app = build(small_disk / "data", {"max_workspace_share": 1})
    async with serving(app) as port, aiohttp.ClientSession() as session:
        client = Client(port, session)
        upload = await client.announce(20 * MEGABYTE)
        ids = await client.parts(upload["id"], bytes(10 * MEGABYTE), bytes(10 * MEGABYTE))
        status, found = await client.complete(upload["id"], ids)
        assert (status, found["error"]["code"]) == (507, "insufficient_storage")
        assert leftovers(small_disk / "data") == sorted(ids)
        assert app[GATEWAY].room.claims == {}


async def test_a_full_disk_at_any_step(tmp_path: Path) -> None:
    points = ("upload_part.renamed", "upload.joined", "upload.renamed")
    rules = ",".join(f"{point}:1:enospc" for point in points)
    with process(tmp_path / "data", fail=rules) as running:
        async with aiohttp.ClientSession() as session:
            client = Client(running.port, session)
            upload = await client.announce(len(LINE))
            status, found = await client.part(upload["id"], LINE)
            assert (status, found["error"]["code"]) == (507, "insufficient_storage")
            assert leftovers(tmp_path / "data") == []
            ids = await client.parts(upload["id"], LINE)
            for _ in points[1:]:
                status, found = await client.complete(upload["id"], ids)
                assert (status, found["error"]["code"]) == (507, "insufficient_storage")
                assert leftovers(tmp_path / "data") == ids
            assert (await client.complete(upload["id"], ids))[0] == 200


@pytest.mark.parametrize(
    ("point", "kept"),
    [("ingest.temp:2", 0), ("ingest.synced:2", 0), ("upload_part.renamed:2", 0), ("upload_part.row:2", 1)],
)
async def test_a_kill_while_a_part_is_stored(tmp_path: Path, point: str, kept: int) -> None:
    """The part before is kept; the one that was not answered is there or not, and in no one's way."""
    with process(tmp_path / "data", fail=point) as running:
        async with aiohttp.ClientSession() as session:
            client = Client(running.port, session)
            upload = await client.announce(2 * len(LINE))
            (first,) = await client.parts(upload["id"], LINE)
            with pytest.raises(aiohttp.ClientError):
                await client.part(upload["id"], LINE)
        assert running.popen.wait(10) == -9
    app = build(tmp_path / "data")
    async with serving(app) as port, aiohttp.ClientSession() as session:
        client = Client(port, session)
        assert len(leftovers(tmp_path / "data")) == 1 + kept
        (again,) = await client.parts(upload["id"], LINE)
        status, done = await client.complete(upload["id"], [first, again])
        assert (status, done["file"]["bytes"]) == (200, 2 * len(LINE))
        assert leftovers(tmp_path / "data") == [done["file"]["id"]]
        assert await app[GATEWAY].registry.read(files.stored_bytes, "alice") == 2 * len(LINE)


@pytest.mark.parametrize(
    ("point", "made"),
    [
        ("upload.joined", False),
        ("ingest.synced:3", False),
        ("upload.renamed", False),
        ("upload.row", True),
    ],
)
async def test_a_kill_while_a_file_is_made(tmp_path: Path, point: str, made: bool) -> None:
    """Nothing that was answered is lost, nothing of the attempt stays, and the client's second try is answered."""
    first, second = LINE * 5000, LINE * 7
    with process(tmp_path / "data", fail=point) as running:
        async with aiohttp.ClientSession() as session:
            client = Client(running.port, session)
            upload = await client.announce(len(first + second))
            ids = await client.parts(upload["id"], first, second)
            with pytest.raises(aiohttp.ClientError):
                await client.complete(upload["id"], ids)
        assert running.popen.wait(10) == -9
    app = build(tmp_path / "data")
    async with serving(app) as port, aiohttp.ClientSession() as session:
        client = Client(port, session)
        before = leftovers(tmp_path / "data")
        assert (len(before) == 1) if made else (before == sorted(ids))
        status, done = await client.complete(upload["id"], ids)
        file_id = done["file"]["id"]
        assert (status, leftovers(tmp_path / "data")) == (200, [file_id])
        assert (before == [file_id]) == made
        assert app[GATEWAY].blobs.path(file_id).read_bytes() == first + second
        assert await app[GATEWAY].registry.read(files.stored_bytes, "alice") == len(first + second)


async def test_a_kill_behind_a_cancel_leaves_no_bytes(tmp_path: Path) -> None:
    with process(tmp_path / "data", fail="upload.cancelled") as running:
        async with aiohttp.ClientSession() as session:
            client = Client(running.port, session)
            upload = await client.announce(len(LINE))
            await client.parts(upload["id"], LINE)
            with pytest.raises(aiohttp.ClientError):
                await client.post(f"/uploads/{upload['id']}/cancel")
        assert running.popen.wait(10) == -9
        assert len(leftovers(tmp_path / "data")) == 1
    async with serving(build(tmp_path / "data")) as port, aiohttp.ClientSession() as session:
        assert leftovers(tmp_path / "data") == []
        assert (await Client(port, session).post(f"/uploads/{upload['id']}/cancel"))[1]["status"] == "cancelled"


async def test_large_parts_cost_no_memory_and_no_pause(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running:
        async with aiohttp.ClientSession() as session:
            client = Client(running.port, session)
            upload = await client.announce(128 * MEGABYTE)
            before = running.costs()["rss"]
            ids = await client.parts(upload["id"], *[bytes(64 * MEGABYTE)] * 2)
            running.costs()
            status, done = await client.complete(upload["id"], ids)
            assert (status, done["file"]["bytes"]) == (200, 128 * MEGABYTE)
            costs = running.costs()
            assert costs["peak"] - before < 24 * MEGABYTE
            assert costs["on_loop"] < MEGABYTE, "the event loop has joined the parts itself"
