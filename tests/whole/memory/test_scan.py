"""The memory of a scan, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import sys
from pathlib import Path
from proxy_plugin.lines.scan import ScanLimits, scan

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

before = peak()
facts = scan(sys.argv[1], sys.argv[2], sys.argv[3], ScanLimits(16 * 2**20, 5_000_000))
heavy = {"aiohttp", "asyncio", "pydantic", "yaml", "sqlite3", "multiprocessing"} & set(sys.modules)
print(facts.lines, facts.fault_count, peak() - before, ",".join(sorted(heavy)) or "none")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("count", "length"), [(100_000, 300), (30, 2**20)], ids=["many lines", "long lines"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, count: int, length: int) -> None:
    source = tmp_path / "source"
    fields = {"custom_id": "%08d", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m"}}
    line = json.dumps(fields | {"note": "x" * length}) + "\n"
    with source.open("w") as stream:
        stream.writelines(line % number for number in range(count))
    command = [sys.executable, "-c", MEASURE, str(source), str(tmp_path / "index"), str(tmp_path)]
    root = Path(__file__).parents[3]
    run = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=60)
    lines, faults, grown, heavy = run.stdout.split()
    assert (int(lines), int(faults), heavy) == (count, 0, "none")
    assert int(grown) < 16 * 2**20 < source.stat().st_size
