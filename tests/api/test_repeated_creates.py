"""When two creates are one batch: retries, lost answers, idempotency keys; and when they are two on purpose."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches
from tests.support.rows import put_file
from tests.support.served import KEY, OTHER_KEY, TARGET, WANTED, Served, count, create, running, stored
from tests.support.waiting import answered, eventually
from tests.support.wire import wire


async def replied(served: Served, batch_id: str) -> bool:
    return (await stored(served, batch_id)).replied_at is not None


async def seen(served: Served, batch_id: str) -> bool:
    return ((await stored(served, batch_id)).due_at or 0) > 0


async def counted(served: Served, batches_there: int) -> bool:
    return await count(served) == batches_there


async def forget_reply(served: Served, batch_id: str) -> None:
    """Make a batch look as if its create had never been answered."""
    await answered(lambda: replied(served, batch_id))
    await served.gateway.registry.write(
        lambda conn: conn.execute("UPDATE batches SET replied_at = NULL WHERE id = ?", (batch_id,))
    )


async def test_a_second_run_on_purpose_is_a_second_batch(tmp_path: Path) -> None:
    """A client that has its answer and sends the same again, on new connections and at once, means it."""
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        ids = set()
        for _ in range(6):
            async with wire(served) as client:
                body = orjson.dumps(WANTED)
                headers = [f"{name}: {value}" for name, value in TARGET.items()]
                await client.send("POST", "/v1/batches", *headers, f"Content-Length: {len(body)}", body=body)
                ids.add(orjson.loads((await client.answer()).body)["id"])
        assert len(ids) == 6
        assert len({(await create(served))["id"] for _ in range(6)} | ids) == 12


async def test_a_second_run_may_start_before_the_first_answer_is_acknowledged(tmp_path: Path) -> None:
    """A client's kernel delays the acknowledgement of a second answer on one connection by 40 ms."""
    body = orjson.dumps(WANTED)
    headers = [f"{name}: {value}" for name, value in TARGET.items()]
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        ids = set()
        for _ in range(5):
            async with wire(served) as one, wire(served) as two:
                for client in (one, two):
                    await client.send("GET", "/v1/batches", *headers)
                    await client.answer()
                for client in (one, two):
                    await client.send("POST", "/v1/batches", *headers, f"Content-Length: {len(body)}", body=body)
                    ids.add(orjson.loads((await client.answer()).body)["id"])
        assert len(ids) == 10


async def test_a_create_that_says_it_is_a_retry_gets_the_first_batch_for_30_minutes(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        first = await create(served)
        retry = {"x-stainless-retry-count": "1"}
        assert (await create(served, retry))["id"] == first["id"]
        assert (await create(served, retry, metadata={"other": "body"}))["id"] != first["id"]
        served.clock.offset += 29 * 60
        assert (await create(served, retry))["id"] == first["id"]
        served.clock.offset += 2 * 60
        assert (await create(served, retry))["id"] != first["id"]


async def test_the_order_of_fields_and_what_we_ignore_make_no_difference(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        first = await create(served, metadata={"a": "1", "b": "2"})
        body = {
            "unknown": 1,
            "metadata": {"b": "2", "a": "1"},
            "endpoint": WANTED["endpoint"],
            "input_file_id": "file-1",
        }
        headers = TARGET | {"x-stainless-retry-count": "2", "x-portkey-trace-id": "another"}
        assert (await served.call("POST", "/v1/batches", body, headers))[1]["id"] == first["id"]


async def test_a_client_that_was_never_answered_gets_the_first_batch_for_10_minutes(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        first = await create(served)
        await forget_reply(served, first["id"])
        assert (await create(served))["id"] == first["id"]
        assert (await create(served))["id"] != first["id"], "now it has been answered"


async def test_an_unanswered_create_is_forgotten_after_10_minutes(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        first = await create(served)
        await forget_reply(served, first["id"])
        served.clock.offset += 10 * 60 + 2
        assert (await create(served))["id"] != first["id"]


async def test_a_client_that_hangs_up_before_the_answer_finds_its_batch_again(tmp_path: Path) -> None:
    """The Portkey Node SDK retries without saying so."""
    body = orjson.dumps(WANTED)
    head = f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in TARGET.items()) + "\r\n"
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        for _ in range(3):
            await _lost_and_repeated(served, head.encode() + body)


async def _lost_and_repeated(served: Served, message: bytes) -> None:
    before = await count(served)
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(message)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await answered(lambda: counted(served, before + 1))
    [row] = (await served.gateway.registry.read(batches.page, "one", after=None, limit=1)) or []
    again = await create(served)
    assert again["id"] == row.id
    assert await count(served) == before + 1
    await answered(lambda: replied(served, row.id))


@pytest.mark.parametrize("cancelling", [False, True])
async def test_a_client_that_hangs_up_in_its_create_leaves_a_batch_that_runs(tmp_path: Path, cancelling: bool) -> None:
    """Also where the embedding application cancels handlers whose client has gone."""
    release, blocked, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def block(conn: Connection) -> None:
        loop.call_soon_threadsafe(blocked.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)

    async with running(tmp_path, cancelling=cancelling) as served, wire(served) as client:
        await put_file(served.gateway.registry)
        blocking = asyncio.create_task(served.gateway.registry.write(block))
        await blocked.wait()
        body = orjson.dumps(WANTED)
        headers = [f"{name}: {value}" for name, value in TARGET.items()]
        await client.send("POST", "/v1/batches", *headers, f"Content-Length: {len(body)}", body=body)
        await eventually(lambda: served.gateway.registry._queue.qsize() >= 1)  # the insert waits behind the block
        client.hang_up()
        await eventually(lambda: served.gateway.registry._queue.qsize() >= 1 and client.gone())  # the engine writes too
        release.set()
        await blocking
        await answered(lambda: counted(served, 1))
        [row] = (await served.gateway.registry.read(batches.page, "one", after=None, limit=1)) or []
        await answered(lambda: seen(served, row.id))  # the engine has looked at it
        assert (await stored(served, row.id)).replied_at is None
        assert (await create(served))["id"] == row.id


async def test_a_client_that_never_reads_counts_as_not_answered(tmp_path: Path) -> None:
    """Its kernel takes the bytes only while there is room; the answer after that is in nobody's hands."""
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        body = orjson.dumps(WANTED | {"metadata": {f"k{n}": "v" * 512 for n in range(16)}})
        head = f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in TARGET.items()) + "\r\n"
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.connect(("127.0.0.1", served.port))
            client.sendall(head.encode() + body)
            await answered(lambda: counted(served, 1))
            [row] = (await served.gateway.registry.read(batches.page, "one", after=None, limit=1)) or []
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        again = await create(served, metadata={f"k{n}": "v" * 512 for n in range(16)})
        assert again["id"] == row.id


@pytest.mark.parametrize(
    ("file", "more", "status"),
    [
        ({"sha256": "a" * 64}, {}, 200),
        ({"sha256": "b" * 64}, {}, 422),
        ({"sha256": "a" * 64}, {"metadata": {"a": "1"}}, 422),
        ({"sha256": "a" * 64, "workspace": "two"}, {}, 422),
        ({"sha256": "a" * 64, "hidden_at": 1}, {}, 422),
    ],
)
async def test_a_key_with_the_same_bytes_uploaded_anew_is_the_first_batch(
    tmp_path: Path, file: dict[str, Any], more: dict[str, Any], status: int
) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry, sha256="a" * 64)
        await put_file(served.gateway.registry, "file-2", **file)
        key = {"Idempotency-Key": "run-7"}
        first = await create(served, key)
        again = WANTED | {"input_file_id": "file-2"} | more
        answered_with, answer, _ = await served.call("POST", "/v1/batches", again, TARGET | key)
        assert answered_with == status, answer
        assert status != 200 or answer["id"] == first["id"]
        assert await count(served) == 1


async def test_a_key_whose_first_file_is_deleted_still_knows_its_bytes(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry, sha256="a" * 64)
        key = {"Idempotency-Key": "run-8"}
        first = await create(served, key)
        assert (await served.call("DELETE", "/v1/files/file-1", None, TARGET))[0] == 200
        await put_file(served.gateway.registry, "file-2", sha256="a" * 64)
        again = await served.call("POST", "/v1/batches", WANTED | {"input_file_id": "file-2"}, TARGET | key)
        assert again[1]["id"] == first["id"]


async def test_one_idempotency_key_is_one_batch(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        key = {"Idempotency-Key": "run-7"}
        made = await asyncio.gather(*(create(served, key) for _ in range(20)))
        assert len({batch["id"] for batch in made}) == 1
        assert await count(served) == 1
        status, answer, headers = await served.call("POST", "/v1/batches", WANTED | {"metadata": {}}, TARGET | key)
        assert (status, answer["error"]["code"]) == (422, "idempotency_key_reused")
        assert headers["x-should-retry"] == "false"
        served.clock.offset += 86_401
        assert (await create(served, key))["id"] != made[0]["id"]


async def test_an_idempotency_key_belongs_to_its_workspace(tmp_path: Path) -> None:
    keys = [
        {"name": "first", "key": KEY, "workspace": "one"},
        {"name": "second", "key": OTHER_KEY, "workspace": "two"},
    ]
    async with running(tmp_path, api_keys=keys) as served:
        await put_file(served.gateway.registry, "file-1")
        await put_file(served.gateway.registry, "file-2", workspace="two")
        key = {"Idempotency-Key": "same"}
        first = await create(served, key)
        second = await create(served, key | {"x-portkey-api-key": OTHER_KEY}, input_file_id="file-2")
        assert first["id"] != second["id"]


@pytest.mark.parametrize("key", [b"", b"k" * 256, b"\xff\xfe"])
async def test_an_unusable_idempotency_key_is_400(tmp_path: Path, key: bytes) -> None:
    body = orjson.dumps(WANTED)
    async with running(tmp_path) as served, wire(served) as client:
        await put_file(served.gateway.registry)
        head = f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in TARGET.items())
        await client.write(head.encode() + b"Idempotency-Key: " + key + b"\r\n\r\n" + body)
        answer = await client.answer()
        assert (answer.status, answer.error["param"]) == (400, "Idempotency-Key")
        assert await count(served) == 0


async def test_a_retry_finds_its_batch_although_the_file_has_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        first = await create(served)
        await served.gateway.registry.write(lambda conn: conn.execute("UPDATE files SET hidden_at = 1"))
        assert (await create(served, {"x-stainless-retry-count": "1"}))["id"] == first["id"]
        assert (await served.call("POST", "/v1/batches", WANTED))[0] == 404


async def test_a_retrying_client_creates_one_batch(tmp_path: Path) -> None:
    """OpenAI's SDK gives up waiting and asks again with its retry count, while the first create is still on its way."""
    release, attempts, loop = asyncio.Event(), [], asyncio.get_running_loop()

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        attempts.append(request.headers["x-stainless-retry-count"])
        answer: web.StreamResponse = await handler(request)
        return answer

    def block(conn: Connection) -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)

    async with running(tmp_path, web.Application(middlewares=[note])) as served:
        await put_file(served.gateway.registry)
        blocked = asyncio.create_task(served.gateway.registry.write(block))
        async with AsyncOpenAI(
            api_key=KEY,
            base_url=f"{served.url}/v1",
            default_headers={"x-portkey-virtual-key": "lane"},
            timeout=0.3,
            max_retries=9,
        ) as client:
            creating = asyncio.create_task(
                client.batches.create(input_file_id="file-1", endpoint="/v1/embeddings", completion_window="24h")
            )
            await eventually(lambda: attempts[:2] == ["0", "1"])
            release.set()
            made = await creating
        await blocked
        assert await count(served) == 1
        assert (await stored(served, made.id)).state == "validating"
