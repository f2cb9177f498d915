"""What lies below a folder in which somebody else is at work: what vanishes meanwhile is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def below(*folders: Path) -> list[Path]:
    """Return all files and folders below some folders, sorted. `Path.rglob` fails where a folder goes meanwhile."""
    return sorted(path for folder in folders for path in _below(folder))


def files_below(*folders: Path) -> list[Path]:
    """Return all files below some folders, sorted."""
    return [path for path in below(*folders) if path.is_file()]


def holding(folder: Path, *texts: str) -> list[Path]:
    """Return the files below a folder that hold one of the texts."""
    wanted = [text.encode() for text in texts]
    return [path for path in files_below(folder) if any(text in content(path) for text in wanted)]


def content(path: Path) -> bytes:
    """Return what a file holds; nothing if it has gone."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def _below(folder: Path) -> Iterator[Path]:
    for at, folders, files in os.walk(folder):  # which passes over what it cannot read
        yield from (Path(at, name) for name in (*folders, *files))
