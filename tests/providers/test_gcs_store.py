"""Cloud Storage's client before an emulator that resumes uploads, and before our stand-in, which checks tokens too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers import calls, kept
from proxy_plugin.providers.base import JobState, JobStatus, Refused, Short, TryLater
from proxy_plugin.providers.http import Http, HttpSettings, Origin
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.vertex_ai.stand_in import BUCKET
from proxy_plugin.providers.stores import gcs
from proxy_plugin.providers.stores.gcs import GRANULE, Bucket
from tests.support.ports import free_port

KEY, MARK = "sk-store-2b7f9d0c4a", "0123456789"
OBJECT = f"jobs/pp-{MARK}/input.jsonl"
PIECES = 4  # of the file, the last a short one
ENDED = JobStatus(JobState.ENDED)


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Sandbox]:
    with Sandbox(providers=["vertex-ai"], keys=[f"ours={KEY}"]) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    server = pytest.importorskip("gcp_storage_emulator.server", reason="gcp-storage-emulator is not installed")
    port = free_port()
    running = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    running.start()
    yield f"http://127.0.0.1:{port}"
    running.stop()


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    made = Http(HttpSettings(connect_timeout=5, read_timeout=5, create_timeout=5))
    yield made
    await made.close()


@pytest.fixture
async def sandbox(stand_in: Sandbox) -> Sandbox:
    await stand_in.reset()
    return stand_in


@pytest.fixture
def ours(http: Http, sandbox: Sandbox) -> Bucket:
    origin = http.origin("a", sandbox.url("vertex-ai"), {"Authorization": f"Bearer {KEY}"})
    return Bucket(origin, BUCKET, GRANULE)


@pytest.fixture(params=["emulator", "ours"])
def bucket(request: pytest.FixtureRequest, http: Http) -> Bucket:
    if request.param == "ours":
        found: Bucket = request.getfixturevalue("ours")
        return found
    return Bucket(http.origin("a", request.getfixturevalue("emulator"), {}), BUCKET, GRANULE)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gcs, calls):
        monkeypatch.setattr(module, "PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "part.native"
    path.write_bytes(b"".join(b"%07d\n" % n for n in range(((PIECES - 1) * GRANULE + 800) // 8)))
    return path


def watched(bucket: Bucket, after: int | None = None) -> list[tuple[int, int]]:
    """Note the pieces that leave, (start, size); the one behind `after` of them meets the end of the process."""
    sent, send = list[tuple[int, int]](), bucket.origin.put_piece

    async def put_piece(path: str, file: Path, start: int, size: int, **more: Any) -> Any:
        if len(sent) == after:
            raise asyncio.CancelledError
        sent.append((start, size))
        return await send(path, file, start, size, **more)

    bucket.origin.put_piece = put_piece  # type: ignore[method-assign]
    return sent


async def stored(bucket: Bucket, to: Path) -> bytes:
    size = await bucket.size(OBJECT)
    assert size is not None
    await bucket.bring(OBJECT, to, ENDED, size)
    return to.read_bytes()


async def test_a_file_becomes_an_object_and_a_file_again(bucket: Bucket, file: Path) -> None:
    sent = watched(bucket)
    await bucket.put(file, OBJECT, MARK)
    assert sent == [(n * GRANULE, GRANULE) for n in range(PIECES - 1)] + [((PIECES - 1) * GRANULE, 800)]
    assert [each async for each in bucket.keys("jobs/")] == [(OBJECT, file.stat().st_size)]
    assert [each async for each in bucket.keys("nowhere/")] == []
    assert await stored(bucket, file.with_name("back")) == file.read_bytes()
    await bucket.delete(OBJECT)
    await bucket.delete(OBJECT)  # what is not there is no error
    assert await bucket.size(OBJECT) is None


@pytest.mark.parametrize("after", range(PIECES))
async def test_an_upload_goes_on_where_a_kill_left_it(
    bucket: Bucket, file: Path, after: int, request: pytest.FixtureRequest
) -> None:
    origin = bucket.origin
    plain = Origin.put_piece.__get__(origin)
    watched(bucket, after)
    with pytest.raises(asyncio.CancelledError):
        await bucket.put(file, OBJECT, MARK)
    assert kept.noted(file)["key"] == OBJECT
    origin.put_piece = plain  # type: ignore[method-assign]
    sent = watched(bucket)
    await bucket.put(file, OBJECT, MARK)
    assert sent[0] == (file.stat().st_size, 0), "it asks first"
    assert [start for start, size in sent if size] == [n * GRANULE for n in range(after, PIECES)]
    assert await stored(bucket, file.with_name("back")) == file.read_bytes()
    await bucket.delete(OBJECT)


@pytest.mark.parametrize("kind", ["drop", "drop_after", "status", "status_after"])
@pytest.mark.parametrize("skip", range(PIECES))
async def test_after_a_doubt_it_asks_how_much_has_arrived(
    ours: Bucket, sandbox: Sandbox, file: Path, kind: str, skip: int
) -> None:
    status = {"status": 503} if kind.startswith("status") else {}
    await sandbox.faults([{"on": "objects.send", "kind": kind, "skip": skip, **status}])
    sent = watched(ours)
    await ours.put(file, OBJECT, MARK)
    assert sent[skip + 1] == (file.stat().st_size, 0)
    assert await stored(ours, file.with_name("back")) == file.read_bytes()


async def test_a_piece_that_was_one_too_many_is_not_asked_for(ours: Bucket, sandbox: Sandbox, file: Path) -> None:
    await sandbox.faults([{"on": "objects.send", "kind": "status", "status": 429, "times": None, "every": 2}])
    await ours.put(file, OBJECT, MARK)
    assert await stored(ours, file.with_name("back")) == file.read_bytes()


async def test_a_piece_that_broke_off_is_sent_from_where_it_did(ours: Bucket, sandbox: Sandbox, file: Path) -> None:
    ours = Bucket(ours.origin, ours.name, 2 * GRANULE)
    await sandbox.options("vertex-ai", upload_breaks=[GRANULE + 5])
    sent = watched(ours)
    await ours.put(file, OBJECT, MARK)
    assert [start for start, size in sent if size] == [0, GRANULE, 3 * GRANULE]
    assert await stored(ours, file.with_name("back")) == file.read_bytes()


@pytest.mark.parametrize("gone", [False, True])
async def test_an_upload_that_is_known_no_more_is_begun_anew(
    ours: Bucket, sandbox: Sandbox, file: Path, *, gone: bool
) -> None:
    await sandbox.options("vertex-ai", uploads_gone=gone)
    kept.note(file, {"key": OBJECT, "session": {"uploadType": "resumable", "upload_id": "over"}}, keep=True)
    await ours.put(file, OBJECT, MARK)
    assert await ours.size(OBJECT) == file.stat().st_size


async def test_a_server_that_keeps_nothing_is_left(ours: Bucket, sandbox: Sandbox, file: Path) -> None:
    await sandbox.faults([{"on": "objects.send", "kind": "status", "status": 503, "times": None}])
    with pytest.raises(TryLater):
        await ours.put(file, OBJECT, MARK)


async def test_an_object_of_ours_is_not_made_twice(ours: Bucket, sandbox: Sandbox, file: Path) -> None:
    await ours.put(file, OBJECT, MARK)
    await ours.put(file, OBJECT, MARK)
    assert [each["status"] for each in await sandbox.requests() if each["op"] == "objects.begin"] == [200, 412]


@pytest.mark.parametrize("change", ["mark", "size"])
async def test_an_object_of_somebody_else_is_left_alone(ours: Bucket, file: Path, change: str) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes() + (b"more\n" if change == "size" else b""))
    await ours.put(other, OBJECT, "abcdefghij" if change == "mark" else MARK)
    with pytest.raises(Refused) as caught:
        await ours.put(file, OBJECT, MARK)
    assert caught.value.code == "object_exists"
    assert OBJECT in caught.value.message
    assert await ours.size(OBJECT) == other.stat().st_size


async def test_an_upload_that_was_given_up_is_cancelled(ours: Bucket, sandbox: Sandbox, file: Path) -> None:
    watched(ours, 2)
    with pytest.raises(asyncio.CancelledError):
        await ours.put(file, OBJECT, MARK)
    await ours.abandon(file)
    await ours.abandon(file)
    seen = [each["status"] for each in await sandbox.requests() if each["op"] == "objects.abandon"]
    assert seen == [499, 404]


async def test_a_list_is_read_page_by_page(ours: Bucket, file: Path) -> None:
    keys = [f"many/{n}" for n in range(5)]
    for key in keys:
        await ours.put(file, key, MARK)
        file.with_name(f".{file.name}.note").unlink()
    assert [key async for key, _ in ours.keys("many/", 2)] == keys


async def test_what_is_cut_is_short_and_the_last_reading_takes_it(ours: Bucket, sandbox: Sandbox, file: Path) -> None:
    await ours.put(file, OBJECT, MARK)
    cut: Callable[[], Any] = lambda: sandbox.faults([{"on": "objects.content", "kind": "truncate_chunked", "bytes": 9}])  # noqa: E731
    await cut()
    with pytest.raises(Short):
        await stored(ours, file.with_name("back"))
    await cut()
    await ours.bring(OBJECT, file.with_name("back"), JobStatus(JobState.ENDED, last=True), file.stat().st_size)
    assert len(file.with_name("back").read_bytes()) == 9
