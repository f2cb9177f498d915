"""The shelf: where answers are kept."""

from __future__ import annotations

import msgspec


class Shelf(msgspec.Struct, frozen=True):
    """Where answers are kept. `reserve` bytes of the disk stay free; an answer is at most `max_answer_bytes` long."""

    folder: str
    max_bytes: int
    max_age: float  # seconds
    max_answer_bytes: int
    reserve: int = 0
