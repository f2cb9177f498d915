"""Files of a data directory, copied to where replicas have them, and read back to be compared.

Which files: the bytes of files and upload parts that have a row, all of batches that have not ended, and ledgers. They
keep their paths, but for two that replicas could write twice: a ledger is named after the first result file of its
batch, and answers of ordinary calls are a first piece, of whole rows, to which the next replica adds its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol

from proxy_plugin.ground.durable import sync_file, sync_folder
from proxy_plugin.storage.batch_folders import LEDGER

AT_ONCE = 4
BLOCK = 4 * 2**20
FILES, BATCHES = "files", "batches"
ANSWERS = "answers.jsonl"  # what `direct` calls them
FIRST_PIECE = f"answers-{0:015}-{0:016x}"  # as the engine names pieces, with a time before all others
EMPTY = ".folder"  # as `blobs` calls the object of a folder without files


class Item(NamedTuple):
    """One file: its path below the data directory, and the key that it is to have."""

    source: str
    key: str


class DamagedCopy(Exception):
    """A file is not what its row says, or not what was written."""


class Destination(Protocol):
    """Where files go. Its methods block. `shared`: they have the names that replicas give them."""

    shared: bool

    def empty_folder(self, key: str) -> None:
        """Make a folder in which nothing is."""

    def put(self, key: str, path: Path) -> None:
        """Write a file, durably."""

    def digest(self, key: str, size: int) -> str:
        """Return the SHA-256 in hex of what is there now."""


class StoredObjects(Protocol):
    """What is used of an object store."""

    def put(self, key: str, path: Path) -> None:
        """Write a file."""

    def read(self, key: str, start: int, stop: int) -> memoryview:
        """Return some bytes."""


class StoredPlace:
    """An object store."""

    shared = True

    def __init__(self, store: StoredObjects) -> None:
        self._store = store

    def empty_folder(self, key: str) -> None:
        """Write the object that stands for one: a store has no folders."""
        with tempfile.NamedTemporaryFile(prefix="proxy-plugin-") as nothing:
            self._store.put(f"{key}/{EMPTY}", Path(nothing.name))

    def put(self, key: str, path: Path) -> None:
        """Write an object."""
        self._store.put(key, path)

    def digest(self, key: str, size: int) -> str:
        """Read it back."""
        found = hashlib.sha256()
        for start in range(0, size, BLOCK):
            found.update(self._store.read(key, start, min(start + BLOCK, size)))
        return found.hexdigest()


class FolderPlace:
    """The data directory of a gateway that has a database, and no store."""

    shared = False

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir

    def empty_folder(self, key: str) -> None:
        """Make a folder: a worker looks through it for rows."""
        (self._root / key).mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, key: str, path: Path) -> None:
        """Write a file; one that is there is written again."""
        target = self._root / key
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o600)
        sync_file(target)
        sync_folder(target.parent)

    def digest(self, key: str, size: int) -> str:  # noqa: ARG002 - known here
        """Read it back."""
        return digest_of(self._root / key)


class MoveJournal:
    """Which files have been copied and compared: a line for each. What is not in it yet is copied again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.done = set(path.read_text().splitlines()) if path.exists() else set()

    def note(self, key: str) -> None:
        """Add one."""
        self.done.add(key)
        with self._path.open("a") as file:
            file.write(f"{key}\n")


def blob(name: str) -> str:
    """Return the key of a blob."""
    return f"{FILES}/{name[-2:]}/{name}"


def blobs_in(data_dir: Path, names: Collection[str]) -> Iterator[Item]:
    """Yield these blobs, and the indexes that they have; nothing for a blob that is not there."""
    for name in sorted(names):
        for key in (blob(name), f"{blob(name)}.index"):
            if (data_dir / key).exists():
                yield Item(key, key)


def folders_in(data_dir: Path, ledgers: Mapping[str, str | None], *, shared: bool) -> Iterator[Item]:
    """Yield what batches keep: all of those that are live, of the others their ledgers.

    `ledgers`: by batch, after which file its ledger is named, "" for none, and None while it lives.
    """
    for batch_id, of in sorted(ledgers.items()):
        folder = data_dir / BATCHES / batch_id
        if of is None:
            found = (Path(at, name) for at, _, names in os.walk(folder) for name in names if not _temporary(name))
            yield from (_item(path.relative_to(data_dir), shared=shared) for path in sorted(found))
        elif (folder / LEDGER).exists():
            name = f"{of}.{LEDGER}" if shared and of else LEDGER
            yield Item(f"{BATCHES}/{batch_id}/{LEDGER}", f"{BATCHES}/{batch_id}/{name}")


def make_folders(data_dir: Path, ledgers: Mapping[str, str | None], place: Destination) -> None:
    """Make the folders of batches that live where those are empty. Blocking."""
    for batch_id in (name for name, of in ledgers.items() if of is None):
        for at, folders, names in os.walk(data_dir / BATCHES / batch_id):
            if not folders and all(map(_temporary, names)):
                place.empty_folder(Path(at).relative_to(data_dir).as_posix())


def _temporary(name: str) -> bool:
    """Tell whether a file is one that lanes or workers had not finished, or a note."""
    return name.startswith(".") or name.endswith((".part", ".new"))


def _item(path: Path, *, shared: bool) -> Item:
    key = path.with_name(FIRST_PIECE) if shared and path.name == ANSWERS else path
    return Item(path.as_posix(), key.as_posix())


async def copy(
    data_dir: Path,
    items: Sequence[Item],
    place: Destination,
    hashes: Mapping[str, str],
    journal: MoveJournal,
    told: Callable[[int, int], None],
) -> None:
    """Copy and compare what the journal has not; `hashes`: what rows say of the content, by path.

    Raises DamagedCopy, OSError and what the place raises, after what ran beside it.
    """
    left = [item for item in items if item.key not in journal.done]
    turns, done = asyncio.Semaphore(AT_ONCE), len(items) - len(left)

    async def one(item: Item) -> None:
        nonlocal done
        async with turns:
            await asyncio.to_thread(_copied, data_dir, item, place, hashes.get(item.source))
        journal.note(item.key)
        done += 1
        told(done, len(items))

    try:
        async with asyncio.TaskGroup() as group:
            for item in left:
                group.create_task(one(item))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _copied(data_dir: Path, item: Item, place: Destination, expected: str | None) -> None:
    path = data_dir / item.source
    with _whole(path) if item.key.endswith(FIRST_PIECE) else nullcontext(path) as content:
        size, found = content.stat().st_size, digest_of(content)
        if expected not in (None, found):
            raise DamagedCopy(f"{path} is not what its row says: it has the SHA-256 {found}, and had {expected}")
        place.put(item.key, content)
    if place.digest(item.key, size) != found:
        raise DamagedCopy(f"{item.key} is not what was written")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a copy of answers without a last row that is not whole: its call is made again."""
    with tempfile.NamedTemporaryFile(prefix="proxy-plugin-") as made, path.open("rb") as answers:
        for row in answers:
            if row.endswith(b"\n"):
                made.write(row)
        made.flush()
        yield Path(made.name)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex. Blocking."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
