"""`proxy-plugin migrate`: one move from its first line to its last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from proxy_plugin.storage.errors import StorageError
from proxy_plugin.storage.moving.move import MovedBefore, Moving, NotMoved, move
from proxy_plugin.storage.moving.objects import DamagedCopy, Destination, FolderPlace, StoredPlace
from proxy_plugin.storage.registry import Registry

_AGAIN = "what was copied stays; run the same command to go on"


class MoveWanted(NamedTuple):
    """From where to where: `data_dir` is that of the replicas, `where` the whole of it in words."""

    source: Path
    data_dir: Path
    blob_url: str | None
    blob_options: Mapping[str, str]
    where: str


def run(wanted: MoveWanted, target: Registry, told: Callable[[str], None]) -> None:
    """Move, and open and close the database around it; tell what has come of it.

    Raises NotMoved, DataDirBusy, SchemaTooNew, OSError.
    """
    try:
        target.open()
        try:
            moved = asyncio.run(move(Moving(wanted.source, target, _place(wanted), wanted.where, told)))
        finally:
            target.close()
        told(f"moved {moved.rows} rows and {moved.files} files: replicas can start, each with a data_dir of its own")
    except MovedBefore as error:
        told(str(error))
    except (DamagedCopy, StorageError) as error:
        raise NotMoved(f"{error}\n{_AGAIN}") from error


def _place(wanted: MoveWanted) -> Destination:
    if wanted.blob_url is not None:
        from proxy_plugin.storage.blobs.object_store import Objects  # noqa: PLC0415 - obstore is an extra

        return StoredPlace(Objects(wanted.blob_url, wanted.blob_options))
    if wanted.source.absolute() == wanted.data_dir.absolute():
        raise NotMoved("without a blob_url files go to data_dir: name a new one there, and the old one with --from")
    return FolderPlace(wanted.data_dir)
