"""What nobody can ask for any more goes: bytes of files, parts of uploads, ledgers of batches.

A row says first that the bytes are gone: a crash in between leaves a blob without a row, which the sweep at the start
removes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from proxy_plugin.gateway import Gateway
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.tables import batches, files, uploads, waits
from proxy_plugin.storage.tables.uploads import Closed

WOKEN = 20
TOGETHER = 200  # folders looked at in one go: 10,000 held the interpreter for seconds
GRACE_SECONDS = 600.0  # in which a part or a completion that began in time may end


async def remove_unneeded(gateway: Gateway) -> int:
    """Remove the bytes of deleted and expired files that no batch needs; return how many files.

    Some of those that wait for room are tried again then; they would be later anyway.
    """
    removed, now = 0, gateway.clock.now()
    while due := await gateway.registry.read(files.removable, now):
        for file_id in due:
            if await gateway.registry.write(files.mark_removed, file_id, now):
                await gateway.blobs.write(gateway.blobs.remove, file_id)
                removed += 1
    if removed:
        await gateway.registry.write(waits.wake_full, WOKEN)
    return removed


async def remove_expired(gateway: Gateway) -> int:
    """Remove the parts of uploads that nobody completed in time; return how many uploads."""
    removed, now = 0, gateway.clock.now()
    while due := await gateway.registry.read(uploads.expired, now - GRACE_SECONDS):
        for upload_id in due:
            with suppress(Closed):
                for part_id in await gateway.registry.write(uploads.expire, upload_id, now):
                    await gateway.blobs.write(gateway.blobs.remove, part_id)
                removed += 1
    return removed


async def remove_ledgers(gateway: Gateway, folders: BatchFolders) -> None:
    """Remove what is left of batches that have ended and have neither an output nor an error file any more."""
    kept = await asyncio.to_thread(folders.kept)
    for start in range(0, len(kept), TOGETHER):
        for batch_id in await gateway.registry.scan(batches.without_files, kept[start : start + TOGETHER]):
            await asyncio.to_thread(folders.remove, batch_id)
            gateway.room.working.forget([batch_id])
