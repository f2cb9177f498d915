"""How many files and connections this process may have open: RLIMIT_NOFILE, getrlimit(2)."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import NamedTuple

ENDLESS = 2**20  # where the system names no hard limit: what Linux allows a process at most (fs.nr_open)


class FileLimit(NamedTuple):
    """The limit in force, and the one up to which a process may raise it by itself."""

    now: int
    most: int


def file_limit() -> FileLimit:
    """Return the limits of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENDLESS if hard == resource.RLIM_INFINITY else hard
    return FileLimit(most if soft == resource.RLIM_INFINITY else soft, most)


def raise_file_limit() -> FileLimit:
    """Raise the limit as far as this process may and return what it is then."""
    limit = file_limit()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit.now < limit.most:
        with suppress(OSError, ValueError):  # a system that has a limit of its own below
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit.most, hard))
    return file_limit()
