"""Room on a real disk."""

from __future__ import annotations

import os
from pathlib import Path

from proxy_plugin.storage.space import Space


def test_claimed_bytes_are_counted_once(small_disk: Path) -> None:
    """Claimed, then written and seen by the file system: the room falls by the same bytes only once."""
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    space = Space(small_disk)
    space.claim(8 * 2**20)
    assert space.room() == free - 8 * 2**20
    (small_disk / "written").write_bytes(bytes(4 * 2**20))
    space.wrote(4 * 2**20)
    assert space.room() == free - 8 * 2**20
    later = Space(small_disk)
    later.claim(4 * 2**20)  # what is not written yet
    assert later.room() == free - 8 * 2**20
