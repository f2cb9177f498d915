"""The object store over the wire: what it refuses, loses and cuts is borne, and what it cannot do is said."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy_plugin import setup
from proxy_plugin.engine.sharing import orphans
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.storage import reach
from proxy_plugin.storage.blobs import StoredBlobs, object_store
from proxy_plugin.storage.blobs.object_store import PIECE_BYTES, Objects
from proxy_plugin.storage.errors import StoreAway
from proxy_plugin.storage.sqlite import SqliteRegistry
from tests.support import cloud_storage as stand_in
from tests.support.cloud_stores import AnyStore, AzureStore, GoogleStore
from tests.support.object_store import SECRET, Store, failing
from tests.support.orphans import KEPT, ORPHANS, rows
from tests.support.ports import free_port
from tests.support.served import configuration
from tests.support.store_front import Fault, StoreFront
from tests.support.waiting import until

MUCH = os.urandom(2 * PIECE_BYTES + 4321)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = {"init_backoff": timedelta(seconds=0.01), "max_backoff": timedelta(seconds=0.05), "base": 2}
    monkeypatch.setattr(object_store, "PAUSES", (0.01, 0.02, 0.05))
    monkeypatch.setattr(object_store, "RETRIES", {**object_store.RETRIES, "backoff": pauses})


@pytest.fixture(params=["moto", "cloud_storage", "azurite"])
def kept(request: pytest.FixtureRequest) -> AnyStore:
    """Each kind of store."""
    found: AnyStore = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["rclone", "cloud_storage", "azurite"])
def guarded(request: pytest.FixtureRequest) -> AnyStore:
    """Those that look at who asks."""
    found: AnyStore = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def front(kept: AnyStore) -> Iterator[tuple[Objects, StoreFront]]:
    """A store that fails as told, with a prefix."""
    with failing(kept) as (store, front):
        opened = Objects(f"{kept.bucket()}/some/prefix", store.options)
        yield opened, front
        opened.close()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "little").write_bytes(b"line\n")
    (tmp_path / "much").write_bytes(MUCH)
    return tmp_path / "little", tmp_path / "much"


def all_of_it(store: Objects, little: Path, much: Path) -> None:
    """Do everything that is done with a store, several times."""
    for n in range(2):
        store.put(f"batches/{n}/little", little)
        store.put(f"batches/{n}/much", much)
        store.put_bytes(f"batches/{n}/.folder", b"")
        assert store.size(f"batches/{n}/.folder") == 0
        assert {found.key: found.size for found in store.listed(f"batches/{n}")} == {
            f"batches/{n}/.folder": 0,
            f"batches/{n}/little": 5,
            f"batches/{n}/much": len(MUCH),
        }
        to = little.with_name("back")
        assert (store.get(f"batches/{n}/much", to), to.read_bytes()) == (len(MUCH), MUCH)
        assert bytes(store.read(f"batches/{n}/much", 7, 5_000_007)) == MUCH[7:5_000_007]
    assert sum(len(page) for page in store.pages("batches")) == 6
    store.delete([found.key for found in store.listed("batches")])
    assert store.listed("batches") == []


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Fault("refuse", each=5, statuses=(503, 429, 500))],
        [Fault("drop", each=5)],
        [Fault("drop_after", each=5)],
        [Fault("cut", each=4)],
    ],
    ids=["whole", "refused", "never arrived", "reply lost", "cut"],
)
def test_what_a_store_refuses_or_loses_is_borne(
    faults: list[Fault], front: tuple[Objects, StoreFront], files: tuple[Path, Path]
) -> None:
    store, behind = front
    behind.faults = faults
    all_of_it(store, *files)
    assert all(fault.fired > 1 for fault in faults)
    assert all("/some/prefix/" in call.path for call in behind.calls if call.method in ("PUT", "HEAD"))


def test_a_reply_to_the_last_call_of_many_pieces_may_be_lost(
    front: tuple[Objects, StoreFront], files: tuple[Path, Path]
) -> None:
    """The store then knows nothing of these pieces any more; the object is written once more."""
    store, behind = front
    azure = store.url.startswith("az:")
    last = Fault("drop_after", method="PUT" if azure else "POST", path="comp=blocklist" if azure else "/k", times=2)
    behind.faults = [last]
    store.put("k", files[1])
    assert last.fired == 2
    assert store.size("k") == len(MUCH)


def test_a_store_that_is_away_is_told_so(kept: AnyStore, files: tuple[Path, Path]) -> None:
    bucket = kept.bucket()
    with failing(kept) as (behind, front):
        store = Objects(bucket, behind.options)
        assert store.away() is None
        front.faults = [Fault("refuse")]
        with pytest.raises(StoreAway, match="did not take an object"):
            store.put("k", files[0])
        assert store.away() is not None
        front.faults = []
        store.put("k", files[0])
        store.close()


def test_an_object_that_is_not_there_is_no_matter_of_the_store(front: tuple[Objects, StoreFront]) -> None:
    store, behind = front
    for ask in (store.size, lambda key: store.read(key, 0, 1)):
        with pytest.raises(FileNotFoundError):
            ask("nothing")
    assert len(behind.calls) <= 3  # nobody asks again, but that a size has no words for what is missing
    store.delete(["nothing", "at/all"])


def test_pieces_that_come_slowly_hold_nobody_up(front: tuple[Objects, StoreFront]) -> None:
    store, _ = front
    gate = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield MUCH[:1000]
        assert gate.wait(30)
        yield MUCH[1000:]

    writing = threading.Thread(target=store.put_blocks, args=("slow", blocks(), 5 * 2**20))
    writing.start()
    store.put_bytes("quick", b"1")
    gate.set()
    writing.join(30)
    assert bytes(store.read("slow", 0, len(MUCH))) == MUCH


def test_an_upload_that_breaks_off_leaves_nothing_and_an_empty_one_is_an_object(
    kept: AnyStore, files: tuple[Path, Path]
) -> None:
    def blocks() -> Iterator[bytes]:
        yield MUCH[: 6 * 2**20]
        raise OSError("the client has gone")

    store = Objects(kept.bucket(), kept.options)
    with pytest.raises(OSError, match="the client has gone"):
        store.put_blocks("broken", blocks(), 5 * 2**20)
    store.put_blocks("empty", iter(()), 5 * 2**20)
    assert [(found.key, found.size) for found in store.listed("")] == [("empty", 0)]
    for file in files:
        store.put("broken", file)  # whatever of it is kept unseen, as blocks are of Azure Blob
        assert store.size("broken") == file.stat().st_size
    if isinstance(kept, GoogleStore):
        assert not [key for bucket, key, _ in kept.server.uploads.values() if store.url == f"gs://{bucket}"]
    store.close()


@pytest.mark.parametrize("prefix", ["a b/ü+&'(x)", "100%/~=@,;:$!*"])
def test_a_prefix_may_have_any_characters(guarded: AnyStore, prefix: str) -> None:
    bucket = guarded.bucket()
    store, whole = Objects(f"{bucket}/{prefix}", guarded.options), Objects(bucket, guarded.options)
    store.put_bytes("files/a", b"1")
    assert [found.key for page in store.pages("files") for found in page] == ["files/a"]
    assert (bytes(store.read("files/a", 0, 1)), store.size("files/a")) == (b"1", 1)
    (found,) = whole.listed("")
    assert found.key == f"{prefix}/files/a"
    store.delete(["files/a"])
    assert whole.listed("") == []
    for each in (store, whole):
        each.close()


def test_signatures_are_right_and_a_wrong_secret_is_not_shown(guarded: AnyStore, files: tuple[Path, Path]) -> None:
    url = f"{guarded.bucket()}/prefix"
    store = Objects(url, guarded.options)
    all_of_it(store, *files)
    store.close()
    wrong = Objects(url, guarded.wrong())
    with pytest.raises(StoreAway) as refused:
        wrong.put("k", files[0])
    for said in (str(refused.value), wrong.away() or "", reach.store(url, guarded.wrong())):
        assert re.search(r"HTTP 40[13], \w+: .*; see whether the keys in storage.blob_options are right", said), said
        assert not {*guarded.wrong().values()} & {*said.split()}
    wrong.close()


def test_a_store_that_refuses_is_told_from_one_that_is_away(rclone: Store, moto: Store) -> None:
    own, secret = rclone.bucket(), dict(rclone.options) | {"secret_access_key": SECRET[::-1]}
    store = Objects(own, rclone.options)
    store.put_bytes("k", b"")  # rclone lists no new folder before there is something in it
    store.close()
    assert reach.refusal(own, rclone.options) == ""
    assert "SignatureDoesNotMatch" in (found := reach.refusal(own, secret))
    assert SECRET[::-1] not in found
    assert "InvalidAccessKeyId" in reach.refusal(own, dict(rclone.options) | {"access_key_id": "ANOTHER"})
    for each in (rclone, moto):
        assert "NoSuchBucket" in reach.refusal("s3://no-such-bucket/prefix", each.options)
    assert reach.refusal(own, dict(rclone.options) | {"endpoint": f"http://127.0.0.1:{free_port()}"}) == ""
    with failing(moto) as (behind, front):
        front.faults = [Fault("refuse")]
        assert reach.refusal(own, behind.options) == "", "503: it has too much to do"
        assert len(front.calls) == 1


@pytest.mark.parametrize("name", ["moto", "rclone", "cloud_storage", "azurite"])
def test_a_bucket_that_is_not_there_is_no_file_that_is_missing(
    name: str, request: pytest.FixtureRequest, files: tuple[Path, Path]
) -> None:
    kept: AnyStore = request.getfixturevalue(name)
    url = f"{kept.bucket().partition(':')[0]}://nobody-made-this/prefix"
    said = r"(NoSuchBucket|ContainerNotFound|container does not exist)\b.*; make the bucket or container of storage\."
    store = Objects(url, kept.options)
    for ask in (
        lambda: store.put("k", files[0]),
        lambda: store.put("k", files[1]),
        lambda: store.read("k", 0, 1),
        lambda: store.size("k"),
        lambda: store.listed("k"),
        lambda: store.delete(["k"]) if name != "moto" else store.listed("k"),  # which has deleted it
    ):
        with pytest.raises(StoreAway, match=said):
            ask()
    assert re.search(said, store.away() or "")
    assert re.search(said, reach.store(url, kept.options))
    store.close()


@pytest.mark.parametrize("prefix", ["", "/some/prefix"])
def test_a_list_that_breaks_off_goes_on_behind_its_last_key(
    cloud_storage: GoogleStore, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in, "MOST_KEYS", 3)
    monkeypatch.setattr(object_store, "LISTED", 3)
    with failing(cloud_storage) as (behind, front):
        store = Objects(f"{cloud_storage.bucket()}{prefix}", behind.options)
        keys = [f"files/{n}" for n in range(10)]
        for key in keys:
            store.put_bytes(key, b"1")
        pages = store.pages("files")
        found = [each.key for each in next(pages)]
        front.faults = [fault := Fault("drop", method="GET", times=7)]
        found += [each.key for page in pages for each in page]
        assert (found, fault.fired) == (keys, 7)
        assert any("start-after" in call.query for call in front.calls)
        store.close()


def test_the_role_of_a_machine_will_do_and_its_tokens_are_renewed(
    cloud_storage: GoogleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, told = cloud_storage.endpoint.removeprefix("http://"), {"allow_http": "true"}
    for name, value in {"GCE_METADATA_HOST": place, "GCE_METADATA_IP": place, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    store = Objects(cloud_storage.bucket(), {"base_url": cloud_storage.endpoint, **told})
    store.put_bytes("k", b"1")
    assert bytes(store.read("k", 0, 1)) == b"1"
    assert len(cloud_storage.server.lent) > 1
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        monkeypatch.setenv(name, f"127.0.0.1:{free_port()}")
    assert "; storage.blob_options has no key, and this machine no role" in (store.away() or "")
    store.close()


def test_a_list_of_azure_goes_on(azurite: AzureStore) -> None:
    """It gives 5,000 at once."""
    with failing(azurite) as (behind, front):
        store = Objects(f"{azurite.bucket()}/p", behind.options)
        keys = [f"files/{n:04}" for n in range(5100)]
        list(store.threads.map(lambda key: store.put_bytes(key, b"1"), keys))
        pages = store.pages("files")
        found = [each.key for _ in range(5) for each in next(pages)]
        front.faults = [fault := Fault("drop", method="GET", times=7)]
        found += [each.key for page in pages for each in page]
        assert (found, fault.fired) == (keys, 7)
        store.close()


def test_azure_deletes_256_at_once_whatever_is_there(azurite: AzureStore) -> None:
    with failing(azurite) as (behind, front):
        store = Objects(f"{azurite.bucket()}/p", behind.options)
        keys = [f"files/{n:04}" for n in range(300)]
        list(store.threads.map(lambda key: store.put_bytes(key, b"1"), keys))
        store.delete(keys)
        until(lambda: [call.status for call in front.calls if call.method == "POST"] == [202, 202], str(front.calls))
        assert store.listed("files") == []
        store.put_bytes(keys[7], b"1")
        store.delete([keys[6], keys[7], keys[8]])
        assert store.listed("files") == []
        store.close()


def test_a_container_of_azure_may_be_lent_by_a_signature(azurite: AzureStore, files: tuple[Path, Path]) -> None:
    bucket = azurite.bucket()
    store = Objects(f"{bucket}/p", azurite.lent(bucket))
    all_of_it(store, *files)
    store.close()
    wrong = azurite.lent(bucket)["sas_key"].replace("sig=", "sig=AAAA")
    store = Objects(bucket, {**azurite.lent(bucket), "sas_key": wrong})
    assert "HTTP 403" in (said := store.away() or "")
    assert "AAAA" not in said
    store.close()


def test_a_list_that_begins_anew_whatever_is_asked_is_gone_through_once(
    cloud_storage: GoogleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in, "MOST_KEYS", 3)
    monkeypatch.setattr(object_store, "LISTED", 3)
    store = Objects(cloud_storage.bucket(), cloud_storage.options)
    keys = [f"files/{n}" for n in range(10)]
    for key in keys:
        store.put_bytes(key, b"1")
    asked = object_store._obstore().list
    monkeypatch.setattr(object_store._obstore(), "list", lambda *args, **told: asked(*args, **told | {"offset": None}))
    pages, found = object_store._Pages("files"), list[str]()
    while page := pages.following(store._store()):
        found += [each.key for each in page]
        pages._open = None  # as where it breaks off
    assert found == keys
    store.close()


async def test_orphans_are_swept(kept: AnyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = SqliteRegistry(tmp_path)
    blobs = StoredBlobs(tmp_path / "data", Objects(f"{kept.bucket()}/p", kept.options), 2**20)
    gateway: Any = SimpleNamespace(registry=registry, blobs=blobs, clock=SimpleNamespace(now=time.time))
    registry.open()
    await registry.write(rows)
    store = blobs.tree.store
    for key in KEPT | ORPHANS:
        store.put_bytes(key, b"x")
    assert await orphans.sweep(gateway) == 0  # none is old
    monkeypatch.setattr(orphans, "OLD_SECONDS", -60.0)
    assert await orphans.sweep(gateway) == len(ORPHANS)
    assert {found.key for folder in ("files", "batches") for found in store.listed(folder)} == KEPT
    registry.close()
    blobs.close()


async def test_options_of_the_store_are_sent(moto: Store, files: tuple[Path, Path]) -> None:
    seen = list[str]()

    async def take(request: web.Request) -> web.Response:
        seen.append(request.headers.get("x-amz-server-side-encryption", ""))
        return web.Response(headers={"ETag": '"1"'})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", take)
    async with TestServer(app) as server:
        options = {**moto.options, "endpoint": str(server.make_url("")).rstrip("/"), "server_side_encryption": "AES256"}
        store = Objects("s3://bucket", options)
        await asyncio.to_thread(store.put, "k", files[0])
        store.close()
    assert seen == ["AES256"]


def test_an_option_that_the_store_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="no_such_option"):
        Objects("s3://bucket", {"no_such_option": "x"}).open()


def test_such_an_option_stops_the_start(tmp_path: Path) -> None:
    storage = {
        "data_dir": str(tmp_path / "data"),
        "database_url": "postgresql://nobody@127.0.0.1:9/nothing",
        "blob_url": "s3://bucket/prefix",
        "blob_options": {"no_such_option": "x"},
    }
    with pytest.raises(ConfigError, match=r"blob_options.*no_such_option"):
        setup(web.Application(), configuration(tmp_path, storage=storage))
