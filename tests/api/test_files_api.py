"""The Files routes: objects, pages, deletes, and downloads whole and in ranges; with the stock SDK and without."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from openai import AsyncOpenAI
from yarl import URL

from proxy_plugin.api.files import routes as files_api
from proxy_plugin.engine import housekeeping
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.storage import states
from proxy_plugin.storage.blobs import Blobs
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.sqlite import SqliteRegistry
from proxy_plugin.storage.tables import batches, files
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.files import FileRow
from tests.support.files_app import (
    ALICE,
    BOB,
    LINE,
    answer,
    auth,
    build,
    connected,
    form,
    leftovers,
    part,
    process,
    send,
    serving,
)
from tests.support.rows import CREATED, batch_row, file_row
from tests.support.waiting import eventually

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes: several blocks, and every offset tells its place


@dataclass
class Served:
    """A running application, a client of Alice's, and its inside."""

    port: int
    gateway: Gateway
    data_dir: Path
    session: aiohttp.ClientSession

    async def get(self, path: str, *, method: str = "GET", key: str = ALICE, **headers: str) -> tuple[Any, bytes]:
        """Return the response and its body. `path` is sent as it is."""
        url = URL(f"http://127.0.0.1:{self.port}/v1{path}", encoded=True)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, url, headers=auth(key) | given) as response:
            return response, await response.read()

    async def json(self, path: str, *, method: str = "GET", key: str = ALICE) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        response, _ = await self.get(path, method=method, key=key)
        return response.status, await response.json()

    async def upload(self, data: bytes = LINE, key: str = ALICE, filename: str = "in.jsonl") -> str:
        """Store a file and return its id."""
        status, file = await send(self.port, form(data, filename=filename), x_portkey_api_key=key)
        assert status == 200
        return str(file["id"])

    async def insert(self, *rows: FileRow) -> None:
        """Add rows whose bytes nobody will ask for."""
        await self.gateway.registry.write(lambda conn: _insert(conn, rows))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """An application without limits."""
    app = build(tmp_path / "data")
    async with serving(app) as port, aiohttp.ClientSession() as session:
        yield Served(port, app[GATEWAY], tmp_path / "data", session)


def _row(number: int, **changes: Any) -> FileRow:
    values: dict[str, Any] = {"workspace": "alice", "bytes": 10, "created_at": CREATED + number, "state": "processed"}
    return file_row(f"file-{number:024d}", **(values | {"facts": '{"lines": 1}' + " " * 200} | changes))


def _insert(conn: Connection, rows: Iterable[FileRow]) -> None:
    for row in rows:
        files.insert(conn, row)


def _get(path: str, *, method: str = "GET", **headers: str) -> bytes:
    lines = {"host": "gateway"} | auth() | headers
    return "".join([f"{method} {path} HTTP/1.1\r\n", *(f"{k}: {v}\r\n" for k, v in lines.items()), "\r\n"]).encode()


def _batch(file_id: str, state: str) -> BatchRow:
    return batch_row(f"batch_{state}", workspace="alice", caller="alice", input_file_id=file_id, state=state)


# ---- objects ----


def test_what_is_absent_is_left_out() -> None:
    assert files_api.file_object(_row(1)) == {
        "id": "file-000000000000000000000001",
        "object": "file",
        "bytes": 10,
        "created_at": 1_700_000_001,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "processed",
    }


async def test_the_stock_sdk(served: Served) -> None:
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key=ALICE, max_retries=0) as client:
        made = await client.files.create(
            file=("lines.jsonl", LINE * 3), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert (made.filename, made.bytes, made.status) == ("lines.jsonl", 3 * len(LINE), "uploaded")
        assert made.expires_at == made.created_at + 3600
        assert await client.files.retrieve(made.id) == made
        assert (await client.files.content(made.id)).content == LINE * 3
        more = [(await client.files.create(file=b"x\n", purpose="batch")).id for _ in range(4)]
        assert [file.id async for file in client.files.list(limit=2)] == [*reversed(more), made.id]
        assert [file.id async for file in client.files.list(order="asc", purpose="batch")] == [made.id, *more]
        assert [file async for file in client.files.list(purpose="batch_output")] == []
        deleted = await client.files.delete(made.id)
        assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "file", True)
        with pytest.raises(openai.NotFoundError) as missing:
            await client.files.retrieve(made.id)
        assert missing.value.body == {
            "message": f"No such File object: {made.id}",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }
        with pytest.raises(openai.BadRequestError):
            await client.files.create(file=b"x", purpose="assistants")


async def test_nobody_sees_what_is_not_theirs(served: Served) -> None:
    mine = await served.upload()
    expired = _row(1, expires_at=int(time.time()) - 1)
    await served.insert(expired)
    for key, file_id in ((BOB, mine), (ALICE, expired.id), (ALICE, "file-unknown")):
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            status, body = await served.json(f"/files/{file_id}{path}", method=method, key=key)
            assert (status, body["error"]["message"]) == (404, f"No such File object: {file_id}"), (method, path, key)
    assert (await served.json("/files", key=BOB))[1]["data"] == []
    assert [file["id"] for file in (await served.json("/files"))[1]["data"]] == [mine]
    assert (await served.json(f"/files/{mine}"))[0] == 200


async def test_ids_may_be_escaped_twice(served: Served) -> None:
    file_id = await served.upload()
    for spelling in (file_id.replace("-", "%2D"), file_id.replace("-", "%252D")):
        assert (await served.json(f"/files/{spelling}"))[1]["id"] == file_id
        assert (await served.json(f"/files?limit=1&order=asc&after={spelling}"))[1]["data"] == []


async def test_ids_that_no_file_can_have(served: Served) -> None:
    encoded = ("..%252F..%252Fetc%252Fpasswd", "..%2F..%2Fetc%2Fpasswd", "%00", "%F0%9F%92%A9")
    for strange in (*encoded, "a.index", "a" * 200):
        for path in ("", "/content"):
            status, body = await served.json(f"/files/{strange}{path}")
            assert (status, body["error"]["message"]) == (404, "No such File object."), strange


# ---- the list ----


async def test_an_empty_list(served: Served) -> None:
    empty = {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}
    assert await served.json("/files") == (200, empty)
    assert await served.json("/files?limit=3") == (200, empty)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A3", "limit"),
        ("order=up", "order"),
        ("after=file-unknown", "after"),
        ("after=file-unknown&limit=5000", "after"),
    ],
)
async def test_a_page_that_cannot_be(served: Served, query: str, param: str) -> None:
    status, body = await served.json(f"/files?{query}")
    assert (status, body["error"]["param"]) == (400, param)


async def test_a_cursor_of_another_workspace_names_nothing(served: Served) -> None:
    theirs = await served.upload(key=BOB)
    assert (await served.json(f"/files?after={theirs}"))[0] == 400


@pytest.mark.parametrize("seed", range(6))
async def test_pages_add_up_to_the_whole(served: Served, seed: int) -> None:
    """Any page size, order and filter: every visible file once, in order, also when cursors are deleted on the way."""
    chance = random.Random(seed)
    count = chance.choice([1, 7, 250, 450])
    hidden = {number for number in range(count) if chance.random() < 0.2}
    rows = [
        _row(
            number,
            purpose=chance.choice(["batch", "batch_output"]),
            hidden_at=1 if number in hidden else None,
            expires_at=1 if chance.random() < 0.1 else None,
        )
        for number in range(count)
    ]
    await served.insert(*rows, _row(count, workspace="bob"))
    order, purpose = chance.choice(["asc", "desc"]), chance.choice([None, "batch", "batch_output"])
    limit = chance.choice([1, 3, 100, 201]) if count < 100 else chance.choice([40, 100, 200, 399])
    visible = [row for row in rows if row.hidden_at is None and row.expires_at is None]
    wanted = [row.id for row in visible if purpose in (None, row.purpose)]
    if order == "desc":
        wanted.reverse()
    seen: list[str] = []
    more = True
    while more:
        cursor = f"&after={seen[-1]}" if seen else ""
        kind = f"&purpose={purpose}" if purpose else ""
        status, page = await served.json(f"/files?order={order}&limit={limit}{kind}{cursor}")
        assert status == 200
        ids = [file["id"] for file in page["data"]]
        assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else ("", ""))
        assert len(ids) == limit or not page["has_more"]
        seen += ids
        more = page["has_more"]
        if more:
            await served.json(f"/files/{ids[-1]}", method="DELETE")
    assert seen == wanted


async def test_ten_thousand_files_in_one_page(tmp_path: Path) -> None:
    blobs, registry = Blobs(tmp_path / "data"), SqliteRegistry(tmp_path / "data")
    registry.open()
    await registry.write(lambda conn: _insert(conn, map(_row, range(10_050))))
    registry.close()
    blobs.close()
    with process(tmp_path / "data") as running:
        async with aiohttp.ClientSession(headers=auth()) as session:
            running.costs()
            async with session.get(f"http://127.0.0.1:{running.port}/v1/files") as response:
                body = await response.read()
            costs = running.costs()
    page = orjson.loads(body)
    assert [file["id"] for file in page["data"]] == [_row(number).id for number in range(10_049, 49, -1)]
    assert page["has_more"]
    assert costs["on_loop"] < len(body) / 10, "the event loop has read the rows itself"


# ---- deletes ----


@pytest.mark.parametrize("state", sorted(set(states.BATCH) - states.BATCH_ENDS))
async def test_a_file_that_a_batch_needs_loses_its_name_at_once_and_its_bytes_at_the_end(
    served: Served, state: str
) -> None:
    file_id, registry = await served.upload(), served.gateway.registry
    batch = await registry.write(lambda conn: batches.insert(conn, _batch(file_id, state), is_retry=False))
    status, body = await served.json(f"/files/{file_id}", method="DELETE")
    assert (status, body) == (200, {"id": file_id, "object": "file", "deleted": True})
    for method, path in (("GET", ""), ("GET", "/content"), ("HEAD", "/content"), ("DELETE", "")):
        assert (await served.get(f"/files/{file_id}{path}", method=method))[0].status == 404
    assert (await served.json("/files"))[1]["data"] == []
    assert await housekeeping.remove_unneeded(served.gateway) == 0
    assert leftovers(served.data_dir) == [file_id]
    await registry.write(lambda conn: conn.execute("UPDATE batches SET state = 'failed' WHERE id = ?", (batch.id,)))
    assert await housekeeping.remove_unneeded(served.gateway) == 1
    assert (leftovers(served.data_dir), await registry.read(files.stored_bytes, "alice")) == ([], 0)


@pytest.mark.parametrize("state", states.BATCH)
async def test_the_scan_of_a_deleted_file_is_due_only_where_a_batch_waits_for_it(served: Served, state: str) -> None:
    file_id, registry = await served.upload(), served.gateway.registry
    await registry.write(lambda conn: batches.insert(conn, _batch(file_id, state), is_retry=False))
    await served.json(f"/files/{file_id}", method="DELETE")
    row = await registry.read(files.get, file_id)
    assert row is not None
    assert (row.due_at is not None) == (state not in states.BATCH_ENDS)


async def test_deleted_bytes_go_when_nobody_needs_them(served: Served) -> None:
    kept, deleted, needed = [await served.upload(LINE * n) for n in (1, 2, 3)]
    served.gateway.blobs.index_path(deleted).write_bytes(b"index")
    for file_id in (deleted, needed):
        assert (await served.json(f"/files/{file_id}", method="DELETE"))[1] == {
            "id": file_id,
            "object": "file",
            "deleted": True,
        }
    await served.gateway.registry.write(lambda conn: batches.insert(conn, _batch(needed, "merging"), is_retry=False))
    assert await housekeeping.remove_unneeded(served.gateway) == 1
    assert leftovers(served.data_dir) == sorted([kept, needed])
    stored = await served.gateway.registry.read(files.stored_bytes, "alice")
    assert stored == 4 * len(LINE)
    assert await housekeeping.remove_unneeded(served.gateway) == 0


async def test_expired_bytes_go_too(served: Served) -> None:
    status, file = await send(
        served.port,
        form(LINE, part("expires_after[anchor]", b"created_at"), part("expires_after[seconds]", b"3600")),
    )
    assert status == 200
    assert await housekeeping.remove_unneeded(served.gateway) == 0
    served.gateway.clock.offset = 3601.0  # type: ignore[attr-defined]
    assert (await served.json(f"/files/{file['id']}"))[0] == 404
    assert await housekeeping.remove_unneeded(served.gateway) == 1
    assert leftovers(served.data_dir) == []


# ---- downloads ----


async def test_a_whole_download(served: Served) -> None:
    file_id = await served.upload(CONTENT)
    response, body = await served.get(f"/files/{file_id}/content")
    assert (response.status, body) == (200, CONTENT)
    headers = response.headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == 'attachment; filename="in.jsonl"'
    assert (headers["Accept-Ranges"], headers["Content-Length"]) == ("bytes", str(len(CONTENT)))


async def test_head_tells_the_size_and_sends_nothing(served: Served) -> None:
    file_id = await served.upload(CONTENT)
    async with connected(served.port) as (reader, writer):
        path = f"/v1/files/{file_id}/content"
        writer.write(_get(path, method="HEAD") + _get(path, method="HEAD", connection="close"))
        sent = await asyncio.wait_for(reader.read(), 10)
    assert sent.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert sent.count(b"Content-Length: %d\r\n" % len(CONTENT)) == 2
    assert len(sent) < 2000


SIZE = len(CONTENT)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=300000-700000", 300_000, 700_000),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        ("bytes=1000000-99999999999", 1_000_000, SIZE - 1),
        ("bytes=-5", SIZE - 5, SIZE - 1),
        ("bytes=-99999999", 0, SIZE - 1),
        ("bytes=0-", 0, SIZE - 1),
    ],
)
async def test_one_range(served: Served, asked: str, first: int, last: int) -> None:
    file_id = await served.upload(CONTENT)
    response, body = await served.get(f"/files/{file_id}/content", Range=asked)
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert body == CONTENT[first : last + 1]


async def test_ranges_that_are_ignored_or_impossible(served: Served) -> None:
    file_id = await served.upload(LINE)
    for ignored in ("bytes=0-1,4-5", "lines=1-2", "bytes=5-2", "bytes=-", "bytes=a-b", "nonsense", "bytes=٣-"):
        response, body = await served.get(f"/files/{file_id}/content", Range=ignored)
        assert (response.status, body) == (200, LINE), ignored
    for impossible in (f"bytes={len(LINE)}-", "bytes=99999999999999999-", "bytes=-0"):
        response, body = await served.get(f"/files/{file_id}/content", Range=impossible)
        assert response.status == 416, impossible
        assert response.headers["Content-Range"] == f"bytes */{len(LINE)}"
        assert (await response.json())["error"]["code"] == "range_not_satisfiable"


async def test_a_range_only_if_the_file_is_still_the_same(served: Served) -> None:
    file_id = await served.upload(LINE)
    whole, _ = await served.get(f"/files/{file_id}/content")
    same = [whole.headers["ETag"], whole.headers["Last-Modified"]]
    other = ['"another"', f"W/{same[0]}", "Thu, 01 Jan 2099 00:00:00 GMT", "nonsense"]
    for condition, status in [(text, 206) for text in same] + [(text, 200) for text in other]:
        response, body = await served.get(f"/files/{file_id}/content", Range="bytes=1-3", If_Range=condition)
        assert (response.status, body) == (status, LINE[1:4] if status == 206 else LINE), condition


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        (r"C:\\lines.jsonl", 'attachment; filename="lines.jsonl"'),
        (
            "a%0D%0ASet-Cookie: x=1",
            "attachment; filename=\"aSet-Cookie_ x_1\"; filename*=UTF-8''aSet-Cookie%3A%20x%3D1",
        ),
        (r"a\".jsonl", "attachment; filename=\"a_.jsonl\"; filename*=UTF-8''a%22.jsonl"),
        ("数.jsonl", "attachment; filename=\"_.jsonl\"; filename*=UTF-8''%E6%95%B0.jsonl"),
        ("dir/", 'attachment; filename="file.jsonl"'),
        (".profile", 'attachment; filename="profile"'),
    ],
)
async def test_no_name_breaks_out_of_its_header(served: Served, filename: str, header: str) -> None:
    file_id = await served.upload(filename=filename)
    response, _ = await served.get(f"/files/{file_id}/content")
    assert response.headers["Content-Disposition"] == header
    assert "Set-Cookie" not in response.headers


async def test_a_delete_does_not_cut_a_running_download(served: Served) -> None:
    content = CONTENT * 12  # more than the sockets between us buffer
    file_id = await served.upload(content)
    async with connected(served.port) as (reader, writer):
        writer.write(_get(f"/v1/files/{file_id}/content", connection="close"))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        await served.json(f"/files/{file_id}", method="DELETE")
        assert await housekeeping.remove_unneeded(served.gateway) == 1
        assert leftovers(served.data_dir) == []
        assert await asyncio.wait_for(reader.read(-1), 20) == content


async def test_a_client_that_leaves_a_download_frees_the_file(served: Served) -> None:
    file_id = await served.upload(CONTENT * 12)
    path = served.gateway.blobs.path(file_id)
    async with connected(served.port) as (reader, writer):
        writer.write(_get(f"/v1/files/{file_id}/content"))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert _open_descriptors(path) == 1
    await eventually(lambda: _open_descriptors(path) == 0)


def _open_descriptors(path: Path) -> int:
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += link.readlink() == path
    return found


async def test_damaged_bytes_are_not_sent_as_if_they_were_whole(served: Served) -> None:
    file_id = await served.upload(LINE * 5)
    path = served.gateway.blobs.path(file_id)
    path.write_bytes(LINE)
    assert (await served.json(f"/files/{file_id}/content"))[0] == 500
    path.unlink()
    assert (await served.json(f"/files/{file_id}/content"))[0] == 404


async def test_pipelined_requests_are_answered_in_turn(served: Served) -> None:
    file_id = await served.upload()
    async with connected(served.port) as (reader, writer):
        writer.write(_get(f"/v1/files/{file_id}") * 2)
        for _ in range(2):
            assert (await answer(reader))[1]["id"] == file_id
