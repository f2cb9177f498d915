"""Tests that are drawn by their name, so that the suite has the same part of them on every machine."""

from __future__ import annotations

from zlib import crc32


def drawn(name: str, one_in: int) -> bool:
    """Tell whether a name is among those drawn, one in so many."""
    return crc32(name.encode()) % one_in == 0
