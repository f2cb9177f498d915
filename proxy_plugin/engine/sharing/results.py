"""What is stored of a part's native results, where replicas share batches.

The adapter's folder is each replica's own, and a later reading may write a file in it anew. So what is whole is
published under a name that is not used again, with the notes of what it was read for, and the row says which. That is
done before the results are taken, and where a try fails: what is whole is paid for, and may be gone at the provider
tomorrow.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from proxy_plugin.engine.desk import Desk
from proxy_plugin.storage.tables import parts
from proxy_plugin.storage.tables.parts import PartRow, StoredResults


def whole(folder: Path) -> tuple[str, ...]:
    """Return what is stored whole of results, perhaps of some of them. Blocking."""
    names = (each.name for each in folder.iterdir())
    return tuple(sorted(name for name in names if not name.startswith(".") and not name.endswith(".part")))


async def restore(desk: Desk, part: PartRow, known: StoredResults, folder: Path) -> None:
    """Have what was stored whole last in the folder, whoever has done so. Raises StoreAway."""
    if known.stored is None:
        return
    stored = desk.folder(part) / known.stored
    await desk.folders.present(part.batch_id, stored)
    await asyncio.to_thread(_link, stored, folder, await asyncio.to_thread(whole, stored))


async def publish(desk: Desk, part: PartRow, known: StoredResults, folder: Path, names: Sequence[str]) -> StoredResults:
    """Publish whole files, and return what is known then. In a gateway of its own nothing is done. Raises StoreAway."""
    if desk.gateway.blobs.tree is None or await asyncio.to_thread(_are, known, folder, names):
        return known
    stored = desk.folders.new(part.batch_id, f"stored-{part.n:05d}")
    await asyncio.to_thread(_link, folder, stored, names)
    await desk.folders.share(stored)
    return structs.replace(known, stored=stored.name)


async def save(desk: Desk, part: PartRow, known: StoredResults, folder: Path) -> tuple[PartRow, StoredResults]:
    """Publish what is whole so far, and return the part, whose row says so, and what is known. Raises StoreAway."""
    if desk.gateway.blobs.tree is None:
        return part, known
    names = await asyncio.to_thread(whole, folder)
    now = await publish(desk, part, known, folder, names) if names else known
    return (part if now == known else await desk.write(parts.change, part, results=now.text())), now


def _are(known: StoredResults, folder: Path, names: Sequence[str]) -> bool:
    """Tell whether just these files are published: links of them are still here."""
    if known.stored is None:
        return False
    stored = folder.with_name(known.stored)
    with suppress(FileNotFoundError):
        return set(whole(stored)) == set(names) and all((stored / name).samefile(folder / name) for name in names)
    return False


def _link(source: Path, to: Path, names: Sequence[str]) -> None:
    """Give files another name, too, and the notes beside them; what has it goes."""
    to.mkdir(mode=0o700, exist_ok=True)
    for name in (*names, *(f".{each}.note" for each in names)):
        if (source / name).exists() and not ((to / name).exists() and (to / name).samefile(source / name)):
            (to / name).unlink(missing_ok=True)
            os.link(source / name, to / name)
