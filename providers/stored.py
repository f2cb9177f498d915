"""Files in a provider's own store, as the gateway hands them over and gets them back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file on its way to the provider's own store: complete, on disk. `lifetime` is in seconds, None: the default."""

    path: Path
    filename: str  # any text without control characters
    purpose: str
    lifetime: int | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What the provider says of a file it has stored; None where it does not tell. Times are Unix seconds."""

    id: str
    bytes: int | None = None
    created_at: int | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a stored file, or a range of them, as they arrive. `headers` are those that describe the bytes."""

    status: int  # 200, or 206 for a range
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
