"""What one workspace can take of the disk and of the uploads, and what is left to another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.storage.room import AHEAD
from tests.support.files_app import (
    ALICE,
    BOB,
    answer,
    build,
    closing,
    connected,
    form,
    leftovers,
    post_head,
    send,
    serving,
)
from tests.support.rows import put_batch, put_file
from tests.support.served import TARGET, WANTED, running
from tests.support.uploads import Client
from tests.support.waiting import eventually

GIGABYTE = 2**30


@dataclass
class Served:
    """A running application and its inside."""

    port: int
    gateway: Gateway
    data_dir: Path
    session: aiohttp.ClientSession

    def client(self, key: str = ALICE) -> Client:
        return Client(self.port, self.session, key)


@pytest.fixture
async def served(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """An application; an indirect parameter sets its limits."""
    app = build(tmp_path / "data", getattr(request, "param", {}))
    async with serving(app) as port, aiohttp.ClientSession() as session:
        yield Served(port, app[GATEWAY], tmp_path / "data", session)


def claimed(gateway: Gateway) -> int:
    return sum(gateway.room.claims.values())


@pytest.mark.parametrize("announced", [AHEAD // 2, AHEAD, AHEAD + 1, GIGABYTE, 2 * GIGABYTE - 1])
async def test_an_upload_claims_64_megabytes_ahead_whatever_it_announces(served: Served, announced: int) -> None:
    async with connected(served.port) as (_, writer):
        writer.write(post_head(announced) + form(b"x" * 600_000)[:600_000])
        await eventually(lambda: leftovers(served.data_dir))
        assert claimed(served.gateway) <= AHEAD
        assert claimed(served.gateway) >= min(announced, AHEAD) - 2**20
        writer.close()
        await eventually(lambda: served.gateway.traffic.uploads == 0)
        assert served.gateway.room.claims == {}


async def test_the_claim_stays_ahead_of_what_has_come(served: Served) -> None:
    async with connected(served.port) as (_, writer):
        writer.write(post_head(GIGABYTE) + form(b"")[: -len(closing()) - 2])
        for _ in range(3):
            writer.write(bytes(AHEAD // 2))
            await writer.drain()
        size = 3 * (AHEAD // 2)
        await eventually(
            lambda: sum(path.stat().st_size for path in (served.data_dir / "tmp").iterdir()) > size - 2**20
        )
        assert size < claimed(served.gateway) < size + AHEAD + 2**20
        writer.close()


@pytest.mark.parametrize("served", [{"max_uploads": 4}], indirect=True)
async def test_the_last_uploads_are_another_workspaces(served: Served) -> None:
    async with AsyncExitStack() as stack:
        writers = [(await stack.enter_async_context(connected(served.port)))[1] for _ in range(3)]
        for writer in writers:
            writer.write(post_head(1_000_000) + form()[:100])
        await eventually(lambda: served.gateway.traffic.uploads == 3)
        status, refused = await send(served.port, form())
        assert (status, refused["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "of this workspace" in refused["error"]["message"]
        assert (await send(served.port, form(), x_portkey_api_key=BOB))[0] == 200
        for writer in writers:
            writer.close()
        await eventually(lambda: served.gateway.traffic.uploads == 0)
        assert served.gateway.traffic.uploads_of == {}
        assert (await send(served.port, form()))[0] == 200


@pytest.mark.parametrize("served", [{"max_uploads": 5, "max_workspace_uploads": 1}], indirect=True)
async def test_the_share_of_uploads_can_be_set(served: Served) -> None:
    async with connected(served.port) as (reader, writer):
        writer.write(post_head(len(form())) + form()[:100])
        await eventually(lambda: served.gateway.traffic.uploads == 1)
        assert (await send(served.port, form()))[0] == 429
        writer.write(form()[100:])
        assert (await answer(reader))[0] == 200


@pytest.mark.parametrize("served", [{"max_workspace_files": 3}], indirect=True)
async def test_a_workspace_has_no_more_files_than_it_may(served: Served) -> None:
    for _ in range(3):
        assert (await send(served.port, form()))[0] == 200
    status, refused = await send(served.port, form())
    assert (status, refused["error"]["code"]) == (429, "too_many_files")
    assert (await send(served.port, form(), x_portkey_api_key=BOB))[0] == 200
    assert len(leftovers(served.data_dir)) == 4


@pytest.mark.parametrize("served", [{"max_workspace_files": 4}], indirect=True)
async def test_open_uploads_and_their_parts_are_files_too(served: Served) -> None:
    alice = served.client()
    uploads = [(await alice.announce(10))["id"] for _ in range(2)]
    parts = [await alice.part(upload, b"x" * 5) for upload in uploads]
    assert all(status == 200 for status, _ in parts)
    for status, refused in (await alice.part(uploads[0], b"x" * 5), await send(served.port, form())):
        assert (status, refused["error"]["code"]) == (429, "too_many_files")
    await alice.post(f"/uploads/{uploads[1]}/cancel")
    assert (await alice.part(uploads[0], b"x" * 5))[0] == 200
    assert (await send(served.client(BOB).port, form(), x_portkey_api_key=BOB))[0] == 200


@pytest.mark.parametrize("states", [("validating", "splitting"), ("running", "merging")])
async def test_a_workspace_has_no_more_open_batches_than_it_may(tmp_path: Path, states: tuple[str, str]) -> None:
    limits = {"disk_reserve_bytes": 0, "max_open_batches": 2}
    async with running(tmp_path, limits=limits) as served:
        registry = served.gateway.registry
        await put_file(registry)
        for n, state in enumerate(states):
            await put_batch(registry, f"batch_open{n}", state=state, due_at=None)
        for n, state in enumerate(("completed", "failed", "expired", "cancelled")):
            await put_batch(registry, f"batch_ended{n}", state=state)
        status, refused, _ = await served.call("POST", "/v1/batches", WANTED)
        assert (status, refused["error"]["code"]) == (429, "too_many_batches")
        await registry.write(_end, "batch_open0")
        assert (await served.call("POST", "/v1/batches", WANTED))[0] == 200
        again = TARGET | {"x-stainless-retry-count": "1"}
        assert (await served.call("POST", "/v1/batches", WANTED, again))[0] == 200, "one that repeats it is no other"


def _end(conn: Any, batch_id: str) -> None:
    conn.execute("UPDATE batches SET state = 'completed' WHERE id = ?", (batch_id,))


async def test_what_batches_hold_counts_to_their_workspace(tmp_path: Path) -> None:
    app = build(tmp_path / "data", {"max_workspace_bytes": 10_000})
    async with serving(app) as port:
        room = app[GATEWAY].room
        room.working.add("alice", "batch_1", 9_500)
        assert (await send(port, form(b"x" * 501)))[0] == 507
        assert (await send(port, form(b"x" * 501), x_portkey_api_key=BOB))[0] == 200
        room.working.forget(["batch_1"])
        assert (await send(port, form(b"x" * 501)))[0] == 200


async def test_not_ready_while_uploads_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path, limits={"disk_reserve_bytes": 2**60}) as served:
        assert (await served.call("GET", "/readyz"))[:2] == (503, {"status": "disk full"})
    async with running(tmp_path, limits={"disk_reserve_bytes": 0, "max_uploads": 2}) as served:
        assert (await served.call("GET", "/readyz"))[0] == 200
        served.gateway.traffic.uploads = 2
        assert (await served.call("GET", "/readyz"))[:2] == (503, {"status": "too many uploads"})
        served.gateway.traffic.uploads = 0
