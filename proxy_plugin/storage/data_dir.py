"""A data directory belongs to one gateway, and keeps a reserve for the moment at which its disk is full."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from proxy_plugin.storage.errors import DataDirBusy


class DataDirLock:
    """An exclusive lock on a data directory, held by the kernel as long as the process lives."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close_to_others(data_dir)
        self._fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise DataDirBusy(f"{data_dir} is in use by another gateway; one gateway owns one data_dir") from None

    def release(self) -> None:
        """Let another gateway in."""
        os.close(self._fd)


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
