"""The memory of the search for ids that come twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PEAK = """
import sys, tracemalloc
from pathlib import Path
from proxy_plugin.lines.duplicates import DuplicateIds

folder, name = sys.argv[1:]
tracemalloc.start()
with DuplicateIds(Path(folder), in_memory=8192) as duplicates:
    for ordinal in range(60_000):
        duplicates.add(ordinal, name.format(ordinal))
    duplicates.settle(name.format)
print(tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.parametrize("name", ["r-{}", "the same"])
def test_memory_stays_small_for_many_ids(tmp_path: Path, name: str) -> None:
    # In a process of its own: what other threads of the test runner allocate would count too.
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path), name], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1_000_000, "a set of these ids takes 5 MB"
