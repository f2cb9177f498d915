"""What the system gives this process: how many open files and connections (RLIMIT_NOFILE, getrlimit(2)), and heaps."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from typing import NamedTuple

ENDLESS = 2**20  # where the system names no hard limit: what Linux allows a process at most (fs.nr_open)
_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


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


def keep_one_heap() -> bool:
    """Let all threads that begin from now on use one heap; tell whether the C library can. For a process of our own.

    glibc gives each thread a heap of its own, up to eight for each core, and what one has had once stays there for it
    alone: the gateway, with its 15 threads, held 17 MB more after it had sent 5 GB in pieces of 256 KiB. As only one
    thread at a time is in the interpreter, they hardly wait for each other.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415 - 5 ms that no other command has use for

    try:
        return bool(ctypes.CDLL(None).mallopt(_ARENA_MAX, 1))
    except (OSError, AttributeError):  # musl has no such call, and one heap
        return False
