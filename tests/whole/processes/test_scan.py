"""A scan in a worker process."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from proxy_plugin.lines.scan import ScanLimits, scan
from tests.support.lines import chat_lines, jsonl

LIMITS = ScanLimits(max_line_bytes=16 * 2**20, max_lines=5_000_000)


def test_it_runs_in_a_spawned_worker(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(jsonl(chat_lines(20)) + b"{")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(scan, str(source), str(tmp_path / "there"), str(tmp_path), LIMITS).result(timeout=60)
    assert there == scan(str(source), str(tmp_path / "here"), str(tmp_path), LIMITS)
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()
