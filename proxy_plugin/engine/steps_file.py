"""The step of a file: scan."""

from __future__ import annotations

import asyncio

import msgspec

from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.worker_jobs import WORKER_GIVES_UP
from proxy_plugin.ground import failpoints
from proxy_plugin.ground.workers import WorkerDied
from proxy_plugin.lines.scan import ScanLimits, scan
from proxy_plugin.storage.tables import files
from proxy_plugin.storage.tables.files import FileRow


async def scan_file(desk: Desk, row: FileRow) -> None:
    """Learn the envelope facts and the line index of an uploaded file."""
    gateway = desk.gateway
    limits = ScanLimits(gateway.config.limits.max_line_bytes, gateway.config.limits.max_lines)
    scratch = await asyncio.to_thread(gateway.blobs.temp_path)
    source, index = gateway.blobs.path(row.id), gateway.blobs.index_path(row.id)
    try:
        facts = await gateway.workers.run(scan, str(source), str(index), str(scratch), limits)
    except WorkerDied:
        if row.tries < WORKER_GIVES_UP:
            raise
        await desk.write(files.scanned, row.id, "error", None)
        return
    failpoints.passing("scan.acted")
    await desk.write(files.scanned, row.id, "processed", msgspec.json.encode(facts).decode())
