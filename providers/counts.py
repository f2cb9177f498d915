"""What is believed of what a provider says of a job: its counts, and the word for where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from proxy_plugin.providers.errors import TryLater

T = TypeVar("T")


def believed(count: object, most: int) -> int | None:
    """Return a count between 0 and `most`; None for anything else, which tells nothing."""
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    return count if 0 <= count <= most else None


def meant(states: Mapping[str, T], word: str) -> T:
    """Return what a word stands for. Raises TryLater for one that is not known, which is shown where it is a word."""
    if word not in states:
        raise TryLater(f"unknown batch status {word if word.isidentifier() else ''}")
    return states[word]
