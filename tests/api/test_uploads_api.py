"""Uploads in parts over real sockets: what they become, every refusal, kills, and what is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from proxy_plugin.engine import housekeeping
from proxy_plugin.gateway import GATEWAY, Gateway
from proxy_plugin.storage.tables import files, uploads
from tests.support.files_app import (
    BOB,
    FORM_TYPE,
    LINE,
    auth,
    build,
    closing,
    connected,
    leftovers,
    part,
    post_head,
    serving,
)
from tests.support.uploads import MEGABYTE, Client
from tests.support.waiting import eventually

UNKNOWN = f"upload_{secrets.token_hex(12)}"


@dataclass
class Served(Client):
    """A running application, Alice at its door, and its inside."""

    gateway: Gateway = field(kw_only=True)
    data_dir: Path = field(kw_only=True)

    @property
    def bob(self) -> Client:
        return Client(self.port, self.session, BOB)

    async def stored(self, workspace: str = "alice") -> int:
        return await self.gateway.registry.read(files.stored_bytes, workspace)

    async def age(self, upload_id: str, seconds: float) -> None:
        """Let an upload have expired `seconds` ago."""
        moment = int(self.gateway.clock.now() - seconds)
        change = "UPDATE uploads SET expires_at = ? WHERE id = ?"
        await self.gateway.registry.write(lambda conn: conn.execute(change, (moment, upload_id)).rowcount)


@pytest.fixture
async def served(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """An application; an indirect parameter sets its limits."""
    app = build(tmp_path / "data", getattr(request, "param", {}))
    async with serving(app) as port, aiohttp.ClientSession() as session:
        yield Served(port, session, gateway=app[GATEWAY], data_dir=tmp_path / "data")


CODES = {
    "Missing required parameter": "missing_required_parameter",
    "Invalid type for": "invalid_type",
    "empty string": "empty_string",
    "empty array": "empty_array",
    "below minimum value": "integer_below_min_value",
}


def _error(message: str, param: str | None, code: str | None = None) -> dict[str, Any]:
    code = code or next((each for said, each in CODES.items() if said in message), None)
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def _closed(status: str) -> tuple[int, dict[str, Any]]:
    message = f"The upload is not pending any more: its status is '{status}'."
    return 400, _error(message, None, "upload_not_pending")


# ---- what becomes of it ----


async def test_parts_become_a_file_like_any_other(served: Served) -> None:
    first, second, third = LINE * 9000, LINE, b"\n" + LINE * 5
    whole = first + second + third
    upload = await served.announce(len(whole), expires_after={"anchor": "created_at", "seconds": 7200})
    assert upload == {
        "id": upload["id"],
        "object": "upload",
        "bytes": len(whole),
        "created_at": upload["created_at"],
        "expires_at": upload["created_at"] + 3600,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "pending",
    }
    answers = await asyncio.gather(*(served.part(upload["id"], data) for data in (third, first, second)))
    ids = [found["id"] for _, found in answers]
    assert answers[0][1] == {
        "id": ids[0],
        "object": "upload.part",
        "created_at": answers[0][1]["created_at"],
        "upload_id": upload["id"],
    }
    assert await served.stored() == len(whole)
    order = [ids[1], ids[2], ids[0]]
    status, done = await served.complete(upload["id"], order, md5=hashlib.md5(whole).hexdigest().upper())
    file = done["file"]
    assert (status, done) == (200, upload | {"status": "completed", "file": file})
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": len(whole),
        "created_at": file["created_at"],
        "expires_at": file["created_at"] + 7200,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "uploaded",
    }
    assert served.gateway.blobs.path(file["id"]).read_bytes() == whole
    row = await served.gateway.registry.read(files.get, file["id"])
    assert row is not None
    assert (row.workspace, row.sha256, row.due_at) == ("alice", hashlib.sha256(whole).hexdigest(), 0.0)
    assert served.gateway.engine.woken == 1  # type: ignore[attr-defined]
    assert leftovers(served.data_dir) == [file["id"]]
    assert await served.stored() == len(whole)
    assert (served.gateway.traffic.uploads, served.gateway.room.claims) == (0, {})


async def test_completing_twice_returns_the_same(served: Served) -> None:
    upload = await served.announce(2 * len(LINE))
    ids = await served.parts(upload["id"], LINE, LINE)
    first = await served.complete(upload["id"], ids)
    assert first[0] == 200
    assert await served.complete(upload["id"], ids) == first
    assert await served.complete(upload["id"], ids[::-1]) == _closed("completed")
    assert await served.part(upload["id"], LINE) == _closed("completed")
    assert await served.post(f"/uploads/{upload['id']}/cancel") == _closed("completed")


async def test_completing_at_the_same_time_makes_one_file(served: Served) -> None:
    upload = await served.announce(3 * MEGABYTE)
    ids = await served.parts(upload["id"], bytes(MEGABYTE), bytes(2 * MEGABYTE))
    answers = await asyncio.gather(*(served.complete(upload["id"], ids) for _ in range(5)))
    assert [status for status, _ in answers] == [200] * 5
    (file_id,) = {found["file"]["id"] for _, found in answers}
    assert leftovers(served.data_dir) == [file_id]
    assert await served.stored() == 3 * MEGABYTE


async def test_a_part_that_was_sent_twice_is_left_out(served: Served) -> None:
    """A client whose reply was lost sends the part again and never learns of the first one's id."""
    upload = await served.announce(2 * len(LINE))
    ids = await served.parts(upload["id"], LINE, LINE, LINE)
    status, done = await served.complete(upload["id"], ids[1:])
    assert (status, done["file"]["bytes"]) == (200, 2 * len(LINE))
    assert leftovers(served.data_dir) == [done["file"]["id"]]
    assert await served.stored() == 2 * len(LINE)


async def test_a_packed_part(served: Served) -> None:
    upload = await served.announce(len(LINE))
    status, found = await served.part(upload["id"], LINE, **{"Content-Encoding": "gzip"})
    assert status == 200
    status, done = await served.complete(upload["id"], [found["id"]])
    assert served.gateway.blobs.path(done["file"]["id"]).read_bytes() == LINE


async def test_the_file_is_not_shown_once_it_is_deleted(served: Served) -> None:
    upload = await served.announce(len(LINE))
    ids = await served.parts(upload["id"], LINE)
    _, done = await served.complete(upload["id"], ids)
    now = served.gateway.clock.now()
    await served.gateway.registry.write(lambda conn: files.hide(conn, "alice", done["file"]["id"], now))
    status, again = await served.complete(upload["id"], ids)
    assert (status, again) == (200, {name: value for name, value in done.items() if name != "file"})


# ---- what is refused ----

GOOD: dict[str, Any] = {"filename": "a.jsonl", "purpose": "batch", "bytes": 10, "mime_type": "application/jsonl"}
TYPE = "Invalid type for '{}': expected {}, but got {} instead."
MISSING = "Missing required parameter: '{}'."
EMPTY = "Invalid '{}': empty string. Expected a string with minimum length 1, but got an empty string instead."
BELOW = "Invalid '{}': integer below minimum value. Expected a value >= {}, but got {} instead."
OTHER_PURPOSE = (
    "An upload in parts takes the purpose 'batch' only; send a file for another purpose in one piece to "
    "'POST /v1/files'."
)


@pytest.mark.parametrize(
    ("changes", "message", "param"),
    [
        ({"purpose": "vision"}, OTHER_PURPOSE, "purpose"),
        ({"purpose": None}, MISSING.format("purpose"), "purpose"),
        ({"filename": " "}, EMPTY.format("filename"), "filename"),
        ({"mime_type": 7}, TYPE.format("mime_type", "a string", "an integer"), "mime_type"),
        ({"bytes": None}, MISSING.format("bytes"), "bytes"),
        ({"bytes": 0}, BELOW.format("bytes", 1, 0), "bytes"),
        ({"bytes": True}, TYPE.format("bytes", "an integer", "a boolean"), "bytes"),
        ({"bytes": "10"}, TYPE.format("bytes", "an integer", "a string"), "bytes"),
        ({"bytes": 10.5}, TYPE.format("bytes", "an integer", "a decimal number"), "bytes"),
        ({"expires_after": "1d"}, TYPE.format("expires_after", "an object", "a string"), "expires_after"),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 60}},
            BELOW.format("expires_after.seconds", 3600, 60),
            "expires_after.seconds",
        ),
        (
            {"expires_after": {"seconds": 3600}},
            MISSING.format("expires_after.anchor"),
            "expires_after.anchor",
        ),
    ],
)
async def test_an_announcement_that_cannot_be(
    served: Served, changes: dict[str, Any], message: str, param: str
) -> None:
    assert await served.post("/uploads", GOOD | changes) == (400, _error(message, param))


@pytest.mark.parametrize("served", [{"max_file_bytes": 1000, "max_workspace_bytes": 1500}], indirect=True)
async def test_the_limits_hold_over_the_sum_of_the_parts(served: Served) -> None:
    large = "The file exceeds 1000 bytes, this gateway's limit; split it into several."
    assert await served.post("/uploads", GOOD | {"bytes": 1001}) == (413, _error(large, "bytes", "request_too_large"))
    upload = await served.announce(1000)
    first, second = await served.parts(upload["id"], bytes(600), bytes(400))
    status, found = await served.part(upload["id"], bytes(600))
    assert (status, found["error"]["code"]) == (507, "insufficient_storage"), "1,500 for the whole workspace"
    status, found = await served.post("/uploads", GOOD | {"bytes": 501})
    assert (status, found["error"]["code"]) == (507, "insufficient_storage")
    status, done = await served.complete(upload["id"], [first, second])
    assert (status, done["file"]["bytes"]) == (200, 1000), "what is joined is not counted twice"
    assert await served.stored() == 1000


async def test_a_part_larger_than_its_upload(served: Served) -> None:
    upload = await served.announce(100)
    message = "The part alone exceeds the 100 bytes for which its upload was created."
    refused = (413, _error(message, "data", "request_too_large"))
    assert await served.part(upload["id"], bytes(101)) == refused
    assert leftovers(served.data_dir) == []


async def test_a_part_beyond_64_mb_is_not_even_received(served: Served) -> None:
    upload = await served.announce(100 * MEGABYTE)
    path = f"/v1/uploads/{upload['id']}/parts"
    async with connected(served.port) as (reader, writer):
        writer.write(post_head(65 * MEGABYTE, path, expect="100-continue"))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"A part may have at most 67108864 bytes; send more of them." in await reader.readuntil(b"}}")


async def test_parts_without_end(served: Served) -> None:
    upload = await served.announce(1000)
    await served.parts(upload["id"], bytes(1000), bytes(1000))
    status, found = await served.part(upload["id"], b"x")
    message = (
        "The upload has too many parts: it takes 10000, and twice its own bytes in them; cancel it and create another "
        "one."
    )
    assert (status, found) == (400, _error(message, "data"))
    assert len(leftovers(served.data_dir)) == 2
    assert await served.stored() == 2000


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (part("data", b"", "blob") + closing(), "The part is empty.", "data"),
        (part("file", LINE, "blob") + closing(), MISSING.format("data"), "data"),
        (closing(), MISSING.format("data"), "data"),
        (
            part("data", LINE, "a") + part("data", LINE, "b") + closing(),
            "The form has more than one 'data'; send one at a time.",
            "data",
        ),
        (part("data", LINE, "a"), "The upload cannot be read: the body ends before its closing boundary.", None),
        (closing() + bytes(70_000), "The form has more than 64 KiB beside its file.", None),
    ],
)
async def test_a_part_that_cannot_be_stored(served: Served, body: bytes, message: str, param: str | None) -> None:
    upload = await served.announce(10_000)
    url = f"http://127.0.0.1:{served.port}/v1/uploads/{upload['id']}/parts"
    async with served.session.post(url, data=body, headers=auth() | {"Content-Type": FORM_TYPE}) as reply:
        assert (reply.status, await reply.json()) == (400, _error(message, param))
    assert leftovers(served.data_dir) == []
    assert (served.gateway.traffic.uploads, served.gateway.room.claims) == (0, {})


NO_ENTRY = "Invalid 'part_ids': empty array. Expected an array with minimum length 1, but got an empty array instead."


async def test_a_completion_that_cannot_be(served: Served) -> None:
    upload, other = await served.announce(2 * len(LINE)), await served.announce(len(LINE))
    first, second = await served.parts(upload["id"], LINE, LINE)
    (foreign,) = await served.parts(other["id"], LINE)
    both, length = [first, second], len(LINE)
    wrong = "'md5' is not the MD5 of the parts together; send the damaged part again."
    malformed = "'md5' has to be the MD5 of the whole file, as 32 hexadecimal digits."
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({}, MISSING.format("part_ids"), "part_ids"),
        ({"part_ids": []}, NO_ENTRY, "part_ids"),
        ({"part_ids": [1]}, TYPE.format("part_ids[0]", "a string", "an integer"), "part_ids[0]"),
        ({"part_ids": first}, TYPE.format("part_ids", "an array of strings", "a string"), "part_ids"),
        ({"part_ids": ["x"] * 10_001}, "'part_ids' may have at most 10000 entries.", "part_ids"),
        ({"part_ids": [first, "part_x"]}, "Entry 2 of 'part_ids' is no part of this upload.", "part_ids"),
        ({"part_ids": [first, foreign]}, "Entry 2 of 'part_ids' is no part of this upload.", "part_ids"),
        ({"part_ids": [first, second, first]}, "Entry 3 of 'part_ids' repeats an earlier one.", "part_ids"),
        (
            {"part_ids": [first]},
            f"The parts have {length} bytes together, the upload was created for {2 * length}.",
            "part_ids",
        ),
        ({"part_ids": both, "md5": "0" * 32}, wrong, "md5"),
        ({"part_ids": both, "md5": "short"}, malformed, "md5"),
    ]
    for body, message, param in cases:
        found = await served.post(f"/uploads/{upload['id']}/complete", body)
        assert found == (400, _error(message, param)), body
    assert leftovers(served.data_dir) == sorted([first, second, foreign])
    assert (await served.complete(upload["id"], both))[0] == 200, "nothing of this has done any harm"


async def test_nobody_sees_the_upload_of_another(served: Served) -> None:
    mine = await served.announce(len(LINE))
    ids = await served.parts(mine["id"], LINE)
    for client, upload_id in ((served.bob, mine["id"]), (served, UNKNOWN)):
        refused = (404, _error(f"No such Upload object: {upload_id}", "id"))
        assert await client.part(upload_id, LINE) == refused
        assert await client.complete(upload_id, ids) == refused
        assert await client.post(f"/uploads/{upload_id}/cancel") == refused
    strange = await served.post("/uploads/..%2F..%2Fetc/cancel")
    assert strange == (404, _error("No such Upload object.", "id"))
    theirs = await served.bob.announce(len(LINE))
    status, found = await served.bob.complete(theirs["id"], ids)
    assert (status, found) == (400, _error("Entry 1 of 'part_ids' is no part of this upload.", "part_ids"))
    assert (await served.complete(mine["id"], ids))[0] == 200


# ---- how it ends otherwise ----


async def test_a_cancelled_upload_takes_nothing_more(served: Served) -> None:
    upload = await served.announce(2 * len(LINE))
    ids = await served.parts(upload["id"], LINE, LINE)
    for _ in range(2):
        cancelled = await served.post(f"/uploads/{upload['id']}/cancel")
        assert cancelled == (200, upload | {"status": "cancelled"})
    assert await served.part(upload["id"], LINE) == _closed("cancelled")
    assert await served.complete(upload["id"], ids) == _closed("cancelled")
    assert leftovers(served.data_dir) == []
    assert await served.stored() == 0


async def test_a_part_that_is_still_coming_when_its_upload_is_cancelled(served: Served) -> None:
    upload = await served.announce(2000)
    body = part("data", bytes(1000), "blob") + closing()
    async with connected(served.port) as (reader, writer):
        writer.write(post_head(len(body), f"/v1/uploads/{upload['id']}/parts") + body[:500])
        await eventually(lambda: served.gateway.traffic.uploads == 1)
        assert (await served.post(f"/uploads/{upload['id']}/cancel"))[0] == 200
        writer.write(body[500:])
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)).startswith(b"HTTP/1.1 400 ")
        assert b"its status is 'cancelled'" in await reader.readuntil(b"}}")
    assert leftovers(served.data_dir) == []
    assert (await served.stored(), served.gateway.room.claims) == (0, {})


async def test_an_expired_upload_takes_nothing_more_and_is_cleared(served: Served) -> None:
    upload, young = await served.announce(len(LINE)), await served.announce(len(LINE))
    ids = await served.parts(upload["id"], LINE)
    kept = await served.parts(young["id"], LINE)
    await served.age(upload["id"], 1)
    assert await served.part(upload["id"], LINE) == _closed("expired")
    assert await served.complete(upload["id"], ids) == _closed("expired")
    assert await served.post(f"/uploads/{upload['id']}/cancel") == _closed("expired")
    assert await housekeeping.remove_expired(served.gateway) == 0, "what began in time may end"
    await served.age(upload["id"], housekeeping.GRACE_SECONDS)
    assert await housekeeping.remove_expired(served.gateway) == 1
    assert await housekeeping.remove_expired(served.gateway) == 0
    assert leftovers(served.data_dir) == kept
    assert await served.stored() == len(LINE)
    assert await served.complete(upload["id"], ids) == _closed("expired")
    assert (await served.complete(young["id"], kept))[0] == 200


async def test_a_completion_whose_upload_expires_meanwhile_is_one(served: Served) -> None:
    upload = await served.announce(len(LINE))
    (part_id,) = await served.parts(upload["id"], LINE)
    await served.age(upload["id"], 1)
    row = await _file(served, len(LINE))
    await served.gateway.registry.write(lambda conn: uploads.complete(conn, upload["id"], row, [part_id]))
    status, done = await served.complete(upload["id"], [part_id])
    assert (status, done["status"], done["file"]["id"]) == (200, "completed", row.id)


async def _file(served: Served, size: int) -> files.FileRow:
    """Return the row of another file that has this size."""
    other = await served.announce(size)
    _, done = await served.complete(other["id"], await served.parts(other["id"], bytes(size)))
    found = await served.gateway.registry.read(files.get, done["file"]["id"])
    assert found is not None
    return msgspec.structs.replace(found, id="file-another")


async def test_a_damaged_part_is_our_fault_and_leaves_the_upload_as_it_was(served: Served) -> None:
    upload = await served.announce(len(LINE))
    (part_id,) = await served.parts(upload["id"], LINE)
    path = served.gateway.blobs.path(part_id)
    path.write_bytes(LINE[:-1])
    status, found = await served.complete(upload["id"], [part_id])
    assert (status, found["error"]["message"]) == (500, "A stored part is damaged: it is shorter than it was.")
    path.unlink()
    status, found = await served.complete(upload["id"], [part_id])
    assert (status, found["error"]["message"]) == (500, "A stored part is missing.")
    path.write_bytes(LINE)
    assert (await served.complete(upload["id"], [part_id]))[0] == 200
