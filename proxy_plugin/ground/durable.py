"""Writing so that it survives a power cut: file first, then the folder that names it.

Errors of the disk (`OSError`, ENOSPC among them) surface unchanged.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from types import TracebackType

import msgspec

from proxy_plugin.ground.allowance import spend

_MODE = 0o600  # what is written here is the users' content
_BUFFER_BYTES = 256 * 1024
_WAITING_BYTES_EACH = 64 * 1024
_WAITING_BYTES_ALL = 4 * 2**20


def sync_file(path: Path) -> None:
    """Return when the content of the file is on the disk, whichever descriptor wrote it."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Return when the names in the folder are on the disk."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Make `path` hold `data`, durably; a crash leaves the old content or the new, never a mixture."""
    spend(len(data))
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def empty_folder(folder: Path) -> None:
    """Make `folder` exist and hold nothing: what a dead attempt left is removed."""
    if folder.exists():
        shutil.rmtree(folder)
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True)
    for each in new:
        sync_folder(each.parent)


class FileFacts(msgspec.Struct, frozen=True):
    """A finished file: `name` is relative to the folder of its attempt."""

    name: str
    bytes: int
    lines: int
    sha256: str


class HashedFile:
    """One new file, written in order and hashed on the way. Durable, with its facts known, after `finish`.

    One that is not `whole` is joined to others: it is neither hashed nor synced.
    """

    def __init__(self, path: Path, *, whole: bool = True) -> None:
        self._path, self._whole = path, whole
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        self._waiting = bytearray()
        self._hash = hashlib.sha256()
        self._bytes = self._lines = 0

    def add_line(self, line: bytes) -> None:
        """Append one line, its newline included."""
        self._lines += 1
        self._waiting += line
        if len(self._waiting) >= _BUFFER_BYTES:
            self._write_out()

    def write_line(self, *pieces: bytes) -> None:
        """Append one line, given in pieces of which the last ends with its newline."""
        self._lines += 1
        if sum(map(len, pieces)) < _BUFFER_BYTES:
            self._waiting += b"".join(pieces)
            if len(self._waiting) >= _BUFFER_BYTES:
                self._write_out()
            return
        self._write_out()
        for piece in pieces:  # a large row is not copied again
            self._write(piece)

    def finish(self) -> FileFacts:
        """Sync the file and return what is in it. The folder is still to be synced."""
        self._write_out()
        if self._whole:
            os.fsync(self._descriptor)
        return FileFacts(self._path.name, self._bytes, self._lines, self._hash.hexdigest() if self._whole else "")

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._descriptor)

    def _write_out(self) -> None:
        self._write(self._waiting)
        self._waiting = bytearray()

    def _write(self, data: bytes | bytearray) -> None:
        if self._whole:
            self._hash.update(data)
        self._bytes += len(data)
        write_all(self._descriptor, data)


class GrowingFiles:
    """Any number of files that grow side by side through one descriptor.

    Each is opened only to append what waits for it: at 64 KiB of its own, or when 4 MiB wait for all. So hundreds of
    open parts cost neither hundreds of descriptors nor hundreds of buffers.
    """

    def __init__(self) -> None:
        self._files: set[GrowingFile] = set()
        self._waiting = 0

    def file(self, path: Path) -> GrowingFile:
        """Return the file at `path`, which the first bytes create."""
        return GrowingFile(path, self)

    def wait(self, file: GrowingFile, size: int) -> None:
        """Count `size` bytes more that wait for `file`; make room where too much waits for all."""
        self._files.add(file)
        self._waiting += size
        if self._waiting >= _WAITING_BYTES_ALL:
            for each in tuple(self._files):
                each.write_out()

    def written(self, file: GrowingFile, size: int) -> None:
        """Count `size` bytes less."""
        self._files.discard(file)
        self._waiting -= size


class GrowingFile:
    """One of them. Its bytes are on the disk only after `sync`, its name only when the folder is synced too."""

    def __init__(self, path: Path, among: GrowingFiles) -> None:
        self._path, self._among = path, among
        self._waiting = bytearray()

    def add(self, piece: bytes) -> None:
        """Add bytes to the end, in one piece."""
        if len(piece) >= _WAITING_BYTES_EACH:
            self.append(piece)
            return
        self._waiting += piece
        self._among.wait(self, len(piece))
        if len(self._waiting) >= _WAITING_BYTES_EACH:
            self.write_out()

    def append(self, *pieces: bytes) -> None:
        """Add bytes to the end."""
        before = len(self._waiting)
        for piece in pieces:
            if len(piece) >= _WAITING_BYTES_EACH:
                self._among.wait(self, len(self._waiting) - before)
                self.write_out(piece)
                before = 0
            else:
                self._waiting += piece
        self._among.wait(self, len(self._waiting) - before)
        if len(self._waiting) >= _WAITING_BYTES_EACH:
            self.write_out()

    def sync(self) -> None:
        """Write what waits and return when the content is durable."""
        self.write_out()
        sync_file(self._path)

    def write_out(self, more: bytes = b"") -> None:
        """Hand what waits, and `more` behind it, to the operating system."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            write_all(descriptor, self._waiting)
            write_all(descriptor, more)
        finally:
            os.close(descriptor)
        self._among.written(self, len(self._waiting))
        self._waiting = bytearray()


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write everything: a nearly full disk takes a piece first and raises ENOSPC for the next. Raises Overdrawn."""
    spend(len(data))
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
