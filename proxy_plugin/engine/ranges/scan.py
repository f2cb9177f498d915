"""A scan in ranges of bytes: looked at side by side, then made into one index and one set of facts."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from proxy_plugin.engine import tasks
from proxy_plugin.gateway import Gateway
from proxy_plugin.ground import logs
from proxy_plugin.lines.duplicates import drawn_modulus
from proxy_plugin.lines.ranges.scan import ScanRange, join_scans, scan_range, scan_ranges
from proxy_plugin.lines.scan import Facts, ScanLimits
from proxy_plugin.storage.tables.files import FileRow

LOG = logging.getLogger("proxy_plugin.engine")


@dataclass(frozen=True, slots=True)
class ScanPaths:
    """Of the file, of its index, and of a folder for temporary files that is not there yet."""

    source: Path
    index: Path
    scratch: Path


async def scan_in_ranges(gateway: Gateway, row: FileRow, paths: ScanPaths, limits: ScanLimits) -> Facts | None:
    """Return the facts of a file whose index is written; None where it is to be scanned as a whole.

    Raises what the scan of the whole raises.
    """
    ranges = await asyncio.to_thread(scan_ranges, paths.source, gateway.workers.each)
    if not ranges:
        return None
    logs.event(LOG, "scanned_in_ranges", file=row.id, ranges=len(ranges))
    await asyncio.to_thread(paths.scratch.mkdir, parents=True)
    try:
        return await _scanned(gateway, row, paths, _jobs(paths, ranges, limits))
    finally:
        await asyncio.to_thread(shutil.rmtree, paths.scratch, ignore_errors=True)


def _jobs(paths: ScanPaths, ranges: Sequence[tuple[int, int]], limits: ScanLimits) -> list[ScanRange]:
    source, folder, modulus = str(paths.source), str(paths.scratch), drawn_modulus()
    return [ScanRange(source, folder, n, *each, limits, modulus) for n, each in enumerate(ranges)]


async def _scanned(gateway: Gateway, row: FileRow, paths: ScanPaths, jobs: Sequence[ScanRange]) -> Facts | None:
    run, terms = gateway.workers.run, gateway.terms
    works = [partial(run, terms(row.workspace, job.stop - job.start), scan_range, job) for job in jobs]
    await tasks.a_few_together(gateway.workers.each, works)
    return await run(terms(row.workspace, row.bytes), join_scans, tuple(jobs), str(paths.index), row.sha256)
