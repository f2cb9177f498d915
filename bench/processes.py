"""What the kernel says of a process and its descendants: memory, CPU time, cores. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

_TICK = os.sysconf("SC_CLK_TCK")
_PARENT, _TIMES = 1, slice(11, 15)  # in /proc/PID/stat behind the name: ppid; utime, stime, cutime, cstime


def tree(root: int) -> list[int]:
    """Return the process ids of `root` and everything below it; what ends meanwhile may be missing or still there."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - called 20 times a second
        if name.isdigit() and (fields := _stat(int(name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(name))
    found = [root]
    for pid in found:  # grows while it is read
        found += children.get(pid, [])
    return found


def pss(pid: int) -> int:
    """Return the proportional set size in bytes, 0 for a process that has gone.

    A page that several processes share counts by its share. About 1 ms for 60 MB.
    """
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return user and system time of these processes and of their children that have ended."""
    return sum(sum(map(int, _stat(pid)[_TIMES])) for pid in pids) / _TICK


def machine_seconds() -> float:
    """Return the time that all cores together were busy since the machine started, stolen time included."""
    user, nice, system, _, _, interrupts, soft, stolen, *_ = map(int, _read("/proc/stat").split(b"\n")[0].split()[1:])
    return (user + nice + system + interrupts + soft + stolen) / _TICK


def pin(root: int, cores: set[int]) -> None:
    """Let every thread of a tree run on these cores only, and what they start later too."""
    for pid in tree(root):
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are numbers
                with suppress(OSError):
                    os.sched_setaffinity(int(thread), cores)


def _stat(pid: int) -> list[bytes]:
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 8192)
    except OSError:  # the process ended between the two calls
        return b""
    finally:
        os.close(descriptor)
