"""Uploads over real sockets: every shape of a form, every way to fail, and what is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from proxy_plugin.api.files import spool
from proxy_plugin.api.files.form import receive
from proxy_plugin.api.files.routes import accounts_of, file_object, store_of
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import files
from proxy_plugin.storage.tables.files import FileRow
from proxy_plugin.web.answers import json_answer
from tests.support.files_app import (
    BOB,
    BOUNDARY,
    LINE,
    answer,
    build,
    closing,
    connected,
    form,
    leftovers,
    part,
    post_head,
    send,
    serving,
)
from tests.support.waiting import eventually

MEGABYTE = 2**20


@dataclass
class Served:
    """A running application and its inside."""

    port: int
    gateway: Gateway
    data_dir: Path

    async def rows(self) -> list[FileRow]:
        """Return every row, hidden ones too."""
        ids = await self.gateway.registry.read(files.kept)
        return await self.gateway.registry.read(lambda conn: [row for name in ids if (row := files.get(conn, name))])

    async def assert_nothing_left(self) -> None:
        """No bytes, no row, no claim."""
        assert leftovers(self.data_dir) == []
        assert await self.rows() == []
        assert self.gateway.room.claims == {}
        assert self.gateway.traffic.uploads == 0


@pytest.fixture
async def served(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """An application; an indirect parameter sets its limits."""
    app = build(tmp_path / "data", getattr(request, "param", {}))
    async with serving(app) as port:
        yield Served(port, app[GATEWAY], tmp_path / "data")


# ---- what is stored ----


async def test_an_upload_is_stored_as_it_came(served: Served) -> None:
    data = LINE * 20_000
    before = int(time.time())
    status, file = await send(served.port, form(data))
    assert status == 200
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": len(data),
        "created_at": file["created_at"],
        "expires_at": file["created_at"] + 30 * 86_400,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "uploaded",
    }
    assert before <= file["created_at"] <= time.time()
    assert served.gateway.blobs.path(file["id"]).read_bytes() == data
    (row,) = await served.rows()
    assert (row.workspace, row.sha256, row.due_at) == ("alice", hashlib.sha256(data).hexdigest(), 0.0)
    assert leftovers(served.data_dir) == [file["id"]]
    assert served.gateway.engine.woken == 1  # type: ignore[attr-defined]


async def test_parts_may_come_in_any_order(served: Served) -> None:
    last = part("file", LINE, "f") + part("expires_after[seconds]", b"3600")
    last += part("expires_after[anchor]", b"created_at") + part("purpose", b"batch") + closing()
    status, file = await send(served.port, last)
    assert (status, file["expires_at"] - file["created_at"]) == (200, 3600)


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "7200"},
        {"expires_after.anchor": "created_at", "expires_after.seconds": "7200"},
        {"expires_after": '{"anchor": "created_at", "seconds": 7200}'},
    ],
    ids=["brackets", "dots", "json"],
)
async def test_expiry_in_every_spelling(served: Served, fields: dict[str, str]) -> None:
    more = [part(name, value.encode()) for name, value in fields.items()]
    status, file = await send(served.port, form(LINE, *more))
    assert (status, file["expires_at"] - file["created_at"]) == (200, 7200)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "7200"}, "expires_after.anchor"),
        ({"expires_after[seconds]": "7200"}, "expires_after.anchor"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "1e4"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "٣٦٠٠"}, "expires_after.seconds"),
        ({"expires_after.seconds": "7200", "expires_after[seconds]": "7200"}, "expires_after.seconds"),
        ({"expires_after": "[]"}, "expires_after"),
        ({"expires_after": '{"anchor": "created_at", "seconds": true}'}, "expires_after.seconds"),
    ],
)
async def test_a_bad_expiry_is_refused(served: Served, fields: dict[str, str], param: str) -> None:
    more = [part(name, value.encode()) for name, value in fields.items()]
    status, body = await send(served.port, form(LINE, *more))
    assert (status, body["error"]["param"]) == (400, param)
    await served.assert_nothing_left()


async def test_unknown_small_fields_are_ignored(served: Served) -> None:
    status, _ = await send(served.port, form(LINE, part("target_storage", b"x"), part("expires_after[x]", b"1")))
    assert status == 200


@pytest.mark.parametrize(
    ("claimed", "shown"),
    [
        ("", "file.jsonl"),
        ("  ", "file.jsonl"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("lot n° 3 — 数据.jsonl", "lot n° 3 — 数据.jsonl"),
        ("a%0D%0Ab%22c.jsonl", 'ab"c.jsonl'),
        (r"a\"b.jsonl", 'a"b.jsonl'),
        ("tab\tnul\x00.jsonl", "tabnul.jsonl"),
        ("n" * 4000, "n" * 512),
    ],
)
async def test_a_file_name_is_only_shown(served: Served, claimed: str, shown: str) -> None:
    status, file = await send(served.port, form(filename=claimed))
    assert (status, file["filename"]) == (200, shown)
    assert leftovers(served.data_dir) == [file["id"]]


async def test_a_file_part_without_a_name_and_one_in_broken_utf8(served: Served) -> None:
    status, file = await send(served.port, form().replace(b'; filename="in.jsonl"', b""))
    assert (status, file["filename"]) == (200, "file.jsonl")
    status, file = await send(served.port, form().replace(b"in.jsonl", b"\xff.jsonl"))
    assert (status, file["filename"]) == (200, "\N{REPLACEMENT CHARACTER}.jsonl")


async def test_uploads_at_once_do_not_mix(served: Served) -> None:
    contents = [LINE.replace(b"r-1", b"r-%d" % n) * 9000 for n in range(12)]
    answers = await asyncio.gather(*(send(served.port, form(data)) for data in contents))
    assert [status for status, _ in answers] == [200] * 12
    stored = [served.gateway.blobs.path(file["id"]).read_bytes() for _, file in answers]
    assert stored == contents
    assert served.gateway.room.claims == {}


# ---- what is refused ----


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (form(purpose="assistants"), "x-portkey-provider"),
        (form(purpose="batch_output"), "purpose"),
        (part("file", LINE, "f") + closing(), "purpose"),
        (part("purpose", b"batch") + closing(), "file"),
        (form(b""), "file"),
        (part("file", LINE, "f") + form(), "file"),
        (part("purpose", b"batch") + form(), "purpose"),
        (closing(), "file"),
        (b"", None),
        (form(LINE, part("other", b"x" * 70_000)), None),
        (form(LINE, *[part(f"p{n}", b"") for n in range(2000)]), None),
        (form() + b"epilogue" * 9000, None),
        (form(LINE * 5000)[:-40], None),
        (form().replace(BOUNDARY.encode(), b"another"), None),
    ],
    ids=[
        "purpose of a provider",
        "purpose of results",
        "no purpose",
        "no file",
        "empty file",
        "two files",
        "two purposes",
        "nothing",
        "no body",
        "large field",
        "many fields",
        "long epilogue",
        "cut off",
        "other boundary",
    ],
)
async def test_a_form_that_cannot_be_stored(served: Served, body: bytes, param: str | None) -> None:
    status, found = await send(served.port, body)
    assert status == 400
    assert (found["error"]["type"], found["error"]["param"]) == ("invalid_request_error", param)
    await served.assert_nothing_left()


async def test_a_purpose_sent_first_spares_the_upload(served: Served) -> None:
    async with connected(served.port) as (reader, writer):
        writer.write(post_head(100 * MEGABYTE) + part("purpose", b"vision") + part("file", b"begun", "f"))
        status, body = await answer(reader)
        assert (status, body["error"]["param"]) == (400, "x-portkey-provider")
        writer.close()


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"content_type": "application/json"}, "multipart/form-data"),
        ({"content_type": "multipart/form-data"}, "boundary"),
    ],
)
async def test_headers_that_forbid_an_upload(served: Served, headers: dict[str, str], word: str) -> None:
    status, body = await send(served.port, form(), **headers)
    assert status == 400
    assert word in body["error"]["message"]
    await served.assert_nothing_left()


@pytest.mark.parametrize("served", [{"max_file_bytes": 1000}], indirect=True)
async def test_a_file_beyond_the_limit(served: Served) -> None:
    assert (await send(served.port, form(b"x" * 1000)))[0] == 200
    status, body = await send(served.port, form(b"x" * 1001))
    assert (status, body["error"]["code"]) == (413, "request_too_large")
    assert "1000 bytes" in body["error"]["message"]
    assert len(leftovers(served.data_dir)) == 1


@pytest.mark.parametrize("served", [{"max_file_bytes": 300_000}], indirect=True)
async def test_a_chunked_upload_is_stopped_at_the_limit(served: Served) -> None:
    async with connected(served.port) as (reader, writer):
        writer.write(post_head(None))
        for piece in (form(b"")[: -len(closing()) - 2], *[LINE * 1000] * 4):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        status, body = await answer(reader)
        assert (status, "300000" in body["error"]["message"]) == (413, True)
        writer.close()
        await served.assert_nothing_left()


@pytest.mark.parametrize("served", [{"max_file_bytes": 1000}], indirect=True)
async def test_a_hopeless_upload_is_not_invited(served: Served) -> None:
    async with connected(served.port) as (reader, writer):
        writer.write(post_head(10 * MEGABYTE, expect="100-continue"))
        assert (await answer(reader))[0] == 413  # and no 100 before it
        writer.close()


async def test_an_invited_upload_goes_on(served: Served) -> None:
    async with connected(served.port) as (reader, writer):
        writer.write(post_head(len(form()), expect="100-continue"))
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(form())
        assert (await answer(reader))[0] == 200
        writer.close()


async def test_chunked_bytes_one_by_one(served: Served) -> None:
    async with connected(served.port) as (reader, writer):
        body = form()
        writer.write(post_head(None) + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        status, file = await answer(reader)
        assert (status, file["bytes"]) == (200, len(LINE))
        writer.close()


async def test_a_stopping_gateway_takes_no_new_upload_and_ends_the_running_one(served: Served) -> None:
    async with connected(served.port) as (reader, writer):
        body = form(LINE * 5000)
        writer.write(post_head(len(body)) + body[:1000])
        await eventually(lambda: served.gateway.traffic.uploads == 1)
        served.gateway.traffic.stopping = True
        assert (await send(served.port, form()))[0] == 503
        writer.write(body[1000:])
        assert (await answer(reader))[0] == 200
        writer.close()


@pytest.mark.parametrize("served", [{"max_uploads": 1}], indirect=True)
async def test_more_uploads_than_allowed(served: Served) -> None:
    async with connected(served.port) as (_, writer):
        writer.write(post_head(len(form())) + form()[:100])
        await eventually(lambda: served.gateway.traffic.uploads == 1)
        assert (await send(served.port, form()))[0] == 429
        writer.close()
        await eventually(lambda: served.gateway.traffic.uploads == 0)
        assert (await send(served.port, form()))[0] == 200


# ---- who leaves ----


@pytest.mark.parametrize("sent", [0, 100, 600_000])
async def test_a_client_that_leaves_leaves_nothing(served: Served, sent: int) -> None:
    async with connected(served.port) as (_, writer):
        writer.write(post_head(MEGABYTE) + form(LINE * 20_000)[:sent])
        await eventually(lambda: served.gateway.traffic.uploads == 1)
        if sent > spool.BLOCK_BYTES:
            await eventually(lambda: leftovers(served.data_dir))
            assert sum(served.gateway.room.claims.values()) > 0
        writer.close()
        await eventually(lambda: served.gateway.traffic.uploads == 0)
        await served.assert_nothing_left()


async def _impatient(request: web.Request) -> web.Response:
    gateway = request.app[GATEWAY]
    row = await receive(request, store_of(gateway), accounts_of(gateway), idle_seconds=0.3)
    return json_answer(file_object(row))


@pytest.mark.parametrize("chunked", [False, True], ids=["silent", "broken chunks"])
async def test_a_client_that_sends_nothing_usable_is_dropped(tmp_path: Path, chunked: bool) -> None:
    """aiohttp does not tell the handler of a chunk that is broken, so that too looks like silence."""
    app = build(tmp_path / "data")
    app.router.add_post("/impatient", _impatient)
    async with serving(app) as port, connected(port) as (reader, writer):
        body = form(LINE * 20_000)[:600_000]
        head = post_head(None if chunked else 10 * MEGABYTE).replace(b"/v1/files", b"/impatient")
        writer.write(head + (b"%x\r\n%b\r\n" % (len(body), body) if chunked else body))
        await eventually(lambda: leftovers(tmp_path / "data"))
        if chunked:
            writer.write(b"nonsense\r\n")
        status, found = await answer(reader)
        assert (status, found["error"]["code"]) == (408, "upload_idle")
        assert leftovers(tmp_path / "data") == []
        assert (app[GATEWAY].traffic.uploads, app[GATEWAY].room.claims) == (0, {})


async def test_a_cancelled_handler_waits_for_its_row(tmp_path: Path) -> None:
    """A cancel while the row is being committed must not take the blob from under it."""
    app = build(tmp_path / "data")
    async with serving(app) as port:
        gateway = app[GATEWAY]
        begun, go_on = threading.Event(), threading.Event()

        def hold(_: Connection) -> None:
            begun.set()
            go_on.wait(10)

        holding = asyncio.create_task(gateway.registry.write(hold))
        await asyncio.to_thread(begun.wait, 10)
        sending = asyncio.create_task(send(port, form()))
        await eventually(lambda: len(leftovers(tmp_path / "data")) == 1 and not list((tmp_path / "data/tmp").iterdir()))
        handlers = [task for task in asyncio.all_tasks() if "_handle_request" in repr(task)]
        for task in handlers:
            task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await holding
        await eventually(lambda: gateway.traffic.uploads == 0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert set(leftovers(tmp_path / "data")) == await gateway.registry.read(files.kept)
        assert handlers
        assert len(await gateway.registry.read(files.kept)) == 1


# ---- room ----


@pytest.mark.parametrize("served", [{"max_workspace_bytes": 2000}], indirect=True)
async def test_a_workspace_keeps_to_its_quota(served: Served) -> None:
    assert (await send(served.port, form(b"x" * 1500)))[0] == 200
    status, body = await send(served.port, form(b"x" * 501))
    assert (status, body["error"]["code"]) == (507, "insufficient_storage")
    assert (await send(served.port, form(b"x" * 500)))[0] == 200
    assert (await send(served.port, form(b"x")))[0] == 507
    assert (await send(served.port, form(b"x"), x_portkey_api_key=BOB))[0] == 200
    assert len(leftovers(served.data_dir)) == 3
    assert served.gateway.room.claims == {}


@pytest.mark.parametrize("served", [{"max_workspace_bytes": 1_000_000}], indirect=True)
async def test_running_uploads_count(served: Served) -> None:
    body = form(b"x" * 800_000)
    async with connected(served.port) as (_, writer):
        writer.write(post_head(len(body)) + body[:10])
        await eventually(lambda: served.gateway.room.claims)
        assert (await send(served.port, form(b"x" * 400_000)))[0] == 507
        writer.close()
        await eventually(lambda: served.gateway.traffic.uploads == 0)
        assert served.gateway.room.claims == {}
        assert (await send(served.port, form(b"x" * 400_000)))[0] == 200
