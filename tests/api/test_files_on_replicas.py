"""Files and uploads where replicas share bytes: one takes what another gives, and each may lose its disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy_plugin.api.files import room, spool
from proxy_plugin.api.files.spool import BLOCK_BYTES
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.storage.blobs import StoredBlobs, growing
from proxy_plugin.storage.blobs.growing import GrowingObject
from proxy_plugin.storage.blobs.object_store import Objects
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import StoreAway
from proxy_plugin.storage.room import Shares
from proxy_plugin.storage.tables import batches, files, parts
from tests.support.cloud_stores import AnyStore
from tests.support.files_app import FORM_TYPE, answer, auth, build, connected, form, part, post_head, send, serving
from tests.support.files_app import closing as closing_part
from tests.support.rows import BATCH_ID, batch_row, file_row, part_row
from tests.support.waiting import eventually

MUCH = os.urandom(11 * 2**20)
EVERYWHERE = pytest.mark.parametrize("kind", ["folder", "moto", "cloud_storage", "azurite"])


@dataclass
class Replica:
    """One of several gateways on one database and one store."""

    port: int
    gateway: Gateway
    session: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        url = f"http://127.0.0.1:{self.port}/v1{path}"
        async with self.session.get(url, headers=auth() | headers) as answer:
            return answer.status, await answer.read()

    async def post(self, path: str, **body: Any) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.port}/v1{path}"
        async with self.session.post(url, headers=auth(), json=body) as answer:
            return answer.status, await answer.json()

    def objects(self) -> list[str]:
        assert self.gateway.blobs.tree is not None
        return [found.key.rpartition("/")[2] for found in self.gateway.blobs.tree.store.listed("files")]

    def copies(self) -> list[str]:
        assert self.gateway.blobs.tree is not None
        return sorted(path.name for path in (self.gateway.blobs.tree.root / "files").rglob("*") if path.is_file())


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether each object that was written while its file grew was whole in the end."""
    found = list[bool]()
    finish = GrowingObject.finish

    async def finished(self: GrowingObject) -> bool:
        found.append(await finish(self))
        return found[-1]

    monkeypatch.setattr(GrowingObject, "finish", finished)
    return iter([found])


@pytest.fixture
def kind() -> str:
    """What the replicas keep bytes in."""
    return "folder"


@pytest.fixture
def place(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, Mapping[str, str]]:
    """URL and options of a store of that kind."""
    if kind == "folder":
        return f"file://{tmp_path / 'store'}", {}
    kept: AnyStore = request.getfixturevalue(kind)
    return f"{kept.bucket()}/replicas", kept.options


@pytest.fixture
async def replicas(tmp_path: Path, place: tuple[str, Mapping[str, str]]) -> AsyncIterator[tuple[Replica, Replica]]:
    made = list[Replica]()
    (tmp_path / "database").mkdir()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        for name in ("one", "two"):
            blobs = StoredBlobs(tmp_path / name, Objects(*place), 2**30)
            app = build(tmp_path / "database", blobs=blobs)
            port = await stack.enter_async_context(serving(app))
            made.append(Replica(port, app[GATEWAY], session))
        yield made[0], made[1]


@EVERYWHERE
async def test_what_is_uploaded_to_one_is_downloaded_from_another(
    replicas: tuple[Replica, Replica], streamed: Iterator[list[bool]]
) -> None:
    one, two = replicas
    status, file = await send(one.port, form(MUCH))
    assert (status, next(streamed)) == (200, [True])  # its pieces went on while it came
    assert (one.objects(), one.copies()) == ([file["id"]], [file["id"]])
    for replica in replicas:
        assert await replica.get(f"/files/{file['id']}/content") == (200, MUCH)
        span = {"Range": f"bytes={2**20 - 5}-{2**20 + 4}"}
        assert await replica.get(f"/files/{file['id']}/content", **span) == (206, MUCH[2**20 - 5 : 2**20 + 5])
        assert await replica.get(f"/files/{file['id']}/content", Range="bytes=-7") == (206, MUCH[-7:])
    assert two.copies() == []


@EVERYWHERE
async def test_parts_may_go_to_any_replica_and_all_may_lose_their_disks(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    pieces = [MUCH[: 5 * 2**20], MUCH[5 * 2**20 : 6 * 2**20], b'{"custom_id":"x"}\n']
    size = sum(map(len, pieces))
    _, upload = await one.post("/uploads", filename="a.jsonl", purpose="batch", bytes=size, mime_type="text/jsonl")
    ids = []
    for n, piece in enumerate(pieces):
        body = part("data", piece, "blob") + closing_part()
        status, made = await send(replicas[n % 2].port, body, f"/v1/uploads/{upload['id']}/parts")
        assert status == 200
        ids.append(made["id"])
        for replica in replicas:
            assert replica.gateway.blobs.tree is not None
            for key in [f"files/{name[-2:]}/{name}" for name in ids]:
                replica.gateway.blobs.tree.cache.forget(key)
            for shard in (replica.gateway.blobs.tree.root / "files").iterdir():
                shutil.rmtree(shard)
    status, done = await two.post(f"/uploads/{upload['id']}/complete", part_ids=ids)
    assert status == 200, done
    assert await one.get(f"/files/{done['file']['id']}/content") == (200, b"".join(pieces))
    assert one.objects() == [done["file"]["id"]]  # the parts are no more


async def test_a_store_that_does_not_take_pieces_gets_the_whole_in_the_end(
    replicas: tuple[Replica, Replica], streamed: Iterator[list[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreAway("not now")

    monkeypatch.setattr(Objects, "put_blocks", refuse)
    one, two = replicas
    status, file = await send(one.port, form(MUCH))
    assert (status, next(streamed)) == (200, [False])
    assert await two.get(f"/files/{file['id']}/content") == (200, MUCH)


async def test_clients_that_trickle_take_no_place_from_one_that_does_not(
    replicas: tuple[Replica, Replica], streamed: Iterator[list[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are streamed. More than there are places have sent a piece and some of the next, and say nothing more."""
    for where, name in ((growing, "PIECE_BYTES"), (spool, "FROM_BYTES")):
        monkeypatch.setattr(where, name, BLOCK_BYTES)
    one, two = replicas
    file = MUCH[: BLOCK_BYTES * 7 // 2]
    body, further = form(file), list[int]()  # sizes that streams wait for behind their first pieces
    grown = GrowingObject._grown_to

    def grown_to(self: GrowingObject, wanted: int) -> int:
        further.extend([wanted] * (wanted > 2 * BLOCK_BYTES))
        return grown(self, wanted)

    monkeypatch.setattr(GrowingObject, "_grown_to", grown_to)
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connected(one.port)) for _ in range(growing.PLACES + 1)]
        for _, writer in slow:
            writer.write(post_head(len(body)) + body[: BLOCK_BYTES * 5 // 2])
        await eventually(lambda: len(further) >= growing.PLACES, "all places had, and left")
        status, sent = await send(one.port, body)
        found = next(streamed)
        assert (status, found) == (200, [True])
        for _, writer in slow:
            writer.write(body[BLOCK_BYTES * 5 // 2 :])
        ids = [sent["id"]]
        for reader, _ in slow:
            status, sent = await answer(reader)
            ids.append(sent["id"])
    assert found == [True] * len(ids)
    for each in ids:
        assert await two.get(f"/files/{each}/content") == (200, file)


async def test_an_upload_that_the_store_does_not_take_is_no_file(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreAway("not now")

    monkeypatch.setattr(Objects, "put", refuse)
    one, _ = replicas
    url, headers = f"http://127.0.0.1:{one.port}/v1/files", auth() | {"Content-Type": FORM_TYPE}
    async with one.session.post(url, data=form(), headers=headers) as answer:
        assert answer.status == 500  # the entrance, which is not here, makes 503 of it
    assert json.loads((await one.get("/files"))[1])["data"] == []
    assert one.copies() == []


async def test_an_upload_of_a_gateway_that_was_stopped_for_long_is_no_file(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its object may have been swept by then."""
    monkeypatch.setattr(room, "NAMED_WITHIN", -1.0)
    one, _ = replicas
    status, refused = await send(one.port, form())
    assert (status, refused["error"]["code"]) == (503, "unavailable")
    assert (await one.gateway.registry.read(files.kept), one.objects()) == (set(), [])


async def test_a_file_whose_bytes_go_this_moment_is_not_found(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    _, file = await send(one.port, form(MUCH))
    await one.gateway.blobs.discard(file["id"])
    status, answer = await two.get(f"/files/{file['id']}/content")
    assert (status, json.loads(answer)["error"]["param"]) == (404, "id")


async def test_a_folder_that_vanishes_under_a_running_replica_is_made_again(replicas: tuple[Replica, Replica]) -> None:
    """Scratch may go at any moment: what comes next is served, and what was a copy is fetched again."""
    one, _ = replicas
    blobs, root = one.gateway.blobs, one.gateway.blobs.path("file-0").parent.parent.parent
    _, file = await send(one.port, form(MUCH))
    with blobs.held():
        await blobs.present(file["id"])
        shutil.rmtree(root)
        assert (await blobs.present(file["id"])).read_bytes() == MUCH
    shutil.rmtree(root)
    assert await one.get(f"/files/{file['id']}/content") == (200, MUCH)
    status, second = await send(one.port, form(MUCH))
    assert status == 200
    shutil.rmtree(root)
    assert blobs.space.disk().free > 0
    assert root.stat().st_mode & 0o777 == 0o700
    assert await one.get(f"/files/{second['id']}/content") == (200, MUCH)


async def test_documents_of_a_batch_at_one_replica_take_room_at_another(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = replicas
    monkeypatch.setattr(two.gateway.room, "_shares", Shares(10_000, 1.0, 0))
    await one.gateway.registry.write(_split, "alice", 9_990)
    assert (await send(two.port, form()))[0] == 507
    assert (await send(one.port, form()))[0] == 200


def _split(conn: Connection, workspace: str, size: int) -> None:
    files.insert(conn, file_row(workspace=workspace))
    batches.insert(conn, batch_row(workspace=workspace), is_retry=False)
    parts.insert(conn, part_row(BATCH_ID, bytes=size, state="staging"))
