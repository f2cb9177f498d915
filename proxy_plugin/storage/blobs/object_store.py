"""The objects below one URL, through obstore: S3, Google Cloud Storage, Azure Blob, a folder of one machine, or memory.

Keys are paths below that URL. All methods block, on threads of this module: obstore's coroutines end the process with
an abort where the interpreter shuts down in one (5 of 23 short runs, obstore 0.12.1). It is imported and the store
opened at the first use, so a gateway without a store has nothing of either.

What the store refuses (503, SlowDown), answers too late or not at all is asked again with growing pauses, by obstore
for one request and here for what is made of several. No name is used twice, so an object may be written again whatever
became of the first time. StoreAway is raised when that has lasted long enough.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from proxy_plugin.ground.masking import mask
from proxy_plugin.storage.errors import StoreAway

if TYPE_CHECKING:
    from obstore import Bytes
    from obstore.store import ObjectStore as AnyStore

T = TypeVar("T")
THREADS = 8
PIECE_BYTES = 8 * 2**20  # of an upload: with S3's 10,000 pieces, 80 GB; longer ones have larger pieces
BLOCK_BYTES = 256 * 1024  # of a file, read at once
READ_BYTES = 4 * 2**20  # of a download
AT_ONCE = 2  # pieces of one upload on their way, where no other is; 8 uploads of one piece each have 73 MB in memory
MOST_PIECES = 9_000
LISTED = 1000  # keys in a page, and deleted by one request
PAUSES = (0.2, 1.0, 3.0)  # seconds between tries here; each has obstore's own in it
PATIENCE = 30.0  # seconds after which nothing is tried once more
RETRIES = {
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
}
CLIENT = {"connect_timeout": "5s", "timeout": "30s"}  # of one request, which has at most 8 MiB
_OF_CLIENT = frozenset(
    {"allow_http", "allow_invalid_certificates", "connect_timeout", "timeout", "proxy_url", "proxy_ca_certificate"}
)
_SWITCHES = frozenset({"allow_http", "allow_invalid_certificates"})  # a text here ends the process
_NOT_PARTIAL = "non-partial response"  # rclone 1.75 has the right bytes below the wrong status
_REFUSED = re.compile(r"(HTTP|status code:) (?!408|425|429)[34]\d\d\b")
_LOCAL = ("file:", "memory:")
_NO_PLACE = re.compile(  # the last in the answer to one deletion of many
    r"<Code>(NoSuchBucket|ContainerNotFound)<|: The specified container does not exist"
)
_STATUS = re.compile(r"status code: (\d{3})")
_CODE, _WORDS = re.compile(r"<Code>([^<]+)"), re.compile(r"<Message>([^<\n]+)")
_REMEDIES = (
    (_NO_PLACE, "make the bucket or container of storage.blob_url, or name one that is there"),
    (
        re.compile(r"169\.254\.|computeMetadata|metadata/identity"),
        "storage.blob_options has no key, and this machine no role",
    ),
    (re.compile(r"Account must be specified"), "set account_name in storage.blob_options"),
    (
        re.compile(r"TimeTooSkewed|date header|[Ee]xpired"),
        "see whether this machine's clock is right, and the key valid still",
    ),
    (
        re.compile(r"status code: 40[13]"),
        "see whether the keys in storage.blob_options are right, and may read, write, delete and list there",
    ),
)


class StoredObject(NamedTuple):
    """One object of a list; `at` is when it was written, in Unix seconds by the store's clock."""

    key: str
    size: int
    at: float


class Objects:
    """The objects below `url`. `options` are obstore's, for the store or for its HTTP client, secrets in the clear.

    `once`: nothing is asked again.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None, *, once: bool = False) -> None:
        self.url, self._once = url, once
        self._options = dict(options or {})
        self._opened: AnyStore | None = None
        self._opening, self._closing = threading.Lock(), threading.Event()
        self._counting, self._uploads = threading.Lock(), 0  # of more than a piece, now
        self._partial = True  # does it answer ranges as RFC 9110 has it?
        self.threads = ThreadPoolExecutor(THREADS, "object-store")

    def close(self) -> None:
        """Wait for what is running, but for no further try of it, and let the threads go."""
        self._closing.set()
        self.threads.shutdown()

    # ---- objects ----

    def put(self, key: str, path: Path) -> None:
        """Write a file: its first byte is readable when all are. Raises StoreAway, OSError."""
        size = path.stat().st_size
        if size <= PIECE_BYTES:
            self._asked("take an object", _obstore().put, key, path, use_multipart=False)
            return
        with self._large() as at_once:
            piece = max(PIECE_BYTES, size // MOST_PIECES + 1)
            self._asked("take an object", _put_pieces, key, path, piece, at_once)

    @contextmanager
    def _large(self) -> Iterator[int]:
        """Count an object of many pieces, and yield how many of them may be on their way: they are in memory then."""
        with self._counting:
            self._uploads += 1
            at_once = AT_ONCE if self._uploads == 1 else 1
        try:
            yield at_once
        finally:
            with self._counting:
                self._uploads -= 1

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write a few bytes. Raises StoreAway."""
        self._asked("take an object", _obstore().put, key, data, use_multipart=False)

    def put_blocks(self, key: str, blocks: Iterator[bytes], piece: int) -> None:
        """Write what comes, in pieces, once; an error of the iterator takes all of it back. Raises StoreAway."""
        told = {"use_multipart": True, "chunk_size": piece, "max_concurrency": 1}
        self._tried((), "take an object", partial(_obstore().put, self._store(), key, blocks, **told))

    def get(self, key: str, to: Path, size: int | None = None) -> int:
        """Make `to` hold an object, whole or not at all; return its size. Raises FileNotFoundError, StoreAway."""
        size = self.size(key) if size is None else size
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = to.with_name(f".{secrets.token_hex(8)}.coming")
        try:
            with open(beside, "wb", opener=_private) as stream:
                for start in range(0, size, READ_BYTES):
                    if start and not self._partial:
                        self._asked("give an object", _whole, key, stream)
                        break
                    stream.write(self.read(key, start, min(start + READ_BYTES, size)))
            beside.replace(to)
        finally:
            beside.unlink(missing_ok=True)
        return size

    def read(self, key: str, start: int, stop: int) -> memoryview:
        """Return some bytes of an object. Raises FileNotFoundError, StoreAway."""
        found = memoryview(self._asked("give an object", self._range, key, start, stop))
        if len(found) != stop - start:
            raise StoreAway(f"the object store has given {len(found)} bytes of {stop - start}")
        return found

    def _range(self, store: AnyStore, key: str, start: int, stop: int) -> Bytes | memoryview:
        """Ask for a range. Some servers answer with 200, which obstore refuses: of them all up to it is read."""
        if self._partial:
            with suppress(_NotPartial):
                return _ranged(store, key, start, stop)
            self._partial = False
        return _passed_over(store, key, start, stop)

    def size(self, key: str) -> int:
        """Return how many bytes an object has. Raises FileNotFoundError, StoreAway."""
        return self._asked("show an object", _size, key)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is deleted. Raises StoreAway."""
        left = list(keys)
        for start in range(0, len(left), LISTED):
            some = left[start : start + LISTED]
            try:
                self._asked("delete objects", _obstore().delete, some)
            except FileNotFoundError:  # in the middle of them, where a store deletes them one by one
                for each in some:
                    with suppress(FileNotFoundError):
                        self._asked("delete objects", _obstore().delete, each)

    def listed(self, folder: str) -> list[StoredObject]:
        """Return what is below a folder. Raises StoreAway."""
        return self._asked("list objects", _listed, folder)

    def pages(self, folder: str) -> Iterator[Sequence[StoredObject]]:
        """Yield what is below a folder, up to 1,000 of them at a time, by key. Raises StoreAway."""
        pages = _Pages(folder)
        while page := self._asked("list objects", pages.following):
            yield page

    def away(self) -> str | None:
        """Return why the store cannot be used now, None where it can. One try."""
        try:
            self._tried((), "give an object", partial(_obstore().get, self._store(), "not-there"))
        except FileNotFoundError:
            return None
        except StoreAway as error:
            return str(error)
        return None

    def refuses(self) -> str | None:
        """Return what the store says where it answers that this cannot be its client or bucket; else None. One try."""
        why = self.away()
        return why if why and _REFUSED.search(why) else None

    # ---- how it is asked ----

    def _asked(self, what: str, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call, with the store before the arguments, until it answers. Raises FileNotFoundError, StoreAway, OSError."""
        return self._tried(PAUSES, what, partial(call, self._store(), *args, **kwargs))

    def _tried(self, pauses: Sequence[float], what: str, call: Callable[[], T]) -> T:
        from obstore.exceptions import BaseError  # noqa: PLC0415

        until = time.monotonic() + PATIENCE
        for pause in (*pauses, None):
            try:
                return call()
            except FileNotFoundError as error:
                if _NO_PLACE.search(str(error)) is None:
                    raise
                raise StoreAway(f"the object store did not {what}: {_said(error)}") from None
            except (BaseError, TimeoutError, ConnectionError) as error:
                if pause is None or time.monotonic() > until or self._closing.wait(pause * (0.5 + random.random())):  # noqa: S311
                    raise StoreAway(f"the object store did not {what}: {_said(error)}") from None
        raise AssertionError

    def _store(self) -> AnyStore:
        with self._opening:
            if self._opened is None:
                self._opened = _opened(self.url, self._options, RETRIES | ({"max_retries": 0} if self._once else {}))
            return self._opened

    def open(self) -> None:
        """Open the store now, without asking it anything. Raises ValueError for options that it does not know."""
        self._store()


def _obstore() -> Any:
    import obstore  # noqa: PLC0415 - 16 MB for those who have no store

    return obstore


def _opened(url: str, options: Mapping[str, str], retries: Mapping[str, Any]) -> AnyStore:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        return _store_of(url, options, retries)
    except (BaseError, ValueError, TypeError) as error:
        raise ValueError(f"the object store cannot be opened: {_said(error)}") from None


def _store_of(url: str, options: Mapping[str, str], retries: Any) -> AnyStore:
    from obstore.store import from_url  # noqa: PLC0415

    if url.startswith(_LOCAL):
        return from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
    client: Any = CLIENT | {name: value for name, value in options.items() if name in _OF_CLIENT}
    known: Any = {name: value for name, value in options.items() if name not in _OF_CLIENT}
    for name in _SWITCHES & client.keys():
        client[name] = client[name] == "true"
    return from_url(url, config=known, client_options=client, retry_config=retries)


def _put_pieces(store: AnyStore, key: str, path: Path, piece: int, at_once: int) -> None:
    """Write a file. Given as a path, obstore would have a piece more of it in memory (0.12.1)."""
    with path.open("rb", buffering=0) as file:
        blocks = iter(partial(file.read, BLOCK_BYTES), b"")
        _obstore().put(store, key, blocks, use_multipart=True, chunk_size=piece, max_concurrency=at_once)


def _listed(store: AnyStore, folder: str) -> list[StoredObject]:
    return [_found(each) for each in chain.from_iterable(_obstore().list(store, prefix=folder, chunk_size=LISTED))]


class _Pages:
    """One list, in pages. One that breaks off is begun again behind the last key; what a store gives from before it
    all the same is dropped: Azure Blob begins there from some version of its API on, and says nothing before.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._last = self._behind = ""
        self._open: Iterator[Sequence[Mapping[str, Any]]] | None = None

    def following(self, store: AnyStore) -> list[StoredObject]:
        """Return the next page; none at the end."""
        going = self._open or self._begun(store)
        self._open = None
        for found in going:
            page = [_found(each) for each in found if not self._behind or each["path"] > self._behind]
            if page:
                self._open, self._last = going, page[-1].key
                return page
        self._open = iter(())
        return []

    def _begun(self, store: AnyStore) -> Iterator[Sequence[Mapping[str, Any]]]:
        self._behind = self._last
        return iter(_obstore().list(store, prefix=self._folder, offset=self._last or None, chunk_size=LISTED))


def _size(store: AnyStore, key: str) -> int:
    """Return an object's size. What is missing is told by a body alone: the object, or the bucket with all of them."""
    try:
        return int(_obstore().head(store, key)["size"])
    except FileNotFoundError:
        _obstore().get(store, key)
        raise


class _NotPartial(Exception):
    """The whole object was answered, or a range under the status of one."""


def _ranged(store: AnyStore, key: str, start: int, stop: int) -> Bytes:
    from obstore.exceptions import GenericError  # noqa: PLC0415

    try:
        found: Bytes = _obstore().get_range(store, key, start=start, end=stop)
    except GenericError as error:
        if _NOT_PARTIAL in str(error):
            raise _NotPartial from None
        raise
    return found


def _passed_over(store: AnyStore, key: str, start: int, stop: int) -> memoryview:
    found, at = bytearray(), 0
    for block in _obstore().get(store, key).stream(min_chunk_size=BLOCK_BYTES):
        found += memoryview(block)[max(0, start - at) : max(0, stop - at)]
        at += len(block)
        if at >= stop:
            break
    return memoryview(found)


def _whole(store: AnyStore, key: str, to: BinaryIO) -> None:
    to.seek(0)
    to.truncate()
    for block in _obstore().get(store, key).stream(min_chunk_size=READ_BYTES):
        to.write(block)


def _found(meta: Mapping[str, Any]) -> StoredObject:
    return StoredObject(meta["path"], meta["size"], meta["last_modified"].timestamp())


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def _said(error: BaseException) -> str:
    """Return what the store said, and what to do about it, in one line, without credentials."""
    text = str(error).partition("Debug source")[0]
    status, code, words = _STATUS.search(text), _CODE.search(text), _WORDS.search(text)
    said = f"HTTP {status[1]}, {code[1]}: {words[1] if words else ''}" if status and code else text
    remedy = next((f"; {each}" for pattern, each in _REMEDIES if pattern.search(text)), "")
    return mask(" ".join(said.split())[:300].rstrip(" :.")) + remedy
