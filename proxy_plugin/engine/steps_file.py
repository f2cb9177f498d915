"""The step of a file: scan."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path

import msgspec

from proxy_plugin.engine import tasks
from proxy_plugin.engine.desk import Desk
from proxy_plugin.engine.ranges.scan import ScanPaths, scan_in_ranges
from proxy_plugin.engine.space import Full
from proxy_plugin.engine.worker_jobs import WORKER_GIVES_UP, scan_bytes, scan_limits
from proxy_plugin.ground import failpoints, logs
from proxy_plugin.ground.errors import NoSpace
from proxy_plugin.ground.workers import OutOfBudget, WorkerDied
from proxy_plugin.lines.scan import Facts, ScanLimits, UrlFacts, scan
from proxy_plugin.storage.room import ENDING, Claim
from proxy_plugin.storage.tables import files
from proxy_plugin.storage.tables.files import FileRow

LOG = logging.getLogger("proxy_plugin.engine")


async def scan_file(desk: Desk, row: FileRow) -> None:
    """Learn the envelope facts and the line index of an uploaded file, unless it is deleted meanwhile."""
    gateway = desk.gateway
    limits = scan_limits(gateway)
    scratch = await asyncio.to_thread(gateway.blobs.temp_path)
    await gateway.blobs.present(row.id)
    try:
        with Claim(gateway.room, None, rank=ENDING) as claim:
            await claim.cover(scan_bytes(row, limits.max_lines))
            work = _scanned(desk, row, limits, scratch)
            facts = await tasks.while_wanted(partial(tasks.to_be_scanned, desk, row.id), work)
    except NoSpace as error:
        raise Full(error) from None
    except tasks.Unwanted:
        logs.event(LOG, "scan_ended", file=row.id)
        return
    except OutOfBudget:
        await desk.write(files.scanned, row.id, "error", msgspec.json.encode(_too_much(row)).decode())
        return
    except WorkerDied:
        if row.tries < WORKER_GIVES_UP:
            raise
        await desk.write(files.scanned, row.id, "error", None)
        return
    await gateway.blobs.publish_index(row.id)
    failpoints.passing("scan.acted")
    await desk.write(files.scanned, row.id, "processed", msgspec.json.encode(facts).decode())


async def _scanned(desk: Desk, row: FileRow, limits: ScanLimits, scratch: Path) -> Facts:
    """Scan the file in ranges side by side, or in one where it is short or may have passed a limit."""
    gateway = desk.gateway
    source, index = gateway.blobs.path(row.id), gateway.blobs.index_path(row.id)
    found = await scan_in_ranges(gateway, row, ScanPaths(source, index, scratch), limits)
    if found is not None:
        return found
    terms = gateway.terms(row.workspace, row.bytes)
    return await gateway.workers.run(terms, scan, str(source), str(index), str(scratch), limits, row.sha256)


def _too_much(row: FileRow) -> Facts:
    """Return facts that fail every batch of the file."""
    return Facts(
        lines=0,
        bytes=row.bytes,
        blank_lines=0,
        faults=(tasks.TOO_MUCH,),
        fault_count=1,
        urls={},
        other_urls=UrlFacts(),
        models={},
        other_models=0,
        longest_line=0,
        sha256=row.sha256,
    )
