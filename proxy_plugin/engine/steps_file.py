"""The step of a file: scan."""

from __future__ import annotations

import asyncio

import msgspec

from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.space import Full
from proxy_plugin.engine.worker_jobs import WORKER_GIVES_UP
from proxy_plugin.ground import failpoints
from proxy_plugin.ground.errors import NoSpace
from proxy_plugin.ground.workers import WorkerDied
from proxy_plugin.lines.scan import ScanLimits, scan
from proxy_plugin.storage.room import ENDING, Claim
from proxy_plugin.storage.tables import files
from proxy_plugin.storage.tables.files import FileRow

SHORTEST_LINE = 3  # bytes, `{}` and its break
SCANNED_BYTES = 40  # of the index and of the search for repeated ids, a line


async def scan_file(desk: Desk, row: FileRow) -> None:
    """Learn the envelope facts and the line index of an uploaded file."""
    gateway = desk.gateway
    limits = ScanLimits(gateway.config.limits.max_line_bytes, gateway.config.limits.max_lines)
    scratch = await asyncio.to_thread(gateway.blobs.temp_path)
    source, index = gateway.blobs.path(row.id), gateway.blobs.index_path(row.id)
    try:
        with Claim(gateway.room, None, rank=ENDING) as claim:
            await claim.cover(min(limits.max_lines, row.bytes // SHORTEST_LINE + 1) * SCANNED_BYTES)
            facts = await gateway.workers.run(scan, str(source), str(index), str(scratch), limits)
    except NoSpace as error:
        raise Full(error) from None
    except WorkerDied:
        if row.tries < WORKER_GIVES_UP:
            raise
        await desk.write(files.scanned, row.id, "error", None)
        return
    failpoints.passing("scan.acted")
    await desk.write(files.scanned, row.id, "processed", msgspec.json.encode(facts).decode())
