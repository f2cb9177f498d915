"""A data directory belongs to one gateway, and keeps a reserve for the moment at which its disk is full."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from proxy_plugin.ground.durable import write_atomically
from proxy_plugin.storage.errors import DataDirBusy, DataDirMoved

REGISTRY = "registry.sqlite3"
_MOVED = "moved"  # holds a sentence: when, and where to


class DataDirLock:
    """An exclusive lock on a data directory, held by the kernel as long as the process lives.

    Raises DataDirBusy, and DataDirMoved for one whose content belongs to a database by now, unless that is `expected`.
    """

    def __init__(self, data_dir: Path, *, expected: bool = False) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close_to_others(data_dir)
        self._fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise DataDirBusy(f"{data_dir} is in use by another gateway; one gateway owns one data_dir") from None
        if not expected and (where := moved(data_dir)) is not None:
            os.close(self._fd)
            raise DataDirMoved(f"{data_dir} {where}; it is kept as it was. Name another folder as storage.data_dir")

    def release(self) -> None:
        """Let another gateway in."""
        os.close(self._fd)


def moved(data_dir: Path) -> str | None:
    """Return when the content of a data directory was moved and where to, None if it was not."""
    path = data_dir / _MOVED
    return path.read_text().strip() if path.exists() else None


def mark_moved(data_dir: Path, where: str) -> None:
    """Let no gateway start here again. Durable on return."""
    write_atomically(data_dir / _MOVED, f"{where}\n".encode())


def require_scratch(data_dir: Path) -> None:
    """Raise DataDirMoved for a folder that holds what a gateway of its own has kept, and no database has yet."""
    if (data_dir / REGISTRY).exists() and moved(data_dir) is None:
        remedy = "move it with `proxy-plugin migrate --to postgres`, or name another folder as storage.data_dir"
        raise DataDirMoved(f"{data_dir} holds what a gateway without a database_url has kept: {remedy}")


def _close_to_others(data_dir: Path) -> None:
    """Take the permissions of everybody else away: it holds what callers sent. Raises PermissionError."""
    if not data_dir.stat().st_mode & 0o077:
        return
    try:
        data_dir.chmod(0o700)
    except PermissionError:
        reason = "open to other users, and not ours to close: give it to the user of the gateway, or use another one"
        raise PermissionError(errno.EPERM, reason, str(data_dir)) from None


class Ballast:
    """A file that gives its space back when the disk is full, so that a native job id can always be stored."""

    def __init__(self, path: Path, size: int = 8 * 2**20) -> None:
        self._path, self._size = path, size

    def fill(self) -> None:
        """Take the space again; OSError when the disk has too little."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._size)
        finally:
            os.close(fd)

    def drop(self) -> None:
        """Give the space to the database."""
        with suppress(OSError):
            os.truncate(self._path, 0)

    @property
    def full(self) -> bool:
        """Whether the reserve is in place."""
        return self._path.exists() and self._path.stat().st_size >= self._size
