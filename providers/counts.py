"""What a number that a provider tells is worth."""

from __future__ import annotations


def believed(count: object, most: int) -> int | None:
    """Return a count between 0 and `most`; None for anything else, which tells nothing."""
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    return count if 0 <= count <= most else None
