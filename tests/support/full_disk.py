"""A disk without room."""

from __future__ import annotations

from pathlib import Path


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1 << 8):
            try:
                while stream.write(b"\0" * size):
                    pass
            except OSError:
                continue
