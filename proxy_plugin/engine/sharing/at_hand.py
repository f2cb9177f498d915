"""What a step needs of files that another replica may have written: here before a path of it is given to anybody.

In a gateway of its own all of it is here anyway, and nothing of this looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import structs

from proxy_plugin.answers.keys import KEYS
from proxy_plugin.direct.answers import Busy
from proxy_plugin.engine.desk import Desk
from proxy_plugin.lines.merge import MergeJob
from proxy_plugin.lines.ways import DIRECT
from proxy_plugin.providers.base import TryLater
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.blobs import Blobs
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import parts
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.parts import PartRow, results_of

LOCKED = 5.0  # seconds until the answers of a process that is about to end are looked at again


async def for_merge(blobs: Blobs, folders: BatchFolders, batch: BatchRow, job: MergeJob) -> None:
    """Have the file of a batch, and all that its merge reads, here. Raises StoreAway."""
    if blobs.tree is None:
        return
    rescues = [path for each in job.rescues for path in (each.assignment, each.remarks)]
    named = filter(None, (job.assignment, job.rejected, job.keys, job.cached, *rescues))
    await folders.present(batch.id, *named, *job.rows.values(), *job.late.values())
    await blobs.present_with_index(batch.input_file_id)


async def assignment_of(desk: Desk, part: PartRow, batch: BatchRow) -> Path:
    """Have what tells which lines a part has here, and the keys of their answers. Raises StoreAway."""
    path = desk.assignment(part, batch)
    await desk.folders.present(batch.id, path, path.with_name(KEYS))
    return path


async def results_of_part(desk: Desk, part: PartRow, batch: BatchRow) -> None:
    """Have the results of a part here, and what tells which lines it has. Raises StoreAway."""
    known = results_of(part)
    home = desk.folder(part)
    if part.way == DIRECT and known.folder is not None:
        await answers_in(desk, home / known.folder)
    elif (folder := known.stored or known.folder) is not None:  # the latter of a gateway that was one of its own
        await desk.folders.present(part.batch_id, home / folder)
    await assignment_of(desk, part, batch)


async def answers_in(desk: Desk, folder: Path) -> None:
    """Have the answers of a part here. Raises TryLater while a process that ends writes them, StoreAway."""
    try:
        await desk.answers.take(desk.gateway.blobs.tree, folder)
    except Busy as busy:
        raise TryLater(str(busy), after=LOCKED) from None


@asynccontextmanager
async def document_of(desk: Desk, part: PartRow, batch: BatchRow) -> AsyncIterator[None]:
    """Have a part's document here, and beside it what its adapter noted there; what becomes of that is kept.

    Adapters note a name that is not to be used again before they go on, so the note has to be durable before a row says
    that they have. Raises StoreAway.
    """
    if desk.gateway.blobs.tree is None:
        yield
        return
    document, known = desk.document(part, batch).path, results_of(part).beside
    await desk.folders.present(batch.id, document)
    await asyncio.to_thread(_put, _note(document), known)
    try:
        yield
    finally:
        noted = await asyncio.to_thread(_read, _note(document))
        if noted != known:
            await desk.write(_keep, part, noted)


async def note_of(desk: Desk, part: PartRow, batch: BatchRow) -> None:
    """Have what an adapter noted beside a part's document here."""
    if desk.gateway.blobs.tree is not None:
        note = _note(desk.document(part, batch).path)
        await asyncio.to_thread(_put, note, results_of(part).beside)


def _note(document: Path) -> Path:
    """Return where adapters note something beside a file (`providers/kept.py`)."""
    return document.with_name(f".{document.name}.note")


def _put(note: Path, text: str | None) -> None:
    if text is None:
        note.unlink(missing_ok=True)
    else:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(text)


def _read(note: Path) -> str | None:
    return note.read_text() if note.exists() else None


def _keep(conn: Connection, part: PartRow, text: str | None) -> None:
    """Keep a note with its part, in whichever state that is by now."""
    row = parts.get(conn, part.batch_id, part.n)
    if row is not None:
        parts.change(conn, row, results=structs.replace(results_of(row), beside=text).text())
