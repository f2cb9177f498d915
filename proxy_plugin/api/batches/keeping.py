"""A new file and the batch of it: the blob first, then both rows in one transaction.

A kill before that leaves at most a blob that no row names, which the sweep at the start removes. A create that repeats
an earlier one finds that inside the transaction, and leaves nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from proxy_plugin.api.batches.create import key_reused, too_many_batches
from proxy_plugin.api.files.form import KEPT_SECONDS, PURPOSE
from proxy_plugin.api.files.room import Store, named, too_many_files
from proxy_plugin.config.bounds import Limits
from proxy_plugin.ground import failpoints
from proxy_plugin.ground.durable import FileFacts
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.errors import DatabaseAway
from proxy_plugin.storage.tables import batches, files, holdings
from proxy_plugin.storage.tables.batches import BatchRow
from proxy_plugin.storage.tables.files import FileRow


class Made(NamedTuple):
    """A file on its way: its row, where its bytes are, and what the batch's history says of it beside its creation."""

    row: FileRow
    temp: Path
    event: str | None = None
    detail: str = ""


def file_row(workspace: str, filename: str, facts: FileFacts, now: int) -> FileRow:
    """Return the row of a batch file that the gateway has written itself, due for its scan."""
    return FileRow(
        id=f"file-{secrets.token_hex(12)}",
        workspace=workspace,
        purpose=PURPOSE,
        filename=filename,
        bytes=facts.bytes,
        sha256=facts.sha256,
        created_at=now,
        expires_at=now + KEPT_SECONDS,
        state="uploaded",
        due_at=0.0,
    )


@contextmanager
def told() -> Iterator[None]:
    """Say in the words of an answer why there is no batch."""
    try:
        yield
    except batches.KeyReused:
        raise key_reused() from None
    except holdings.TooManyFiles as error:
        raise too_many_files(error.most) from None
    except holdings.TooManyBatches as error:
        raise too_many_batches(error.most) from None


async def keep(store: Store, made: Made, row: BatchRow, *, is_retry: bool, place: str) -> BatchRow:
    """Make the blob, then both rows, and return the batch, or the earlier one. `place` names the failpoints.

    Not to be cancelled: rows that are being committed need their blob.
    """
    try:
        await store.blobs.write(store.blobs.adopt, made.temp, made.row.id)
        await store.blobs.publish(made.row.id)
        failpoints.passing(f"{place}.adopted")
        stored = await named(store, _insert, made, row, store.limits, is_retry=is_retry)
    except DatabaseAway:  # which may find later that it has both rows
        raise
    except BaseException:
        await store.blobs.discard(made.row.id)
        raise
    if stored.id != row.id:
        await store.blobs.discard(made.row.id)
    failpoints.passing(f"{place}.stored")
    return stored


def _insert(conn: Connection, made: Made, row: BatchRow, limits: Limits, *, is_retry: bool) -> BatchRow:
    earlier = batches.earlier(conn, row, is_retry=is_retry)
    if earlier is not None:
        return earlier
    files.insert_new(conn, made.row, limits.max_workspace_files)
    made_of = msgspec.structs.replace(row, input_file_id=made.row.id)
    stored = batches.insert(conn, made_of, is_retry=is_retry, most=limits.max_open_batches)
    if made.event is not None:
        batches.event(conn, stored.id, None, float(stored.created_at), made.event, made.detail)
    return stored
