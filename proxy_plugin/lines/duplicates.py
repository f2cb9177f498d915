"""Which custom_ids occur twice: exact for any number of ids, in constant memory.

Every id leaves (64-bit hash, ordinal) in one of 256 buckets; ids that are equal share a bucket. The buckets stay in
memory up to 65,536 ids and move to files beyond. The hash is Python's own for strings: SipHash with a key drawn for
each process (keep PYTHONHASHSEED unset), so nobody can prepare ids that crowd one bucket. Whatever the key, equal
hashes are compared on the real ids.
"""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import NamedTuple, Self

IDS_IN_MEMORY = 65_536
MAX_REPORTED = 100

_RECORD = Struct("<qI")
_BUCKETS = 256
_TABLE = Struct(f"<{_BUCKETS}Q")
_READ_BYTES = _RECORD.size * 8192
# Ids that are counted up differ in their last characters. Behind these zeros each of those is a power of 256 beyond the
# modulus: without them such ids have near numbers, and crowd as few as 10 of the buckets.
_SPREAD = bytes(8)
_KEPT = 1_000  # more than are reported, so that ids that only share a hash displace no real duplicate


class Duplicate(NamedTuple):
    """The line `ordinal` has the custom_id of the earlier line `first`."""

    ordinal: int
    first: int


class Duplicates(NamedTuple):
    """The first duplicates in the order of the file, at most 100, and how many there are."""

    reported: tuple[Duplicate, ...]
    total: int


class _Suspect(NamedTuple):
    ordinal: int
    first: int
    digest: int


class DuplicateIds:
    """Collects ids in the order of the file, then settles which are equal.

    The bucket files are in a new folder inside `scratch`, which is made if it is missing; leaving the context removes
    what was made. What a crash leaves there is worthless, as the key is gone, and is never read.
    """

    def __init__(self, scratch: Path, *, in_memory: int = IDS_IN_MEMORY) -> None:
        self._scratch = scratch
        self._paths: list[Path] = []  # of the buckets, once they are in files
        self._cleanup = ExitStack()
        self._waiting = [bytearray() for _ in range(_BUCKETS)]
        self._in_memory = in_memory
        self._room = in_memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cleanup.close()

    def add(self, ordinal: int, custom_id: str) -> None:
        """Note the id of a line. Raises OSError when a bucket cannot be written."""
        digest = hash(custom_id)
        self._waiting[digest & 0xFF] += _RECORD.pack(digest, ordinal)
        self._room -= 1
        if not self._room:
            self._spill()

    def settle(self, read_id: Callable[[int], str]) -> Duplicates:
        """Return the duplicates, see `settle`."""
        return settle(self._records, read_id)

    def _records(self, bucket: int) -> Iterator[tuple[int, int]]:
        if self._paths:
            with self._paths[bucket].open("rb", buffering=0) as stream:
                while packed := stream.read(_READ_BYTES):
                    yield from _RECORD.iter_unpack(packed)
        yield from _RECORD.iter_unpack(self._waiting[bucket])

    def _spill(self) -> None:
        if not self._paths:
            folder = self._make_folder()
            self._paths = [folder / str(bucket) for bucket in range(_BUCKETS)]
        for path, waiting in zip(self._paths, self._waiting, strict=True):
            with path.open("ab") as stream:
                stream.write(waiting)
            waiting.clear()
        self._room = self._in_memory

    def _make_folder(self) -> Path:
        if not self._scratch.exists():
            self._scratch.mkdir(parents=True)
            self._cleanup.callback(self._scratch.rmdir)
        return Path(self._cleanup.enter_context(TemporaryDirectory(prefix="ids-", dir=self._scratch)))


class Buckets:
    """The ids of a range of lines, to be settled with those of others: in one file, block behind block.

    Processes have different keys for the hash of a string. These are remainders of the ids, read as numbers, by one
    `modulus` for all ranges: a prime of 61 bits that is drawn for them (`drawn_modulus`). A block has up to 65,536 ids:
    a table of the sizes of its buckets, and these.
    """

    def __init__(self, path: Path, modulus: int, *, in_memory: int = IDS_IN_MEMORY) -> None:
        self._path, self._modulus = path, modulus
        self._in_memory = self._room = in_memory
        self._waiting = [bytearray() for _ in range(_BUCKETS)]
        path.write_bytes(b"")

    def add(self, ordinal: int, custom_id: str) -> None:
        """Note the id of a line. Ordinals count from the first line of the range. Raises OSError."""
        digest = int.from_bytes(b"\1" + custom_id.encode("utf-8", "surrogatepass") + _SPREAD) % self._modulus
        self._waiting[digest & 0xFF] += _RECORD.pack(digest, ordinal)
        self._room -= 1
        if not self._room:
            self.save()

    def save(self) -> None:
        """Write what waits as a block behind the others. Raises OSError."""
        with self._path.open("ab") as stream:
            stream.write(_TABLE.pack(*map(len, self._waiting)))
            stream.writelines(self._waiting)
        self._waiting, self._room = [bytearray() for _ in range(_BUCKETS)], self._in_memory

    @staticmethod
    def read(saved: Sequence[tuple[Path, int]], bucket: int) -> Iterator[tuple[int, int]]:
        """Yield hashes and ordinals of one bucket of all ranges: their files, and the ordinals they begin with."""
        for path, first in saved:
            with path.open("rb", buffering=0) as stream:
                while table := stream.read(_TABLE.size):
                    sizes = _TABLE.unpack(table)
                    stream.seek(sum(sizes[:bucket]), 1)
                    for digest, ordinal in _RECORD.iter_unpack(stream.read(sizes[bucket])):
                        yield digest, ordinal + first
                    stream.seek(sum(sizes[bucket + 1 :]), 1)


def drawn_modulus() -> int:
    """Return a prime number of 61 bits that nobody knows."""
    while True:
        number = secrets.randbits(60) | 1 << 60 | 1
        if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11, 13)):
            return number


def settle(records: Callable[[int], Iterable[tuple[int, int]]], read_id: Callable[[int], str]) -> Duplicates:
    """Return the duplicates among `records`, hashes and ordinals by bucket, each in the order of the file.

    `read_id` gives the real id of an ordinal and is asked only where hashes are equal. Up to 100 duplicates, each one
    is proven. Further ones are counted by hash: among 5 million ids, one pair of different ids has equal hashes with a
    chance of 1 in a million, and that file is refused in any case.
    """
    suspects: list[tuple[int, _Suspect]] = []  # a heap with the latest line on top
    total = 0
    for bucket in range(_BUCKETS):
        for suspect in _suspects(records(bucket)):
            total += 1
            entry = (-suspect.ordinal, suspect)
            if len(suspects) < _KEPT:
                heapq.heappush(suspects, entry)
            else:
                heapq.heappushpop(suspects, entry)
    proven, refuted = _prove(sorted(suspect for _, suspect in suspects), read_id)
    return Duplicates(tuple(proven), total - refuted)


def _suspects(records: Iterable[tuple[int, int]]) -> Iterator[_Suspect]:
    first_of: dict[int, int] = {}
    for digest, ordinal in records:
        first = first_of.setdefault(digest, ordinal)
        if first != ordinal:
            yield _Suspect(ordinal, first, digest)


def _prove(suspects: list[_Suspect], read_id: Callable[[int], str]) -> tuple[list[Duplicate], int]:
    """Compare real ids in the order of the file; return the first proven pairs and how many were no duplicates."""
    known: dict[int, dict[bytes, int]] = {}  # hash -> fingerprint of each id that has it -> its first line
    proven: list[Duplicate] = []
    refuted = 0
    for ordinal, first, digest in suspects:
        same_hash = known.setdefault(digest, {})
        if not same_hash:
            same_hash[_fingerprint(read_id(first))] = first
        earlier = same_hash.setdefault(_fingerprint(read_id(ordinal)), ordinal)
        if earlier == ordinal:
            refuted += 1
            continue
        proven.append(Duplicate(ordinal, earlier))
        if len(proven) == MAX_REPORTED:
            break
    return proven, refuted


def _fingerprint(custom_id: str) -> bytes:
    """Stand for the id at 32 bytes: an id may be as long as a line."""
    return blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=32).digest()
